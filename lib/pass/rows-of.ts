/** Results of [n,k], as objects. */
import { lengthOf } from '../arguments/arrays';
import { arrayType, got } from '../arguments/describe';
import { LMHeadError } from '../errors';
import type { TopK, TopLogProbs } from '../types';

/** One place of a row. */
export interface RankedId {
  id: number;
  /** Of a TopK. */
  logit?: number;
  logProb?: number;
}

/**
 * `[n,k]` results as objects, best first: plain arrays, which JSON can say.
 * @param result what `topK` and its kin return, or a list of a sample's (`topLogProbs`, `rawTopLogProbs`)
 * @returns a list per row; that of a TopLogProbs has as many ids as could be drawn, k at most
 * @throws LMHeadError ARGUMENT for anything else
 */
export function rowsOf(result: TopK | TopLogProbs): RankedId[][] {
  requireResult(result);
  const { k, ids, logProbs } = result;
  const logits = 'logits' in result ? result.logits : undefined;
  const counts = 'counts' in result ? result.counts : undefined;
  return Array.from({ length: 'n' in result ? result.n : lengthOf(result.counts) }, (_, row) =>
    Array.from({ length: counts ? counts[row] : k }, (_, place) => {
      const i = row * k + place;
      return logits
        ? { id: ids[i], logit: logits[i], logProb: logProbs[i] }
        : { id: ids[i], logProb: logProbs[i] };
    }),
  );
}

function requireResult(result: unknown): void {
  if (typeof result === 'object' && result !== null) {
    const { n, k, ids, logits, logProbs, counts } = result as Partial<TopK & TopLogProbs>;
    if (
      arrayType(ids) === 'Uint32Array' &&
      arrayType(logProbs) === 'Float32Array' &&
      arrayType(counts ?? logits) === (counts ? 'Uint32Array' : 'Float32Array') &&
      // Where there are no counts k is above 0, so that n cannot be more than there are ids.
      lengthOf(ids!) === (counts ? lengthOf(counts) : n!) * k! &&
      lengthOf(logProbs!) === lengthOf(ids!) &&
      (counts ? counts.every(count => count <= k!) : k! > 0)
    ) {
      return;
    }
  }
  throw new LMHeadError(
    'ARGUMENT',
    `result: got ${got(result)}; want a result of topK, or a sample's topLogProbs`,
  );
}
