/** Every result of a pass, from one row of logits. */
import { placeAmong } from '../ascending-ids';
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
  const idAt = (place: number) => ids?.[place] ?? place;
  const sampling = rowSampling(job.rowParameters, row);
  const greedy = sampling.temperature === 0;
  const temperature = greedy ? 1 : sampling.temperature;
  const own = distributionOf(u, valid, temperature);
  if (job.argmax || job.top || job.sample)
    requireToken(u, row, own, job.sample !== undefined && !greedy, idAt);
  const distribution = whole ? distributionOf(whole, whole.length, temperature) : own;

  const first = row * u.length;
  job.logits?.set(u, first);
  for (let id = 0; id < u.length; id++) {
    if (job.logProbs) job.logProbs[first + id] = id < valid ? logProb(distribution, u[id]) : -Infinity;
    if (job.probs) job.probs[first + id] = id < valid ? prob(distribution, u[id]) : 0;
  }
  if (job.logSumExp) job.logSumExp[row] = logSumExp(distribution);
  if (job.argmax) job.argmax[row] = idAt(bestId(u, valid));
  if (job.top) {
    const { k, ids, logits, logProbs } = job.top;
    const best = bestFirst(u, valid);
    for (let i = 0; i < k; i++) {
      ids[row * k + i] = idAt(best[i]);
      logits[row * k + i] = u[best[i]];
      logProbs[row * k + i] = logProb(distribution, u[best[i]]);
    }
  }
  if (job.sample) {
    const [place, itsLogProb] = greedy ? [bestId(u, valid), 0] : draw(u, valid, sampling, idAt);
    job.sample.ids[row] = idAt(place);
    job.sample.logProbs[row] = itsLogProb;
  }
  if (job.score) {
    const { targets, logProbs, ranks, entropy } = job.score;
    const ignored = targets[row] === IGNORED;
    const target = ids ? placeAmong(ids, targets[row]) : targets[row];
    logProbs[row] = ignored ? 0 : logProb(distribution, u[target]);
    ranks[row] = ignored || distribution.nanId >= 0 ? 0 : rankOf(u, valid, target);
    if (entropy) entropy[row] = ignored ? 0 : entropyOf(whole ?? u, whole?.length ?? valid, distribution);
  }
}

function draw(
  u: Float32Array,
  valid: number,
  sampling: RowSampling,
  idAt: (place: number) => number,
): [place: number, logProb: number] {
  const { temperature, stream } = sampling;
  const places = candidatesOfRow(u, valid, sampling);
  const place = race(u, places, temperature, stream, idAt);
  return [place, renormalisedLogProbs(u, places, temperature)[places.indexOf(place)]];
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
function requireToken(
  u: Float32Array,
  row: number,
  { max, nanId }: Distribution,
  drawn: boolean,
  idAt: (place: number) => number = place => place,
): void {
  if (nanId >= 0) throw nanError(row, idAt(nanId));
  if (drawn && !Number.isFinite(max)) {
    throw unnormalisedError(row, max === Infinity ? idAt(u.indexOf(Infinity)) : undefined);
  }
}
