/** Which token is better than which: the higher logit; of equal ones, the lower id. */

/** So many ids fit into a double beside the 32 bits of a logit. */
const PACKED_IDS = 2 ** 21;

/** The valid ids, best first. The row has no NaN. */
export function bestFirst(u: Float32Array, valid: number): number[] {
  if (valid > PACKED_IDS)
    return Array.from({ length: valid }, (_, id) => id).sort((a, b) => u[b] - u[a] || a - b);
  // Doubles that hold both are sorted many times as fast as ids by a function that compares.
  const bits = new Uint32Array(u.slice(0, valid).buffer);
  const keys = new Float64Array(valid);
  for (let id = 0; id < valid; id++) {
    const word = bits[id] === 0x80000000 ? 0 : bits[id]; // −0 equals 0
    keys[id] = (word < 0x80000000 ? 0x7fffffff - word : word) * PACKED_IDS + id;
  }
  return Array.from(keys.sort(), key => key - Math.floor(key / PACKED_IDS) * PACKED_IDS);
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
