/** What biases, penalties and exclusions make of a row of logits, before a token is drawn from it. */
import { type Adjustments, PatchValue } from '../backend/backend';

/**
 * A row's logits, adjusted: a copy, or `u` itself where nothing is to be done.
 * @param u [V], or those of the ids `rows`
 */
export function adjustedRow(
  u: Float32Array,
  row: number,
  adjustments: Adjustments | undefined,
  rows?: Uint32Array,
): Float32Array {
  if (!adjustments) return u;
  const { ranges, ids, values, allowed, allowedStride } = adjustments;
  const adjusted = u.slice();
  if (ranges) {
    for (let i = ranges[2 * row]; i < ranges[2 * row + 1]; i++) {
      const at = i * PatchValue.count;
      const place = rows ? rows.indexOf(ids![i]) : ids![i];
      if (place < 0) continue;
      const add = values![at + PatchValue.add];
      const penalty = values![at + PatchValue.penalty];
      const x = u[place] + add;
      const penalised = x > 0 ? x / penalty : x * penalty;
      adjusted[place] = add === -Infinity ? -Infinity : penalised - values![at + PatchValue.subtract];
    }
  }
  if (allowed) {
    const first = row * allowedStride;
    adjusted.forEach((_, place) => {
      const id = rows ? rows[place] : place;
      if (((allowed[first + (id >>> 5)] >>> (id & 31)) & 1) === 0) adjusted[place] = -Infinity;
    });
  }
  return adjusted;
}
