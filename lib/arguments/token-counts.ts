/** How often tokens are among the latest of a history. */

import { newWords } from './arrays';
import { ascendingOrder, placeFrom } from './ascending-ids';

/** The tokens of a window, ascending and each once, and how often each is there. Follows the window as it slides on. */
export class TokenCounts {
  #ids: Uint32Array;
  /** In the window. */
  #totals: Uint32Array;
  /** Of those, after the prompt. */
  #counts: Uint32Array;
  #size = 0;
  /** Ids whose counts have changed, where someone has asked to be told. */
  changed: Set<number> | undefined;

  /**
   * @param tokens the window
   * @param prompt so many of them are not counted
   */
  constructor(tokens: Uint32Array, prompt: number) {
    const order = ascendingOrder(tokens);
    let distinct = 0;
    for (let i = 0; i < order.length; i++) {
      if (i === 0 || tokens[order[i]] !== tokens[order[i - 1]]) distinct++;
    }
    this.#ids = newWords(distinct, 'history');
    this.#totals = newWords(distinct, 'history');
    this.#counts = newWords(distinct, 'history');
    for (let i = 0, place = -1; i < order.length; i++) {
      const token = tokens[order[i]];
      if (i === 0 || token !== this.#ids[place]) this.#ids[++place] = token;
      this.#totals[place]++;
      if (order[i] >= prompt) this.#counts[place]++;
    }
    this.#size = distinct;
  }

  get ids(): Uint32Array {
    return this.#ids.subarray(0, this.#size);
  }

  /** Of `ids`; 0 for those that the prompt alone has. */
  get counts(): Uint32Array {
    return this.#counts.subarray(0, this.#size);
  }

  /** Of an id; undefined where it is not in the window. */
  countOf(id: number): number | undefined {
    const place = placeFrom(this.#ids, id, 0, this.#size);
    return place < this.#size && this.#ids[place] === id ? this.#counts[place] : undefined;
  }

  /** @param counts whether it is behind the prompt */
  add(token: number, counts: boolean): void {
    this.changed?.add(token);
    const place = placeFrom(this.#ids, token, 0, this.#size);
    if (place === this.#size || this.#ids[place] !== token) this.#insert(place, token);
    this.#totals[place]++;
    if (counts) this.#counts[place]++;
  }

  /** One that is there leaves the window. */
  drop(token: number, counted: boolean): void {
    this.changed?.add(token);
    const place = placeFrom(this.#ids, token, 0, this.#size);
    if (counted) this.#counts[place]--;
    if (--this.#totals[place] > 0) return;
    for (const column of [this.#ids, this.#totals, this.#counts])
      column.copyWithin(place, place + 1, this.#size);
    this.#size--;
  }

  #insert(place: number, token: number): void {
    if (this.#size === this.#ids.length) {
      this.#ids = larger(this.#ids, 2 * this.#size);
      this.#totals = larger(this.#totals, 2 * this.#size);
      this.#counts = larger(this.#counts, 2 * this.#size);
    }
    for (const column of [this.#ids, this.#totals, this.#counts])
      column.copyWithin(place + 1, place, this.#size);
    this.#size++;
    this.#ids[place] = token;
    this.#totals[place] = this.#counts[place] = 0;
  }
}

/** A copy with room for `count` words, and for some at least. */
export function larger(words: Uint32Array, count: number): Uint32Array {
  const grown = newWords(Math.max(16, count), 'history');
  grown.set(words);
  return grown;
}
