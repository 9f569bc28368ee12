/** The results of a pass, from logits that the caller holds already. */

import { adjustmentsOf } from '../arguments/adjustments';
import { firstOf, newFloats, newWords, outputArray } from '../arguments/arrays';
import { hiddenRows, requireStill } from '../arguments/hidden';
import { tokenIds } from '../arguments/ids';
import {
  CANDIDATES_OF_OPTIONS,
  LOG_SOFTMAX_OPTIONS,
  optionsIfAny,
  SAMPLE_FROM_OPTIONS,
  SOFTMAX_OPTIONS,
  TOP_K_OF_OPTIONS,
} from '../arguments/option-names';
import { type RowPurpose, rowParameters } from '../arguments/row-parameters';
import { integerBetween } from '../arguments/values';
import { type LogitsJob, noCandidates } from '../backend/backend';
import { logitsBackend, logitsBackendOf } from '../backend/choose';
import { floats } from '../dtypes/half';
import type {
  CallOptions,
  Candidates,
  Hidden,
  Ids,
  PerRow,
  Sample,
  SampleOf,
  SampleOptions,
  Score,
  ScoreOptions,
  TopK,
} from '../types';
import type { Effective } from '../types/effective';
import { asJson } from './as-json';
import { requireFree } from './pending-outputs';
import { scoreOf, topOf } from './results';
import { newSample } from './sample-result';

/** How to draw from logits that are held, which have all the rows that they will have, and the norm behind them. */
type LogitsOptions = Omit<SampleOptions, 'norm' | 'guidance' | 'rows' | 'over'>;

const MOST_IDS = 2 ** 32 - 1;

/** Options of `softmax` and `logSoftmax`. */
export interface DistributionOptions {
  /** Divides the logits; finite and above 0, one for all rows or one per row. Default 1. */
  temperature?: PerRow<number>;
  /** At least n·V elements, apart from the memory of `logits`; returned itself. */
  out?: Float32Array;
  /** Of a Uint16Array of logits. */
  hiddenDtype?: 'f16' | 'bf16';
}

/**
 * Log-softmax of each row.
 * @param logits [n, vocabSize], in any form that hidden states may have; a bare Uint16Array needs `options.hiddenDtype`
 * @param vocabSize logits per row
 * @param options.temperature divides the logits; at least 1e-300, default 1
 * @param options.out where to put the result: at least n·vocabSize elements, apart from `logits`; returned itself
 * @returns [n, vocabSize], natural logs. A row with NaN or +∞, or of nothing but −∞, has NaN
 * @throws LMHeadError SHAPE, DTYPE, RANGE, ARGUMENT, MEMORY; BUSY where a pending call will write to `out`
 */
export function logSoftmax(logits: Hidden, vocabSize: number, options?: DistributionOptions): Float32Array {
  return distribution('logProbs', logits, vocabSize, options);
}

/**
 * Softmax of each row.
 * @param logits [n, vocabSize], in any form that hidden states may have; a bare Uint16Array needs `options.hiddenDtype`
 * @param vocabSize logits per row
 * @param options.temperature divides the logits; at least 1e-300, default 1
 * @param options.out where to put the result: at least n·vocabSize elements, apart from `logits`; returned itself
 * @returns [n, vocabSize]; each row adds up to 1
 * @throws LMHeadError SHAPE, DTYPE, RANGE, ARGUMENT, MEMORY; BUSY where a pending call will write to `out`
 */
export function softmax(logits: Hidden, vocabSize: number, options?: DistributionOptions): Float32Array {
  return distribution('probs', logits, vocabSize, options);
}

function distribution(
  result: 'logProbs' | 'probs',
  logits: Hidden,
  vocabSize: number,
  given: DistributionOptions | undefined,
): Float32Array {
  const options = optionsIfAny(given, result === 'probs' ? SOFTMAX_OPTIONS : LOG_SOFTMAX_OPTIONS);
  const { job, memory } = logitsJob(logits, vocabSize, options, 'distribution', false);
  const count = job.n * job.vocabSize;
  let out: Float32Array;
  if (options?.out !== undefined) {
    out = outputArray(options.out, count, memory, 'logits');
    requireFree(out);
  } else {
    out = newFloats(count, result);
  }
  job[result] = firstOf(out, count);
  run(job);
  return out;
}

/**
 * The k best ids of each row, best first, equal logits by lower id.
 * @param logits [n, vocabSize], in any form that hidden states may have; a bare Uint16Array needs `options.hiddenDtype`
 * @param vocabSize logits per row
 * @param k from 1 to vocabSize
 * @param options `hiddenDtype`, and the temperature of logProbs
 * @returns ids, logits, logProbs (under the whole vocabulary), [n,k] each; logSumExp [n]
 * @throws LMHeadError SHAPE, DTYPE, RANGE, ARGUMENT, MEMORY; NAN where a row has NaN
 */
export function topKOf(
  logits: Hidden,
  vocabSize: number,
  k: number,
  options?: Pick<CallOptions, 'hiddenDtype'>,
): TopK {
  const own = optionsIfAny(options, TOP_K_OF_OPTIONS);
  const { job } = logitsJob(logits, vocabSize, own, 'distribution', false);
  const { n } = job;
  integerBetween(k, 'k', 1, job.vocabSize);
  const top = {
    k,
    ids: newWords(n * k, 'ids'),
    logits: newFloats(n * k, 'logits'),
    logProbs: newFloats(n * k, 'logProbs'),
  };
  job.top = top;
  job.logSumExp = newFloats(n, 'logSumExp');
  run(job);
  return topOf(job) as TopK;
}

