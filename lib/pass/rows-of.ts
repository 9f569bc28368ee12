/** Results of [n,k], as objects. */
import { lengthOf } from '../arguments/arrays';
import { arrayType, got } from '../arguments/describe';
import { reading } from '../arguments/reading';
import { LMHeadError } from '../errors';
import type { TopKOf, TopLogProbs } from '../types';

/** One entry of a row. */
export interface RankedId {
  id: number;
  /** Of a TopK. */
  logit?: number;
  /** Of all but a TopK of a call with `withLogProbs: false`. */
  logProb?: number;
}

/**
 * `[n,k]` results as objects, best first: plain arrays, which JSON can say.
 * @param result what `topK` and its kin return, or a list of a sample's (`topLogProbs`, `modelTopLogProbs`)
 * @returns a list per row; that of a TopLogProbs has as many ids as could be drawn, k at most
 * @throws LMHeadError ARGUMENT for anything else
 */
export function rowsOf(result: AnyTopK | TopLogProbs): RankedId[][] {
  const { n, k, ids, logits, logProbs, counts } = reading('result', () => partsOf(result));
  return Array.from({ length: n }, (_, row) =>
    Array.from({ length: counts ? counts[row] : k }, (_, index) => {
      const i = row * k + index;
      const entry: RankedId = { id: ids[i] };
      if (logits) entry.logit = logits[i];
      if (logProbs) entry.logProb = logProbs[i];
      return entry;
    }),
  );
}

/** With log-probabilities or without. */
type AnyTopK = TopKOf<{ withLogProbs?: boolean }>;

interface Parts {
  n: number;
  k: number;
  ids: Uint32Array;
  /** Of a TopK. */
  logits: Float32Array | undefined;
  /** Undefined of a TopK without. */
  logProbs: Float32Array | undefined;
  /** Of a TopLogProbs. */
  counts: Uint32Array | undefined;
}

/** Read once, and checked. */
function partsOf(result: unknown): Parts {
  if (typeof result === 'object' && result !== null) {
    const { n: rows, k, ids, logits, logProbs, counts } = result as Partial<AnyTopK & TopLogProbs>;
    if (
      arrayType(ids) === 'Uint32Array' &&
      (counts || logProbs !== undefined ? arrayType(logProbs) === 'Float32Array' : true) &&
      arrayType(counts ?? logits) === (counts ? 'Uint32Array' : 'Float32Array') &&
      isCount(k)
    ) {
      const n = counts ? lengthOf(counts) : rows;
      const numbers = [...(logProbs ? [logProbs] : []), ...(counts ? [] : [logits!])];
      // Where there are no counts k is above 0, so that n cannot be more than there are ids.
      if (
        isCount(n) &&
        [ids!, ...numbers].every(list => lengthOf(list) === n * k) &&
        (counts ? new Uint32Array(counts).every(count => count <= k) : k > 0)
      ) {
        return { n, k, ids: ids!, logits: counts ? undefined : logits, logProbs, counts };
      }
    }
  }
  throw new LMHeadError(
    'ARGUMENT',
    `result: got ${got(result)}; want a result of topK, or a sample's topLogProbs`,
  );
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0;
}
