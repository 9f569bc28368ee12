/** Every result of a pass, from one row of logits. */
import { IGNORED, type PassJob, RowParameter } from '../backend';
import { nanError, unnormalisedError } from '../nan-error';
import { type Distribution, distributionOf, entropyOf, logProb, logSumExp, prob } from './distribution';
import { candidatesOfRow, type Filters } from './filters';
import { bestFirst, bestId, rankOf } from './order';
import type { Stream } from './philox';
import { race, renormalisedLogProbs } from './sample';

export interface RowSampling extends Filters {
  /** 0: greedy */
  temperature: number;
  stream: Stream;
}

const PLAIN: RowSampling = {
  temperature: 1,
  topK: 0,
  topP: 1,
  logMinP: -Infinity,
  stream: { seedLow: 0, seedHigh: 0, step: 0 },
};

/** Reads one row of `PassJob.rowParameters`. */
export function rowSampling(parameters: Float64Array | undefined, row: number): RowSampling {
  if (!parameters) return PLAIN;
  const at = row * RowParameter.count;
  return {
    temperature: parameters[at + RowParameter.temperature],
    topK: parameters[at + RowParameter.topK],
    topP: parameters[at + RowParameter.topP],
    logMinP: parameters[at + RowParameter.logMinP],
    stream: {
      seedLow: parameters[at + RowParameter.seedLow],
      seedHigh: parameters[at + RowParameter.seedHigh],
      step: parameters[at + RowParameter.step],
    },
  };
}

/**
 * Writes a row's part of what the job asks for.
 * @param u [V], of which those from `valid` on are padding
 * @throws NAN where a token is to be chosen and there is none
 */
export function writeResults(job: PassJob, row: number, u: Float32Array, valid: number): void {
  const sampling = rowSampling(job.rowParameters, row);
  const greedy = sampling.temperature === 0;
  const distribution = distributionOf(u, valid, greedy ? 1 : sampling.temperature);
  if (job.argmax || job.top || job.sample)
    requireToken(u, row, distribution, job.sample !== undefined && !greedy);

  const first = row * u.length;
  job.logits?.set(u, first);
  for (let id = 0; id < u.length; id++) {
    if (job.logProbs) job.logProbs[first + id] = id < valid ? logProb(distribution, u[id]) : -Infinity;
    if (job.probs) job.probs[first + id] = id < valid ? prob(distribution, u[id]) : 0;
  }
  if (job.logSumExp) job.logSumExp[row] = logSumExp(distribution);
  if (job.argmax) job.argmax[row] = bestId(u, valid);
  if (job.top) {
    const { k, ids, logits, logProbs } = job.top;
    const best = bestFirst(u, valid);
    for (let i = 0; i < k; i++) {
      ids[row * k + i] = best[i];
      logits[row * k + i] = u[best[i]];
      logProbs[row * k + i] = logProb(distribution, u[best[i]]);
    }
  }
  if (job.sample) {
    const [id, itsLogProb] = greedy ? [bestId(u, valid), 0] : draw(u, valid, sampling);
    job.sample.ids[row] = id;
    job.sample.logProbs[row] = itsLogProb;
  }
  if (job.score) {
    const { targets, logProbs, ranks, entropy } = job.score;
    const target = targets[row];
    const ignored = target === IGNORED;
    logProbs[row] = ignored ? 0 : logProb(distribution, u[target]);
    ranks[row] = ignored || distribution.nanId >= 0 ? 0 : rankOf(u, valid, target);
    if (entropy) entropy[row] = ignored ? 0 : entropyOf(u, valid, distribution);
  }
}

function draw(u: Float32Array, valid: number, sampling: RowSampling): [id: number, logProb: number] {
  const { temperature, stream } = sampling;
  const ids = candidatesOfRow(u, valid, sampling);
  const id = race(u, ids, temperature, stream);
  return [id, renormalisedLogProbs(u, ids, temperature)[ids.indexOf(id)]];
}

/** A row's candidates, best first, and their probabilities. */
export function rowCandidates(
  u: Float32Array,
  row: number,
  sampling: RowSampling,
): { ids: number[]; probs: number[] } {
  const { temperature } = sampling;
  const greedy = temperature === 0;
  requireToken(u, row, distributionOf(u, u.length, 1), !greedy);
  if (greedy) return { ids: [bestId(u, u.length)], probs: [1] };
  const ids = candidatesOfRow(u, u.length, sampling);
  return { ids, probs: renormalisedLogProbs(u, ids, temperature).map(Math.exp) };
}

/** @param drawn a token is to be drawn, for which probabilities are needed, and not only chosen by its logit */
function requireToken(u: Float32Array, row: number, { max, nanId }: Distribution, drawn: boolean): void {
  if (nanId >= 0) throw nanError(row, nanId);
  if (drawn && !Number.isFinite(max)) {
    throw unnormalisedError(row, max === Infinity ? u.indexOf(Infinity) : undefined);
  }
}
