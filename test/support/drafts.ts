/** Drafts, and heads that verify them against probabilities that a test gives. */
import { LMHead } from '../../lib';
import type { HeadOptions } from '../../lib/types';

/** A head whose logits are its hidden states, so that a test may say what p is. */
export function transparent(
  backend: 'native' | 'reference',
  size: number,
  options: Partial<HeadOptions> = {},
): LMHead {
  const identity = new Float32Array(size * size);
  for (let i = 0; i < size; i++) identity[i * size + i] = 1;
  return LMHead.from(identity, { vocabSize: size, hiddenSize: size, backend, ...options });
}

/** As it, but what stands in the row of `id` is no number. */
export function withNaN(backend: 'native' | 'reference', size: number, id: number): LMHead {
  const identity = new Float32Array(size * size);
  for (let i = 0; i < size; i++) identity[i * size + i] = i === id ? NaN : 1;
  return LMHead.from(identity, { vocabSize: size, hiddenSize: size, backend });
}

/** Logits of these probabilities; one that no temperature of these tests brings back stands for 0. */
export const logits = (p: readonly number[]) => p.map(x => (x === 0 ? -1e4 : Math.log(x)));
export const logProbs = (p: readonly number[]) => Float32Array.from(p, Math.log);

/** Draws from q with a generator of its own. */
export function draftFrom(q: readonly number[], uniform: number): number {
  let left = uniform;
  for (let id = 0; id < q.length; id++) {
    left -= q[id];
    if (left < 0 && q[id] > 0) return id;
  }
  return q.findLastIndex(x => x > 0);
}

export const normalized = (weights: readonly number[]) => {
  const sum = weights.reduce((a, b) => a + b);
  return weights.map(w => w / sum);
};
export const P = [0.4, 0.3, 0.15, 0.1, 0.05, 0];
