/** Which tokens a row may draw from: top-k, then top-p, then min-p, each on what the one before has left. */
import { expNegative } from './exact-math';
import { bestFirst } from './order';

export interface Filters {
  /** Keep this many; 0 keeps all. */
  topK: number;
  /** Keep the likeliest up to the one at which their mass reaches this share; 1 keeps all. */
  topP: number;
  /** Keep logits of at least the maximum plus this: p ≥ minP·max p. −Infinity keeps all. */
  logMinP: number;
}

/**
 * What the filters leave, best first; at least one. They work on the distribution at temperature 1, which the temperature
 * divides afterwards (llama.cpp's default order).
 * @param u a row whose largest logit is finite; tokens of logit −Infinity are never among the candidates
 */
export function candidatesOfRow(u: Float32Array, valid: number, { topK, topP, logMinP }: Filters): number[] {
  let ids = bestFirst(u, valid).filter(id => u[id] !== -Infinity);
  if (topK > 0) ids = ids.slice(0, topK);
  if (topP < 1) ids = ids.slice(0, topPCount(u, ids, topP));
  const max = u[ids[0]];
  return ids.filter(id => u[id] >= max + logMinP);
}

/**
 * How many of `ids`, best first, make up the share `topP` of their mass, the one included at which it is reached.
 *
 * A mass is a whole number, ⌊e^(u−max)·2^52⌋, and so a sum of them has the same bits in any order of addition. That the
 * share is reached a little early, by one part in 2^22, makes `topP` = 0.3 of three equal tokens' mass (or 0.9 of ten) keep as
 * many of them as the arithmetic on paper does, though the numbers here are rounded.
 */
function topPCount(u: Float32Array, ids: number[], topP: number): number {
  const max = u[ids[0]];
  const total = new Mass();
  for (const id of ids) total.add(u[id] - max);
  const wanted = topP * total.value * (1 - 2 ** -22);
  const kept = new Mass();
  for (let i = 0; i < ids.length; i++) {
    kept.add(u[ids[i]] - max);
    if (kept.value >= wanted) return i + 1;
  }
  return ids.length;
}

/** A sum of whole numbers below 2^53, exact for up to 2^27 of them. */
class Mass {
  #low = 0;
  #high = 0;

  /** @param x u − max */
  add(x: number): void {
    const whole = Math.floor(expNegative(x) * 2 ** 52);
    const high = Math.floor(whole / 2 ** 26);
    this.#high += high;
    this.#low += whole - high * 2 ** 26;
  }

  get value(): number {
    return this.#high * 2 ** 26 + this.#low;
  }
}
