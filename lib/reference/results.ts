/** Every result of a pass, from one row of logits. */
import { localIndex } from '../arguments/ascending-ids';
import { IGNORED, type PassJob, RowParameter } from '../backend/backend';
import { idOf, nameOf, nanError, nothingLeftError, unnormalizedError } from '../backend/row-errors';
import { hasSparseMask } from '../pass/sparse-mask';
import type { TopLogProbs } from '../types';
import { adjustedRow } from './adjust';
import { distributionOf, extremes, logProb, logSumExp, prob } from './distribution';
import { candidatesOfRow, firstFilter, KEEPS_ALL, type RowSampling } from './filters';
import { bestFirst, bestId, rankOf } from './order';
import { writePartial } from './partial';
import { gumbelMax, renormalizedLogProbs } from './sample';

/** In lists: there is none. */
const NO_ID = 0xffffffff;
/** Reads one row of a job's parameters, with what its adjustments say of stages. */
export function rowSampling(job: PassJob, row: number): RowSampling {
  return { ...samplingOf(job.rowParameters, row), xtcProtected: protectedIndices(job) };
}

/** Reads one row of `PassJob.rowParameters`. */
export function samplingOf(parameters: Float64Array | undefined, row: number): RowSampling {
  if (!parameters) return KEEPS_ALL;
  const at = (column: keyof typeof RowParameter) =>
    parameters[row * RowParameter.count + RowParameter[column]];
  return {
    temperature: at('temperature'),
    topK: at('topK'),
    topP: at('topP'),
    logMinP: at('logMinP'),
    typicalP: at('typicalP'),
    logEpsilon: at('logEpsilon'),
    logEta: at('logEta'),
    topNSigma: at('topNSigma'),
    pLess: at('pLess') !== 0,
    xtcProbability: at('xtcProbability'),
    logXtcThreshold: at('logXtcThreshold'),
    temperatureRange: at('temperatureRange'),
    temperatureExponent: at('temperatureExponent'),
    maxSurprisal: at('maxSurprisal'),
    minKeep: at('minKeep'),
    order: at('order'),
    stream: {
      seedLow: at('seedLow'),
      seedHigh: at('seedHigh'),
      step: at('step'),
      number: at('stream'),
      firstId: at('firstId'),
    },
  };
}

/**
 * Writes a row's part of what the job asks for.
 * @param u [V], of which those from `valid` on are padding; or those of `job.view`'s rows
 * @param whole logits of all ids, where probabilities are over them and not over `u`
 * @throws NAN where a token is to be chosen and there is none
 */
export function writeResults(
  job: PassJob,
  row: number,
  u: Float32Array,
  valid: number,
  whole?: Float32Array,
): void {
  const ids = job.view?.rows;
  const { partial } = job;
  // Of a shard, what is ranked, drawn and normalized over is a part of its whole chunks.
  const begin = partial?.begin ?? 0;
  const [seen, count] = partial ? [u.subarray(begin, partial.end), partial.end - begin] : [u, valid];
  const idAt = (index: number) => ids?.[index] ?? begin + index;
  const sampling = rowSampling(job, row);
  const greedy = sampling.temperature === 0;
  const temperature = greedy ? 1 : sampling.temperature;
  const { nanAt } = extremes(seen, count);
  if ((job.argmax || job.top || job.sample?.modelLogProbs) && nanAt >= 0)
    throw nanError(nameOf(job, row), idOf(job, idAt(nanAt)));
  const distribution = distributionOf(whole ?? seen, whole?.length ?? count, temperature);

  if (partial) writePartial(job, partial, row, u, valid, sampling);
  else if (job.sample || job.candidates) writeDrawn(job, row, draw(job, row, u, valid));
  if (job.sample?.modelLogProbs) {
    const raw = temperature === 1 ? distribution : distributionOf(whole ?? u, whole?.length ?? valid, 1);
    const drawn = ids ? localIndex(ids, job.sample.ids[row]) : job.sample.ids[row];
    job.sample.modelLogProbs[row] = logProb(raw, u[drawn]);
    const best = bestFirst(u, valid);
    const logProbs = best.map(index => logProb(raw, u[index]));
    writeList(job.sample.modelTopLogProbs!, row, best.map(idAt), logProbs);
  }

  const first = row * u.length;
  job.logits?.set(u, first);
  for (let id = 0; id < u.length; id++) {
    if (job.logProbs) job.logProbs[first + id] = id < valid ? logProb(distribution, u[id]) : -Infinity;
    if (job.probs) job.probs[first + id] = id < valid ? prob(distribution, u[id]) : 0;
  }
  if (job.logSumExp) job.logSumExp[row] = logSumExp(distribution);
  if (job.argmax) job.argmax[row] = idAt(bestId(seen, count));
  if (job.top) {
    const { k, ids, logits, logProbs } = job.top;
    const best = bestFirst(seen, count);
    for (let i = 0; i < k; i++) {
      ids[row * k + i] = idAt(best[i]);
      logits[row * k + i] = seen[best[i]];
      if (logProbs) logProbs[row * k + i] = logProb(distribution, seen[best[i]]);
    }
  }
  if (job.score) {
    const { targets, logProbs, ranks, entropy } = job.score;
    const ignored = targets[row] === IGNORED;
    const target = ids ? localIndex(ids, targets[row]) : targets[row] - begin;
    const logit = partial ? partial.targetLogits![row] : seen[target];
    logProbs[row] = ignored ? 0 : logProb(distribution, logit);
    ranks[row] = ignored || Number.isNaN(distribution.max) ? 0 : rankOf(seen, count, target, logit);
    if (entropy) entropy[row] = ignored ? 0 : distribution.entropy;
  }
}

