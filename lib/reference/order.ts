/** Which token is better than which: the higher logit; of equal ones, the lower id. */

/** The valid ids, best first. The row has no NaN. */
export function bestFirst(u: Float32Array, valid: number): number[] {
  return Array.from({ length: valid }, (_, id) => id).sort((a, b) => u[b] - u[a] || a - b);
}

/** The best id. The row has no NaN. */
export function bestId(u: Float32Array, valid: number): number {
  let best = 0;
  for (let id = 1; id < valid; id++) {
    if (u[id] > u[best]) best = id;
  }
  return best;
}

/** The rank, from 1, of `target` and its logit; the target may lie before or behind them all. The row has no NaN. */
export function rankOf(u: Float32Array, valid: number, target: number, logit: number): number {
  let rank = 1;
  for (let id = 0; id < valid; id++) {
    if (u[id] > logit || (u[id] === logit && id < target)) rank++;
  }
  return rank;
}
