/**
 * Speculative verification: which of a draft's tokens stand, and the token that follows them.
 *
 * p is the distribution that a token is to be drawn from, q the one that the draft drew it from. Its token x stands with
 * probability min(1, p(x)/q(x)); where it does not, the token is drawn from max(p − q, 0), renormalised. So every token has the
 * distribution p, whatever q is: with probability min(p, q) it is the draft's, and with max(p − q, 0) the correction.
 *
 * Source: Leviathan, Kalman, Matias, "Fast inference from transformers via speculative decoding", ICML 2023, §2.3; Chen et al.,
 * "Accelerating large language model decoding with speculative sampling", 2023.
 */
import type { PassJob } from '../backend';
import { nanError, nothingLeftError, unnormalisedError } from '../nan-error';
import { adjustedRow } from './adjust';
import { distributionOf } from './distribution';
import { expNegative, logPositive, raceKey } from './exact-math';
import { candidatesOfRow } from './filters';
import { bestId } from './order';
import { Purpose, type Stream, tokenBits } from './philox';
import { rowSampling } from './results';

/** Sums of masses go by chunks of this many ids, so that they can be made in parallel with the same bits. */
const CHUNK = 256;
const SMALLEST_NORMAL = 2 ** -1022;

/**
 * Holds one row against the job's draft.
 * @param u [V], of which those from `valid` on are padding
 * @returns whether the draft's token stands, so that the next row counts
 */
export function verifyRow(job: PassJob, row: number, u: Float32Array, valid: number): boolean {
  const draft = job.draft!;
  const sampling = rowSampling(job.rowParameters, row);
  const { stream } = sampling;
  const drafted = row < draft.ids.length ? draft.ids[row] : -1;
  const put = (id: number, logProb: number, stands: boolean): boolean => {
    draft.outIds[row] = id;
    draft.outLogProbs[row] = logProb;
    if (stands) draft.accepted[0]++;
    return stands;
  };
  const adjusted = adjustedRow(u, row, job.adjustments);
  const { nanId } = distributionOf(adjusted, valid, 1);
  if (nanId >= 0) throw nanError(row, nanId);
  const best = bestId(adjusted, valid);
  const highest = adjusted[best];
  if (highest === -Infinity && job.adjustments) throw nothingLeftError(row);
  if (sampling.temperature === 0) return put(best, 0, best === drafted);
  if (!Number.isFinite(highest)) throw unnormalisedError(row, highest > 0 ? best : undefined);

  const { ids, temperature } = candidatesOfRow(adjusted, valid, sampling);
  const max = adjusted[ids[0]];
  ids.sort((a, b) => a - b);
  const mass = (id: number) => expNegative((adjusted[id] - max) / temperature);
  const sum = chunkedSum(ids, mass); // p(id) = mass(id) / sum
  const logProb = (id: number) => (adjusted[id] - max) / temperature - logPositive(sum);

  const q = (id: number): number => {
    if (drafted < 0 || !draft.logProbs) return id === drafted ? 1 : 0;
    return expNegative(Math.min(draft.logProbs[row * u.length + id], 0));
  };
  if (ids.includes(drafted) && coin(stream) * q(drafted) * sum < mass(drafted))
    return put(drafted, logProb(drafted), true);

  let correction = draw(ids, id => mass(id) - q(id) * sum, stream);
  // Nothing is left where p and q are the same but for rounding: then p itself is right.
  if (correction < 0) correction = draw(ids, mass, stream);
  return put(correction, logProb(correction), false);
}

/** Uniform in (0, 1), both ends left out, in steps of 2^-52. */
function coin(stream: Stream): number {
  const [high, low] = tokenBits(stream, 0, Purpose.draftCoin);
  return (high * 2 ** 20 + (low >>> 12) + 0.5) * 2 ** -52;
}

/** @param ids ascending */
function chunkedSum(ids: readonly number[], mass: (id: number) => number): number {
  let sum = 0;
  let part = 0;
  let chunk = 0;
  for (const id of ids) {
    if (Math.floor(id / CHUNK) !== chunk) {
      sum += part;
      part = 0;
      chunk = Math.floor(id / CHUNK);
    }
    part += mass(id);
  }
  return sum + part;
}

/**
 * An id drawn with probability proportional to its weight, by a race; -1 where no weight is above 0.
 * @param ids ascending
 */
function draw(ids: readonly number[], weight: (id: number) => number, stream: Stream): number {
  let winner = -1;
  let best = -Infinity;
  for (const id of ids) {
    const w = weight(id);
    if (w < SMALLEST_NORMAL) continue;
    const key = raceKey(logPositive(w), ...tokenBits(stream, id, Purpose.draftCorrection));
    if (key > best) {
      best = key;
      winner = id;
    }
  }
  return winner;
}
