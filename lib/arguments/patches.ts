/** What is said of single ids, row by row, before it becomes tables. */
import { type IdLists, PatchValue } from '../backend/backend';
import { newWords, outOfMemory } from './arrays';
import { ascendingOrder } from './ascending-ids';

/** Ids, ascending and each once, and so many values for each. */
export interface IdList<T extends Uint32Array | Float64Array = Float64Array> {
  ids: Uint32Array;
  values: T;
}

/** What is added to the logits of ids, in the order in which it is said. */
export class Biases {
  readonly #ids: Uint32Array[] = [];
  readonly #adds: (Float64Array | number)[] = [];

  /** @param adds of each, or of all; -Infinity bans */
  add(ids: Uint32Array, adds: Float64Array | number): void {
    this.#ids.push(ids);
    this.#adds.push(adds);
  }

  /** What is said of an id more than once is added up. */
  list(): IdList {
    const count = this.#ids.reduce((sum, ids) => sum + ids.length, 0);
    const all = newWords(count, 'logitBias');
    const adds = newDoubles(count, 'logitBias');
    let at = 0;
    this.#ids.forEach((ids, i) => {
      const its = this.#adds[i];
      all.set(ids, at);
      if (typeof its === 'number') adds.fill(its, at, at + ids.length);
      else adds.set(its, at);
      at += ids.length;
    });
    const order = ascendingOrder(all);
    const ids = newWords(count, 'logitBias');
    const values = newDoubles(count, 'logitBias');
    let distinct = 0;
    for (let i = 0; i < count; i++) {
      if (i === 0 || all[order[i]] !== ids[distinct - 1]) ids[distinct++] = all[order[i]];
      values[distinct - 1] = bothBiases(values[distinct - 1], adds[order[i]]);
    }
    return { ids: ids.subarray(0, distinct), values: values.subarray(0, distinct) };
  }
}

/** Of one id; what is banned by either stays so, whatever the other is. */
export function bothBiases(a: number, b: number): number {
  return a === -Infinity || b === -Infinity ? -Infinity : a + b;
}

/** What ids of a row undergo instead of what is said of them elsewhere. */
export class Patches {
  readonly #ids: number[] = [];
  readonly #values: number[] = [];

  /** The last word on an id counts, unless it is banned. */
  set(id: number, add: number, penalty: number, subtract: number): void {
    this.#ids.push(id);
    this.#values.push(add, penalty, subtract);
  }

  ban(ids: Iterable<number>): void {
    for (const id of ids) this.set(id, -Infinity, 1, 0);
  }

  list(): IdList {
    const all = Uint32Array.from(this.#ids);
    const ids = newWords(all.length, 'history');
    const values = newDoubles(all.length * PatchValue.count, 'history');
    let distinct = 0;
    let at = 0;
    for (const from of ascendingOrder(all)) {
      if (distinct === 0 || all[from] !== ids[distinct - 1]) {
        at = distinct * PatchValue.count;
        ids[distinct++] = all[from];
      }
      if (values[at + PatchValue.add] === -Infinity) continue;
      for (let i = 0; i < PatchValue.count; i++) values[at + i] = this.#values[from * PatchValue.count + i];
    }
    return { ids: ids.subarray(0, distinct), values: values.subarray(0, distinct * PatchValue.count) };
  }
}

/** The lists of n rows, some of which may share one. */
export class RowLists<T extends Uint32Array | Float64Array> {
  readonly #n: number;
  readonly #ranges: Uint32Array;
  readonly #allocate: (count: number) => T;
  readonly #lists: IdList<T>[] = [];
  #count = 0;

  /**
   * Rows that are given no list have none; where n is 0 there may be one nevertheless, which serves none.
   * @param allocate so many values; an id has as many as the lists have for each
   */
  constructor(n: number, allocate: (count: number) => T) {
    this.#n = n;
    this.#ranges = newWords(2 * Math.max(n, 1), 'history');
    this.#allocate = allocate;
  }

  add(row: number, list: IdList<T>): void {
    this.#ranges.set([this.#count, this.#count + list.ids.length], 2 * row);
    this.#count += list.ids.length;
    if (list.ids.length > 0) this.#lists.push(list);
  }

  /** A row has the list of another. */
  share(row: number, other: number): void {
    this.#ranges.copyWithin(2 * row, 2 * other, 2 * other + 2);
  }

  /** All rows have that of the first. */
  shareFirst(): void {
    for (let row = 1; row < this.#n; row++) this.share(row, 0);
  }

  /** All of them, where there are any. A single one is not copied. */
  tables(): (IdLists & { values: T }) | undefined {
    const [first, ...rest] = this.#lists;
    if (!first) return undefined;
    if (rest.length === 0) return { ranges: this.#ranges, ids: first.ids, values: first.values };
    const width = first.values.length / first.ids.length;
    const ids = newWords(this.#count, 'history');
    const values = this.#allocate(this.#count * width);
    let at = 0;
    for (const list of this.#lists) {
      ids.set(list.ids, at);
      values.set(list.values, at * width);
      at += list.ids.length;
    }
    return { ranges: this.#ranges, ids, values };
  }
}

export function newDoubles(count: number, name: string): Float64Array {
  try {
    return new Float64Array(count);
  } catch (cause) {
    throw outOfMemory(count, name, cause);
  }
}
