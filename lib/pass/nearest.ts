/** Rows of E as vectors to search among. */
import { got } from '../arguments/describe';
import { type HiddenRows, hiddenRows } from '../arguments/hidden';
import { tokenIds } from '../arguments/ids';
import type { HeadBackend, Metric, PassJob } from '../backend/backend';
import { floats } from '../dtypes/half';
import { LMHeadError } from '../errors';
import type { Neighbors } from '../types';
import { asJson } from './as-json';

/** What a search starts from: the vector given, or the row of E that an id names; of length 1 for cosines. */
export function queryRows(
  idOrVector: unknown,
  hiddenDtype: unknown,
  metric: Metric,
  backend: HeadBackend,
  { vocabSize, hiddenSize }: { vocabSize: number; hiddenSize: number },
): HiddenRows {
  let query: HiddenRows;
  if (typeof idOrVector === 'number' || typeof idOrVector === 'bigint') {
    const data = new Float32Array(hiddenSize);
    backend.readRows('output', tokenIds([idOrVector], 'idOrVector', 1, vocabSize), data);
    query = { data, dtype: 'f32', n: 1 };
  } else {
    if (typeof idOrVector !== 'object' || idOrVector === null) {
      throw new LMHeadError(
        'ARGUMENT',
        `idOrVector: got ${got(idOrVector)}; want an id, or a vector of ${hiddenSize} elements`,
      );
    }
    query = hiddenRows(idOrVector, hiddenSize, hiddenDtype, 'idOrVector');
    if (query.n !== 1) {
      throw new LMHeadError(
        'SHAPE',
        `idOrVector: got ${query.n} vectors; want an id, or one vector of ${hiddenSize}`,
      );
    }
  }
  if (metric === 'dot') return query;
  return { data: unit(floats(query.data, query.dtype)), dtype: 'f32', n: 1 };
}

/** In float64, rounded once; zeros stay zeros. */
function unit(vector: Float32Array): Float32Array {
  let square = 0;
  for (const x of vector) square += x * x;
  const length = Math.sqrt(square);
  return length === 0 ? vector : vector.map(x => x / length);
}

/** Cosines are kept within [−1, 1], which rounding may leave. */
export function neighborsOf({ top, metric }: PassJob): Neighbors {
  const { ids, logits } = top!;
  const similarities = metric === 'dot' ? logits : logits.map(x => Math.max(-1, Math.min(1, x)));
  return asJson({ ids, similarities });
}
