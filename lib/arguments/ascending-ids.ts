/** Lists of ids in ascending order. */

/** Where an id stands among ascending ones; -1 where it is none of them. */
export function placeAmong(ids: Uint32Array, id: number): number {
  let low = 0;
  let high = ids.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ids[middle] < id) low = middle + 1;
    else high = middle;
  }
  return ids[low] === id ? low : -1;
}
