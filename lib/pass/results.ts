/** What a pass has left, as callers get it. */
import { type DrawnSample, IGNORED, type PassJob } from '../backend/backend';
import type { Score, ShardPart, TopK, TopKOf } from '../types';
import { asJson } from './as-json';
import { ARGMAX, LOG_PROBS, LOGITS, SAMPLE, SCORE, TOP } from './asked';

/** What `run` returns. */
export function answer(asked: number, job: PassJob): object {
  const result: Record<string, unknown> = {};
  if (asked & LOGITS) result.logits = job.logits;
  if (asked & LOG_PROBS) result.logProbs = job.logProbs;
  if (asked & ARGMAX) result.argmax = job.argmax;
  if (asked & TOP) result.top = topOf(job);
  if (asked & SAMPLE) result.sample = sampleOf(job);
  if (asked & SCORE) result.score = scoreOf(job);
  if (job.logSumExp) result.logSumExp = job.logSumExp;
  return asJson(result);
}

export function topOf(job: PassJob): TopKOf<{ withLogProbs?: boolean }> {
  const { n, logSumExp } = job;
  const { k, ids, logits, logProbs } = job.top!;
  if (!logProbs) return asJson({ n, k, ids, logits });
  const top: TopK = { n, k, ids, logits, logProbs, logSumExp: logSumExp! };
  return asJson(marked(top, job));
}

export function scoreOf(job: Pick<PassJob, 'n' | 'score' | 'shard'>): Score {
  const { targets, logProbs, ranks, entropy } = job.score!;
  let count = 0;
  let sum = 0;
  for (let i = 0; i < targets.length; i++) {
    if (targets[i] === IGNORED) continue;
    count++;
    sum -= logProbs[i];
  }
  const nll = count === 0 ? Number.NaN : sum / count;
  const score: Score = { logProbs, ranks, count, nllSum: sum, nll, perplexity: Math.exp(nll) };
  if (entropy) score.entropy = entropy;
  return asJson(marked(score, job));
}

export function sampleOf(job: PassJob): DrawnSample {
  return marked(job.sample!, job);
}

/** With what a shard's results are merged by. */
function marked<T extends { shard?: ShardPart }>(result: T, { shard }: Pick<PassJob, 'shard'>): T {
  if (shard) result.shard = shard;
  return result;
}
