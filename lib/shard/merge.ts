/** Results of all shards of a vocabulary, made the result of the whole, bit for bit. */
import { MERGE_TOP_K_OPTIONS, optionsIfAny } from '../arguments/option-names';
import { isArray, reading } from '../arguments/reading';
import { CHUNK_ROWS, ChunkSum, IGNORED } from '../backend/backend';
import { nothingLeftError, unnormalizedError } from '../backend/row-errors';
import { LMHeadError } from '../errors';
import { asJson } from '../pass/as-json';
import { scoreOf } from '../pass/results';
import { combined, type Distribution, logProb, logSumExp } from '../reference/distribution';
import { candidatesOfRow } from '../reference/filters';
import { samplingOf } from '../reference/results';
import { first, gumbelMax, renormalizedLogProbs, runnerAt } from '../reference/sample';
import type { Sample, Score, ShardDraw, ShardPart, TopK } from '../types';
import { GREEDY, GUMBEL_MAX } from './drawing';
import { ordered } from './parts';
import { mergeUnmarked } from './unmarked';

/**
 * The k best of all ids, from those of each shard of a vocabulary: what `topK` or `lens` of the whole head gives, bit for bit.
 * @param shards what every head of a shard gave for the same call, in any order. Or, without such heads, results of several heads
 *   whose rows make up a vocabulary: these are merged by their logSumExp, which float32 has rounded, at k as small as the smallest
 * @param options `offsets`: of results of heads that know of no vocabulary but their own, what is added to the ids of each
 * @throws LMHeadError ARGUMENT for what are not all shards of one vocabulary; SHAPE for results of different calls
 */
export function mergeTopK(shards: readonly TopK[], options?: { offsets?: readonly number[] }): TopK {
  const own = optionsIfAny(options, MERGE_TOP_K_OPTIONS);
  const marked = isArray(shards) && reading('shards', () => shards.some(each => each?.shard !== undefined));
  if (!marked) return mergeUnmarked(shards, own?.offsets);
  if (own?.offsets !== undefined) {
    throw new LMHeadError(
      'RANGE',
      'offsets: got some for shards, whose ids are those of the whole; want none',
    );
  }
  const results = ordered<TopK>(shards, 'topK', part => part.k);
  const [{ part }] = results;
  const { n, k = 0 } = part;
  const merged: TopK = {
    n,
    k,
    ids: new Uint32Array(n * k),
    logits: new Float32Array(n * k),
    logProbs: new Float32Array(n * k),
    logSumExp: new Float32Array(n),
  };
  for (let row = 0; row < n; row++) {
    const whole = distribution(results, row);
    const all = results.flatMap(({ result: { k: its, ids, logits } }) =>
      Array.from({ length: its }, (_, i) => ({ id: ids[row * its + i], logit: logits[row * its + i] })),
    );
    all.sort((a, b) => b.logit - a.logit || a.id - b.id);
    for (let i = 0; i < k; i++) {
      merged.ids[row * k + i] = all[i].id;
      merged.logits[row * k + i] = all[i].logit;
      merged.logProbs[row * k + i] = logProb(whole, all[i].logit);
    }
    merged.logSumExp[row] = logSumExp(whole);
  }
  return asJson(merged);
}

/**
 * How likely targets are, from what each shard of a vocabulary says of them: what `score` of the whole head gives, bit for bit.
 * @param shards what every head of a shard gave for the same hidden states and targets, in any order
 * @throws LMHeadError ARGUMENT for what are not all shards of one vocabulary; SHAPE for results of different calls
 */
export function mergeScores(shards: readonly Score[]): Score {
  const results = ordered<Score>(shards, 'score', part => part.targets);
  const [{ part, result }] = results;
  const { n } = part;
  const targets = part.targets!;
  const score = {
    targets,
    logProbs: new Float32Array(n),
    ranks: new Uint32Array(n),
    entropy: result.entropy && new Float32Array(n),
  };
  for (let row = 0; row < n; row++) {
    if (targets[row] === IGNORED) continue;
    const whole = distribution(results, row);
    score.logProbs[row] = logProb(whole, part.targetLogits![row]);
    if (score.entropy) score.entropy[row] = whole.entropy;
    if (Number.isNaN(whole.max)) continue;
    // Each says a rank among its own.
    score.ranks[row] = results.reduce((rank, { result: { ranks } }) => rank + ranks[row] - 1, 1);
  }
  return scoreOf({ n, score });
}

