/** Sparse masks: what may be drawn is then a short list, whose mass is summed by itself. */
import type { Adjustments } from '../backend/backend';

/**
 * Whether a row's mask allows one id in sixteen at most: has_sparse_mask of native/core/sampling/adjustments.h.
 * @param valid ids from here on are padding, whatever masks say
 */
export function hasSparseMask(adjustments: Adjustments | undefined, row: number, valid: number): boolean {
  const count = allowedCount(adjustments, row, valid);
  return count !== undefined && count <= Math.floor(valid / 16);
}

/** How many ids a row's mask allows; undefined where there is none. */
export function allowedCount(
  adjustments: Adjustments | undefined,
  row: number,
  valid: number,
): number | undefined {
  if (!adjustments?.allowed) return undefined;
  const first = row * adjustments.allowedStride;
  let count = 0;
  for (let word = 0; word * 32 < valid; word++) {
    const rest = valid - word * 32;
    let bits = adjustments.allowed[first + word];
    if (rest < 32) bits &= 2 ** rest - 1;
    for (; bits !== 0; bits &= bits - 1) count++;
  }
  return count;
}
