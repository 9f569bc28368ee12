/** What results of a shard of the vocabulary are merged by, of one row. */
import type { PartialResults, PassJob } from '../backend/backend';
import { idOf, nameOf, nanError, unnormalizedError } from '../backend/row-errors';
import { adjustedRow } from './adjust';
import { chunkSums, distributionOf, extremes, inverseOf, logProb } from './distribution';
import type { RowSampling } from './filters';
import { bestFirst } from './order';
import { gumbelMax } from './sample';

const NO_ID = 0xffffffff;

/**
 * @param u logits of whole chunks, of which those from `valid` on are padding
 * @param sampling without filters
 * @throws NAN where the shard's part has no number that a token can be drawn by
 */
export function writePartial(
  job: PassJob,
  partial: PartialResults,
  row: number,
  u: Float32Array,
  valid: number,
  sampling: RowSampling,
): void {
  const { begin, end, k } = partial;
  const { temperature, stream } = sampling;
  const inverse = inverseOf(temperature || 1);
  const put = (sums: Float64Array, of: Float32Array) => {
    const its = chunkSums(of, valid, inverse);
    sums.set(its, row * its.length);
  };
  put(partial.sums, u);
  if (!job.sample) return;
  const adjusted = adjustedRow(u, row, job.adjustments);
  if (job.adjustments) put(partial.drawnSums!, adjusted);
  const seen = adjusted.subarray(begin, end);
  const { max, nanAt } = extremes(seen, seen.length);
  if (nanAt >= 0) throw nanError(nameOf(job, row), idOf(job, begin + nanAt));
  if (max === Infinity) throw unnormalizedError(nameOf(job, row), idOf(job, begin + seen.indexOf(Infinity)));
  const idAt = (index: number) => begin + index;
  const indices = bestFirst(seen, seen.length).filter(index => seen[index] !== -Infinity);
  let [winner] = indices;
  if (winner !== undefined && temperature > 0) winner = gumbelMax(seen, indices, temperature, stream, idAt);
  const logit = winner === undefined ? -Infinity : seen[winner];
  job.sample.ids[row] = winner === undefined ? NO_ID : idAt(winner);
  job.sample.logProbs![row] =
    temperature === 0 && winner !== undefined
      ? 0
      : logProb(distributionOf(seen, seen.length, temperature || 1), logit);
  partial.drawnLogits![row] = logit;
  if (k === 0) return;
  const listed = indices.slice(0, k);
  partial.counts![row] = listed.length;
  partial.ids!.set(listed.map(idAt), row * k);
  partial.logits!.set(
    listed.map(index => seen[index]),
    row * k,
  );
}