function writeDrawn(job: PassJob, row: number, { ids, logProbs, chosen }: Drawn): void {
  if (job.sample) {
    job.sample.ids[row] = ids[chosen];
    if (job.sample.logProbs) job.sample.logProbs[row] = logProbs[chosen];
    if (job.sample.topLogProbs) writeList(job.sample.topLogProbs, row, ids, logProbs);
  }
  const before = job.candidates;
  if (!before) return;
  before.ids = Uint32Array.from([...before.ids, ...ids]);
  before.probs = Float32Array.from([...before.probs, ...logProbs.map(Math.exp)]);
  before.offsets = Uint32Array.from([...before.offsets, before.ids.length]);
}

/** The first of a row's ids, which are best first. */
function writeList(list: TopLogProbs, row: number, ids: number[], logProbs: number[]): void {
  const { k } = list;
  list.counts[row] = Math.min(k, ids.length);
  for (let i = 0; i < k; i++) {
    list.ids[row * k + i] = ids[i] ?? NO_ID;
    list.logProbs[row * k + i] = logProbs[i] ?? -Infinity;
  }
}

/**
 * What may be drawn from a row, and what is.
 * @throws NAN, or RANGE where the adjustments leave nothing
 */
export function draw(job: PassJob, row: number, u: Float32Array, valid: number): Drawn {
  const sampling = rowSampling(job, row);
  const { temperature, stream } = sampling;
  const idAt = (index: number) => job.view?.rows[index] ?? index;
  const adjusted = adjustedRow(u, row, job.adjustments, job.view?.rows);
  const { max, nanAt } = extremes(adjusted, valid);
  if (nanAt >= 0) throw nanError(nameOf(job, row), idAt(nanAt));
  if (!Number.isFinite(max)) {
    if (max > 0) throw unnormalizedError(nameOf(job, row), idAt(adjusted.indexOf(Infinity)));
    // Where there was nothing before, it is not the adjustments that leave nothing.
    const wasNothing = extremes(u, valid).max === -Infinity;
    throw wasNothing ? unnormalizedError(nameOf(job, row), undefined) : nothingLeftError(nameOf(job, row));
  }
  if (temperature === 0) return { ids: [idAt(bestId(adjusted, valid))], logProbs: [0], chosen: 0 };
  const left = candidatesOfRow(adjusted, valid, sampling);
  const indices = left.ids;
  const chosen = indices.indexOf(gumbelMax(adjusted, indices, left.temperature, stream, idAt));
  // Of all that there is, the sum is that of every distribution; but as few as a mask may leave are summed by themselves.
  const isAll = firstFilter(sampling) === undefined && !hasSparseMask(job.adjustments, row, valid);
  const whole = isAll && distributionOf(adjusted, valid, temperature);
  const logProbs = whole
    ? indices.map(index => logProb(whole, adjusted[index]))
    : renormalizedLogProbs(adjusted, indices, left.temperature);
  return { ids: indices.map(idAt), logProbs, chosen };
}

function protectedIndices({ adjustments, view }: PassJob): ReadonlySet<number> | undefined {
  const ids = adjustments?.xtcProtected;
  if (!ids) return undefined;
  const rows = view?.rows;
  return new Set(rows ? Array.from(ids, id => localIndex(rows, id)) : ids);
}

export interface Drawn {
  /** Best first. */
  ids: number[];
  /** Of each, under the distribution that is left. */
  logProbs: number[];
  /** Index of the drawn one among them. */
  chosen: number;
}
