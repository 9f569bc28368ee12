/** How a token is drawn of shards: by Gumbel-max over all ids, or of short lists that the shards have made. */
import { type PassJob, RowParameter } from '../backend/backend';
import { LMHeadError } from '../errors';
import { STAGE_OPTIONS } from '../pass/sampling-stages';
import { allowedCount, hasSparseMask } from '../pass/sparse-mask';
import { firstFilter } from '../reference/filters';
import { samplingOf } from '../reference/results';
import type { ShardRange } from './range';

/** Ways of a row. */
export const GREEDY = 0;
export const GUMBEL_MAX = 1;
export const LISTED = 2;

/** As many ids of a row as a shard lists; kMaxHeap of native/core/sinks/top_k.h. */
const MOST_LISTED = 1024;

/**
 * The way of each row, and how long lists are.
 * @throws LMHeadError RANGE for filters that no part of the vocabulary can decide
 */
export function drawingOf(job: PassJob, { validVocabSize }: ShardRange): { ways: Uint8Array; k: number } {
  const ways = new Uint8Array(job.n);
  let k = 0;
  for (let row = 0; row < job.n; row++) {
    const sampling = samplingOf(job.rowParameters, row);
    if (sampling.temperature === 0) continue; // GREEDY
    const filter = firstFilter(sampling);
    const sparse = filter === undefined && hasSparseMask(job.adjustments, row, validVocabSize);
    ways[row] = filter === undefined && !sparse ? GUMBEL_MAX : LISTED;
    if (ways[row] === GUMBEL_MAX) continue;
    if (!sparse && filter !== 'topK')
      throw needsAll(filter === 'temperature' ? 'temperatureRange' : STAGE_OPTIONS[filter!][0]);
    const listed = sparse ? allowedCount(job.adjustments, row, validVocabSize)! : sampling.topK;
    if (listed > MOST_LISTED) throw tooMany(sparse ? 'allowedIds, allowedMask' : 'topK', listed);
    k = Math.max(k, listed);
  }
  return { ways, k };
}

function needsAll(option: string): LMHeadError {
  return new LMHeadError(
    'RANGE',
    `${option}: got it before any topK on a shard of the vocabulary, no part of which decides it; want topK before it, of at most ${MOST_LISTED}, or none`,
  );
}

function tooMany(option: string, count: number): LMHeadError {
  return new LMHeadError(
    'RANGE',
    `${option}: got ${count} ids on a shard of the vocabulary; want at most ${MOST_LISTED}${option === 'topK' ? '' : ', or topK beside them'}`,
  );
}

/** Row parameters without filters, and with ids that count from `base` in the random stream. */
export function plainParameters(given: Float64Array, n: number, base: number): Float64Array {
  const kept = ['temperature', 'seedLow', 'seedHigh', 'step', 'stream', 'temperatureExponent'] as const;
  const plain = new Float64Array(n * RowParameter.count);
  for (let row = 0; row < n; row++) {
    const at = row * RowParameter.count;
    plain[at + RowParameter.topP] = 1;
    plain[at + RowParameter.typicalP] = 1;
    plain[at + RowParameter.logMinP] = -Infinity;
    plain[at + RowParameter.logEpsilon] = -Infinity;
    plain[at + RowParameter.logEta] = -Infinity;
    plain[at + RowParameter.logXtcThreshold] = -Infinity;
    plain[at + RowParameter.maxSurprisal] = Infinity;
    plain[at + RowParameter.minKeep] = 1;
    plain[at + RowParameter.firstId] = base;
    for (const name of kept) plain[at + RowParameter[name]] = given[at + RowParameter[name]];
  }
  return plain;
}