/**
 * The token of each row, from what each shard of a vocabulary would draw: what `sample` of the whole head gives with the same
 * options, bit for bit.
 * @param shards what every head of a shard gave for the same call, with the same seed, in any order
 * @throws LMHeadError ARGUMENT for what are not all shards of one vocabulary; SHAPE for results of different calls; NAN, RANGE as
 *   `sample` does
 */
export function mergeSamples(shards: readonly Sample[]): Sample {
  const results = ordered<Sample>(shards, 'sample', part => part.draw?.rowParameters);
  const [{ part }] = results;
  const { n } = part;
  const sample: Sample = { ids: new Uint32Array(n), logProbs: new Float32Array(n) };
  for (let row = 0; row < n; row++) {
    const way = part.draw!.ways[row];
    const { id, logProb } = way === GREEDY || way === GUMBEL_MAX ? winner(results, row) : drawn(results, row);
    sample.ids[row] = id;
    sample.logProbs[row] = logProb;
  }
  return asJson(sample);
}

type Results<T> = readonly { part: ShardPart; result: T }[];
interface Token {
  id: number;
  logProb: number;
}

/** Of a row that any id may be drawn of, or whose best is wanted. */
function winner(results: Results<Sample>, row: number): Token {
  const here = results.filter(({ part }) => part.draw!.logits[row] > -Infinity);
  if (here.length === 0) throw nothingError(results, row);
  const { rowParameters, ways } = here[0].part.draw!;
  const { temperature, stream } = samplingOf(rowParameters, row);
  const logitOf = ({ part }: { part: ShardPart }) => part.draw!.logits[row];
  if (ways[row] === GREEDY) {
    const best = here.reduce((best, each) => (logitOf(each) > logitOf(best) ? each : best)); // lower ids come first
    return { id: best.result.ids[row], logProb: 0 };
  }
  const runners = here.map((each, i) =>
    runnerAt(i, logitOf(each), temperature, stream, each.result.ids[row]),
  );
  const best = here[first(runners).index];
  const whole = distribution(results, row, draw => draw!.sums);
  return { id: best.result.ids[row], logProb: logProb(whole, logitOf(best)) };
}

/** Of a row that short lists are made for: the chain of filters works on these. */
function drawn(results: Results<Sample>, row: number): Token {
  const all = results.flatMap(({ part: { draw } }) => {
    const { k, counts, ids, listed } = draw!;
    return Array.from({ length: counts[row] }, (_, i) => ({
      id: ids[row * k + i],
      logit: listed[row * k + i],
    }));
  });
  if (all.length === 0) throw nothingError(results, row);
  all.sort((a, b) => a.id - b.id);
  const u = Float32Array.from(all, ({ logit }) => logit);
  const { rowParameters, xtcProtected } = results[0].part.draw!;
  const spared = new Set(xtcProtected);
  const sparedIndices = all.flatMap(({ id }, index) => (spared.has(id) ? [index] : []));
  const sampling = { ...samplingOf(rowParameters, row), xtcProtected: new Set(sparedIndices) };
  const { ids: indices, temperature } = candidatesOfRow(u, u.length, sampling);
  const chosen = gumbelMax(u, indices, temperature, sampling.stream, index => all[index].id);
  const logProbs = renormalizedLogProbs(u, indices, temperature);
  return { id: all[chosen].id, logProb: logProbs[indices.indexOf(chosen)] };
}

function nothingError(results: Results<Sample>, row: number): LMHeadError {
  const wasNothing = distribution(results, row).max === -Infinity;
  return wasNothing ? unnormalizedError(row, undefined) : nothingLeftError(row);
}

/**
 * A row's distribution over the whole vocabulary.
 * @param sumsOf other sums than those of the logits as they are
 */
function distribution<T>(
  results: Results<T>,
  row: number,
  sumsOf: (draw: ShardDraw | undefined) => Float64Array | undefined = () => undefined,
): Distribution {
  const [{ part }] = results;
  const sums = new Float64Array(Math.ceil(part.validVocabSize / CHUNK_ROWS) * ChunkSum.count);
  for (const { part } of results) {
    const own = sumsOf(part.draw) ?? part.sums;
    const width = own.length / part.n;
    // A chunk that two shards share is in both, with the same bits.
    sums.set(own.subarray(row * width, (row + 1) * width), part.firstChunk * ChunkSum.count);
  }
  return combined(sums, part.inverseTemperatures[row]);
}
