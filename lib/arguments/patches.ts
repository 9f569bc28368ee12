/** What single ids' logits of one row undergo, gathered before it becomes a table. */

import { PatchValue } from '../backend/backend';
import { placeAmong } from './ascending-ids';

/** By id: an `add`, a `penalty`, and something to `subtract`; see Patch in native/core/sampling/adjustments.h. */
export class Patches {
  /** Of a history, ascending, each once. As long histories are frequent, and other patches few, they go without a Map. */
  readonly #penalised: Uint32Array;
  /** Where the numbers of other ids are. */
  readonly #others = new Map<number, number>();
  #values: Float64Array;

  /**
   * @param tokens repetition and presence for each that occurs, frequency as often as it does
   */
  constructor(tokens: Uint32Array, repetition: number, frequency: number, presence: number) {
    const sorted =
      repetition === 1 && frequency === 0 && presence === 0 ? new Uint32Array(0) : tokens.slice().sort();
    this.#values = new Float64Array((sorted.length + 16) * PatchValue.count);
    let distinct = 0;
    for (let i = 0, next = 0; i < sorted.length; i = next) {
      while (next < sorted.length && sorted[next] === sorted[i]) next++;
      this.#values[distinct * PatchValue.count + PatchValue.penalty] = repetition;
      this.#values[distinct * PatchValue.count + PatchValue.subtract] = (next - i) * frequency + presence;
      sorted[distinct++] = sorted[i];
    }
    this.#penalised = sorted.subarray(0, distinct);
  }

  get size(): number {
    return this.#penalised.length + this.#others.size;
  }

  add(id: number, bias: number): void {
    const at = this.#at(id);
    this.#values[at + PatchValue.add] += bias;
  }

  subtract(id: number, penalty: number): void {
    const at = this.#at(id);
    this.#values[at + PatchValue.subtract] += penalty;
  }

  ban(ids: Iterable<number>): void {
    for (const id of ids) {
      const at = this.#at(id);
      this.#values[at + PatchValue.add] = -Infinity;
    }
  }

  /**
   * Writes the ids, ascending, and their numbers.
   * @param ids [size]
   * @param values [size, PatchValue.count]
   */
  write(ids: Uint32Array, values: Float64Array): void {
    ids.set(this.#penalised);
    if (this.#others.size === 0) {
      values.set(this.#values.subarray(0, values.length));
      return;
    }
    ids.set([...this.#others.keys()], this.#penalised.length);
    ids.sort();
    for (let i = 0; i < ids.length; i++) {
      const from = this.#at(ids[i]);
      values.set(this.#values.subarray(from, from + PatchValue.count), i * PatchValue.count);
    }
  }

  /**
   * Where an id's numbers begin, made where there are none. May replace #values, so it is called in a statement of its own:
   * `this.#values[this.#at(id)]` would read the field first and write to the array that was replaced.
   */
  #at(id: number): number {
    const place = placeAmong(this.#penalised, id);
    if (place >= 0) return place * PatchValue.count;
    const known = this.#others.get(id);
    if (known !== undefined) return known;
    const at = this.size * PatchValue.count;
    if (at === this.#values.length) {
      const larger = new Float64Array(2 * at);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#others.set(id, at);
    this.#values[at + PatchValue.penalty] = 1;
    return at;
  }
}
