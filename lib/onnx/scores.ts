/** Scores of the parts of a text, made one. */
import { asJson } from '../pass/as-json';
import type { Score } from '../types';

export function joinedScores(parts: readonly Score[]): Score {
  if (parts.length === 1) return parts[0];
  const length = parts.reduce((sum, { logProbs }) => sum + logProbs.length, 0);
  const joined: Score = {
    logProbs: new Float32Array(length),
    ranks: new Uint32Array(length),
    count: 0,
    nllSum: 0,
    nll: 0,
    perplexity: 0,
  };
  if (parts[0].entropy) joined.entropy = new Float32Array(length);
  let at = 0;
  for (const { logProbs, ranks, entropy, count, nllSum } of parts) {
    joined.logProbs.set(logProbs, at);
    joined.ranks.set(ranks, at);
    if (entropy) joined.entropy!.set(entropy, at);
    joined.count += count;
    joined.nllSum += nllSum;
    at += logProbs.length;
  }
  joined.nll = joined.count === 0 ? Number.NaN : joined.nllSum / joined.count;
  joined.perplexity = Math.exp(joined.nll);
  return asJson(joined);
}
