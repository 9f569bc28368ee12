/** Lists of ids in ascending order. */
import { newWords } from './arrays';

/** The index of an id among ascending ones; -1 where it is none of them. */
export function localIndex(ids: Uint32Array, id: number): number {
  const index = lowerBound(ids, id);
  return ids[index] === id ? index : -1;
}

/** The index of the first of [low, high), which ascend, that is not below an id; high where all are. */
export function lowerBound(ids: Uint32Array, id: number, low = 0, high = ids.length): number {
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ids[middle] < id) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * The indices of a list in ascending order of its ids; equal ids by index. Digit by digit: a comparing sort takes
 * ten times as long for a hundred thousand.
 */
export function ascendingOrder(ids: Uint32Array): Uint32Array {
  const n = ids.length;
  let order = newWords(n, 'ids');
  let highest = 0;
  let isAscending = true;
  for (let i = 0; i < n; i++) {
    order[i] = i;
    if (i > 0 && ids[i] < ids[i - 1]) isAscending = false;
    if (ids[i] > highest) highest = ids[i];
  }
  if (isAscending) return order;
  const bits = n < 2048 ? 8 : 11;
  const mask = (1 << bits) - 1;
  const indices = new Uint32Array(mask + 1); // how many have the digit, and then where the next of them goes
  let sorted = newWords(n, 'ids');
  for (let shift = 0; shift < 32 && highest >>> shift > 0; shift += bits) {
    indices.fill(0);
    for (let i = 0; i < n; i++) indices[(ids[i] >>> shift) & mask]++;
    for (let digit = 0, index = 0; digit <= mask; digit++) {
      const count = indices[digit];
      indices[digit] = index;
      index += count;
    }
    for (let i = 0; i < n; i++) sorted[indices[(ids[order[i]] >>> shift) & mask]++] = order[i];
    [order, sorted] = [sorted, order];
  }
  return order;
}