/**
 * Draws a token per row, as `sample` does.
 * @param logits [n, vocabSize], in any form that hidden states may have; a bare Uint16Array needs `options.hiddenDtype`
 * @param vocabSize logits per row
 * @param options see SampleOptions; temperature 0 takes the likeliest token
 * @returns ids [n], logProbs [n] under the distribution that was sampled; with `topLogProbs` also what is likeliest, raw and as
 *   sampled
 * @throws LMHeadError SHAPE, DTYPE, RANGE, ARGUMENT, MEMORY; NAN where a row has NaN
 */
export function sampleFrom<const O extends LogitsOptions & Effective<O, LogitsOptions>>(
  logits: Hidden,
  vocabSize: number,
  options?: O,
): SampleOf<O> {
  const own: LogitsOptions | undefined = optionsIfAny(options, SAMPLE_FROM_OPTIONS);
  const { job } = logitsJob(logits, vocabSize, own, 'sample', true);
  job.sample = newSample(own, job.n, job.vocabSize);
  run(job);
  return job.sample as SampleOf<O>;
}

/**
 * Draws a token of one row.
 * @param logits of which it is drawn
 * @param raw those of the model, which what is told beside the token is of; absent: nothing is
 * @param kind the backend of the head that has made them
 */
export function drawnFrom(
  logits: Float32Array,
  raw: Float32Array | undefined,
  options: LogitsOptions,
  kind: 'native' | 'reference',
): Sample {
  const backend = logitsBackendOf(kind);
  const { job } = logitsJob(logits, logits.length, options, 'sample', true);
  const sample = newSample(options, 1, job.vocabSize);
  job.sample = sample;
  run(job, backend);
  if (!raw) return sample;
  const { k, ids, counts, logProbs } = sample.modelTopLogProbs!;
  const targets = sample.ids;
  const score = { targets, logProbs: newFloats(1, 'logProbs'), ranks: newWords(1, 'ranks') };
  const top = { k, ids, logits: newFloats(k, 'logits'), logProbs };
  const model: LogitsJob = {
    givenLogits: raw,
    vocabSize: raw.length,
    n: 1,
    score,
    top: k === 0 ? undefined : top,
  };
  run(model, backend);
  counts[0] = k;
  sample.modelLogProbs = score.logProbs;
  return sample;
}

/** Log-probabilities of given tokens, as a head's `score` has them. */
export function scoreGiven(logits: Hidden, vocabSize: number, ids: Ids, options: ScoreOptions = {}): Score {
  const { ignoreIndex, entropy, hiddenDtype, temperature } = options;
  const { job } = logitsJob(logits, vocabSize, { hiddenDtype, temperature }, 'distribution', false);
  const { n } = job;
  const targets = tokenIds(ids, 'targets', n, vocabSize, { ignoreIndex });
  job.score = { targets, logProbs: newFloats(n, 'logProbs'), ranks: newWords(n, 'ranks') };
  if (entropy) job.score.entropy = newFloats(n, 'entropy');
  run(job);
  return scoreOf(job);
}

/**
 * What the filters of SampleOptions leave of each row.
 * @param logits [n, vocabSize], in any form that hidden states may have; a bare Uint16Array needs `options.hiddenDtype`
 * @param vocabSize logits per row
 * @param options as sampleFrom's; topLogProbs has no effect. Temperature 0 leaves the likeliest token alone
 * @returns row i is [offsets[i], offsets[i+1]): ids, best first, and their renormalized probabilities; offsets [n+1]
 * @throws LMHeadError SHAPE, DTYPE, RANGE, ARGUMENT, MEMORY; NAN where a row has NaN
 */
export function candidatesOf<const O extends LogitsOptions & Effective<O, LogitsOptions>>(
  logits: Hidden,
  vocabSize: number,
  options: O,
): Candidates {
  const own: LogitsOptions | undefined = optionsIfAny(options, CANDIDATES_OF_OPTIONS);
  const { job } = logitsJob(logits, vocabSize, own, 'filter', true);
  job.candidates = noCandidates();
  run(job);
  return asJson(job.candidates);
}

function logitsJob(
  logits: unknown,
  vocabSize: unknown,
  options: SampleOptions | undefined,
  purpose: RowPurpose,
  greedy: boolean,
): { job: LogitsJob; memory: ArrayBufferView } {
  const v = integerBetween(vocabSize, 'vocabSize', 1, MOST_IDS);
  const { data, dtype, n } = hiddenRows(logits, v, options?.hiddenDtype, 'logits', 'vocabSize');
  const parameters = rowParameters(options, n, v, purpose, greedy);
  const adjustments = purpose === 'distribution' ? undefined : adjustmentsOf(options, n, v, v);
  requireStill(data, n * v, 'logits');
  const job = { givenLogits: floats(data, dtype), vocabSize: v, n, rowParameters: parameters, adjustments };
  return { job, memory: data };
}

function run(job: LogitsJob, backend = logitsBackend()): void {
  if (job.n > 0) backend.runLogits(job);
}
