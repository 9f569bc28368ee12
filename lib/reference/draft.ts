/**
 * Speculative verification: which of a draft's tokens are accepted, and the token that follows them.
 *
 * p is the distribution that a token is to be drawn from, q the one that the draft drew it from. Its token x is accepted with
 * probability min(1, p(x)/q(x)); where it does not, the token is drawn from max(p − q, 0), renormalized. So every token has the
 * distribution p, whatever q is: with probability min(p, q) it is the draft's, and with max(p − q, 0) the correction. A token with
 * q(x) = 0 cannot have been drawn from q, so it is never accepted.
 *
 * Source: Leviathan, Kalman, Matias, "Fast inference from transformers via speculative decoding", ICML 2023, §2.3; Chen et al.,
 * "Accelerating large language model decoding with speculative sampling", 2023.
 */
import { localIndex } from '../arguments/ascending-ids';
import type { PassJob } from '../backend/backend';
import { nameOf, nanError, nothingLeftError, unnormalizedError } from '../backend/row-errors';
import { adjustedRow } from './adjust';
import { extremes } from './distribution';
import { expNegative, gumbelKey, logPositive } from './exact-math';
import { candidatesOfRow } from './filters';
import { FixedPointSum, MASS_UNIT } from './fixed-point-sum';
import { bestId } from './order';
import { Purpose, type Stream, tokenBits } from './philox';
import { rowSampling } from './results';

const SMALLEST_NORMAL = 2 ** -1022;

/**
 * Verifies one row of the job's draft.
 * @param u [V], of which those from `valid` on are padding; or those of `job.view`'s rows
 * @returns whether the draft's token is accepted, so that the next row counts
 */
export function verifyRow(job: PassJob, row: number, u: Float32Array, valid: number): boolean {
  const draft = job.draft!;
  const rowName = nameOf(job, row);
  const ids = job.view?.rows;
  const idAt = (index: number) => ids?.[index] ?? index;
  const sampling = rowSampling(job, row);
  const { stream } = sampling;
  const isDrafted = row < draft.ids.length;
  const drafted = !isDrafted ? -1 : ids ? localIndex(ids, draft.ids[row]) : draft.ids[row];
  const put = (index: number, logProb: number, accepted: boolean): boolean => {
    draft.outIds[row] = idAt(index);
    draft.outLogProbs[row] = logProb;
    if (accepted) draft.accepted[0]++;
    return accepted;
  };
  const adjusted = adjustedRow(u, row, job.adjustments, ids);
  const { nanAt } = extremes(adjusted, valid);
  if (nanAt >= 0) throw nanError(rowName, idAt(nanAt));
  const best = bestId(adjusted, valid);
  const highest = adjusted[best];
  if (highest > 0 && !Number.isFinite(highest)) throw unnormalizedError(rowName, idAt(best));
  if (highest === -Infinity) {
    // Where there was nothing before, it is not the adjustments that leave nothing.
    const wasNothing = extremes(u, valid).max === -Infinity;
    throw wasNothing ? unnormalizedError(rowName, undefined) : nothingLeftError(rowName);
  }
  // A finite log-probability whose q underflows is possible.
  const mayAccept = draft.logProbs?.[row * u.length + drafted] !== -Infinity;
  if (sampling.temperature === 0) return put(best, 0, mayAccept && best === drafted);

  const { ids: indices, temperature } = candidatesOfRow(adjusted, valid, sampling);
  const max = adjusted[indices[0]];
  indices.sort((a, b) => a - b);
  const mass = (index: number) => expNegative((adjusted[index] - max) / temperature);
  const total = new FixedPointSum();
  for (const index of indices) total.add(mass(index));
  const sum = total.value * MASS_UNIT; // p = mass / sum
  const logProb = (index: number) => (adjusted[index] - max) / temperature - logPositive(sum);

  const q = (index: number): number => {
    if (!isDrafted || !draft.logProbs) return index === drafted ? 1 : 0;
    return expNegative(Math.min(draft.logProbs[row * u.length + index], 0));
  };
  if (mayAccept && indices.includes(drafted) && coin(stream) * q(drafted) * sum < mass(drafted))
    return put(drafted, logProb(drafted), true);

  const drawn = (weight: (index: number) => number) => draw(indices, idAt, weight, stream);
  let correction = drawn(index => mass(index) - q(index) * sum);
  // Nothing is left where p and q are the same but for rounding: then p itself is right.
  if (correction < 0) correction = drawn(mass);
  return put(correction, logProb(correction), false);
}

/** Uniform in (0, 1), both ends left out, in steps of 2^-52. */
function coin(stream: Stream): number {
  const [high, low] = tokenBits(stream, 0, Purpose.draftCoin);
  return (high * 2 ** 20 + (low >>> 12) + 0.5) * 2 ** -52;
}

/**
 * A local index drawn with probability proportional to its weight, by Gumbel-max; -1 where no weight is above 0.
 * @param indices ascending
 */
function draw(
  indices: readonly number[],
  idAt: (index: number) => number,
  weight: (index: number) => number,
  stream: Stream,
): number {
  let winner = -1;
  let best = -Infinity;
  for (const index of indices) {
    const w = weight(index);
    if (w < SMALLEST_NORMAL) continue;
    const key = gumbelKey(logPositive(w), ...tokenBits(stream, idAt(index), Purpose.draftCorrection));
    if (key > best) {
      best = key;
      winner = index;
    }
  }
  return winner;
}
