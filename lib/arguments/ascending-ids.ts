/** Lists of ids in ascending order. */
import { newWords } from './arrays';

/** Where an id stands among ascending ones; -1 where it is none of them. */
export function placeAmong(ids: Uint32Array, id: number): number {
  const place = placeFrom(ids, id);
  return ids[place] === id ? place : -1;
}

/** Where an id stands or would stand among those of [low, high), which ascend: at the first that is not below it. */
export function placeFrom(ids: Uint32Array, id: number, low = 0, high = ids.length): number {
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ids[middle] < id) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * The places of a list in ascending order of what is there; equal ids in that of their places. Digit by digit: a comparing sort takes
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
  const places = new Uint32Array(mask + 1); // how many have the digit, and then where the next of them goes
  let sorted = newWords(n, 'ids');
  for (let shift = 0; shift < 32 && highest >>> shift > 0; shift += bits) {
    places.fill(0);
    for (let i = 0; i < n; i++) places[(ids[i] >>> shift) & mask]++;
    for (let digit = 0, place = 0; digit <= mask; digit++) {
      const count = places[digit];
      places[digit] = place;
      place += count;
    }
    for (let i = 0; i < n; i++) sorted[places[(ids[order[i]] >>> shift) & mask]++] = order[i];
    [order, sorted] = [sorted, order];
  }
  return order;
}
