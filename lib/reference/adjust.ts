/** What biases, penalties and exclusions make of a row of logits, before a token is drawn from it. */
import { type Adjustments, type IdLists, PatchValue, Penalty } from '../backend/backend';

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
  const { patches, biases, counted, allowed, allowedStride } = adjustments;
  const adjusted = u.slice();
  /** By id: what is added, what it is divided or multiplied by, what is subtracted. */
  const changes = new Map<number, [add: number, penalty: number, subtract: number]>();
  eachOf(biases, row, (id, i) => changes.set(id, [biases!.values[i], 1, 0]));
  eachOf(counted, row, (id, i) => {
    const penalty = (column: number) => counted!.penalties[row * Penalty.count + column];
    const count = counted!.counts[i];
    const subtract = count > 0 ? count * penalty(Penalty.frequency) + penalty(Penalty.presence) : 0;
    changes.set(id, [changes.get(id)?.[0] ?? 0, penalty(Penalty.repetition), subtract]);
  });
  eachOf(patches, row, (id, i) => {
    const value = (column: number) => patches!.values[i * PatchValue.count + column];
    changes.set(id, [value(PatchValue.add), value(PatchValue.penalty), value(PatchValue.subtract)]);
  });
  const indices = rows && new Map(Array.from(rows, (id, index) => [id, index]));
  for (const [id, [add, penalty, subtract]] of changes) {
    const index = indices ? indices.get(id) : id;
    if (index === undefined) continue;
    const x = u[index] + add;
    const penalized = x > 0 ? x / penalty : x * penalty;
    adjusted[index] = add === -Infinity ? -Infinity : penalized - subtract;
  }
  if (allowed) {
    const first = row * allowedStride;
    adjusted.forEach((_, index) => {
      const id = rows ? rows[index] : index;
      if (((allowed[first + (id >>> 5)] >>> (id & 31)) & 1) === 0) adjusted[index] = -Infinity;
    });
  }
  return adjusted;
}

/** Goes through a row's ids. */
function eachOf(lists: IdLists | undefined, row: number, visit: (id: number, i: number) => void): void {
  if (!lists) return;
  for (let i = lists.ranges[2 * row]; i < lists.ranges[2 * row + 1]; i++) visit(lists.ids[i], i);
}
