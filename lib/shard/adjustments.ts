/** Adjustments of the whole vocabulary's ids, by local indices: of the rows that a shard holds. */
import type { Adjustments, IdLists } from '../backend/backend';

/** @param base a multiple of 32 */
export function localAdjustments(
  { patches, biases, counted, allowed, allowedStride }: Adjustments,
  n: number,
  base: number,
  rows: number,
): Adjustments | undefined {
  if (!patches && !biases && !counted && !allowed) return undefined;
  const part = <T extends IdLists>(lists: T | undefined): T | undefined =>
    lists && { ...lists, ...localLists(lists, n, base, rows) };
  const local: Adjustments = {
    patches: part(patches),
    biases: part(biases),
    counted: part(counted),
    allowedStride: 0,
  };
  if (allowed) {
    const words = Math.ceil(rows / 32);
    const masks = allowedStride === 0 ? 1 : n;
    local.allowed = new Uint32Array(masks * words);
    local.allowedStride = allowedStride === 0 ? 0 : words;
    for (let i = 0; i < masks; i++) {
      const first = i * allowedStride + base / 32;
      local.allowed.set(allowed.subarray(first, first + words), i * words);
    }
  }
  return local;
}

/** Ids beyond the shard stay where they are, in no row's range, and become 0. */
function localLists({ ranges, ids }: IdLists, n: number, base: number, rows: number): IdLists {
  const local = new Uint32Array(2 * n);
  for (let i = 0; i < 2 * n; i += 2) {
    local[i] = lowerBound(ids, ranges[i], ranges[i + 1], base);
    local[i + 1] = lowerBound(ids, local[i], ranges[i + 1], base + rows);
  }
  return { ranges: local, ids: ids.map(id => (id >= base && id < base + rows ? id - base : 0)) };
}

/** The first index from `low` to `high` whose id is not below `id`. */
function lowerBound(ids: Uint32Array, low: number, high: number, id: number): number {
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ids[middle] < id) low = middle + 1;
    else high = middle;
  }
  return low;
}
