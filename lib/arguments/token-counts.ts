/** How often tokens are among the latest of a history. */

import { newWords } from './arrays';
import { ascendingOrder, lowerBound } from './ascending-ids';

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
    let highest = 0;
    for (let i = 0; i < tokens.length; i++) if (tokens[i] > highest) highest = tokens[i];
    const { ids, totals, counts } =
      highest < 16 * tokens.length ? tally(tokens, prompt, highest) : tallySorted(tokens, prompt);
    this.#ids = ids;
    this.#totals = totals;
    this.#counts = counts;
    this.#size = ids.length;
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
    const index = lowerBound(this.#ids, id, 0, this.#size);
    return index < this.#size && this.#ids[index] === id ? this.#counts[index] : undefined;
  }

  /** @param counts whether it is behind the prompt */
  add(token: number, counts: boolean): void {
    this.changed?.add(token);
    const index = lowerBound(this.#ids, token, 0, this.#size);
    if (index === this.#size || this.#ids[index] !== token) this.#insert(index, token);
    this.#totals[index]++;
    if (counts) this.#counts[index]++;
  }

  /** One that is there leaves the window. */
  drop(token: number, counted: boolean): void {
    this.changed?.add(token);
    const index = lowerBound(this.#ids, token, 0, this.#size);
    if (counted) this.#counts[index]--;
    if (--this.#totals[index] > 0) return;
    for (const column of [this.#ids, this.#totals, this.#counts])
      column.copyWithin(index, index + 1, this.#size);
    this.#size--;
  }

  #insert(index: number, token: number): void {
    if (this.#size === this.#ids.length) {
      this.#ids = larger(this.#ids, 2 * this.#size);
      this.#totals = larger(this.#totals, 2 * this.#size);
      this.#counts = larger(this.#counts, 2 * this.#size);
    }
    for (const column of [this.#ids, this.#totals, this.#counts])
      column.copyWithin(index + 1, index, this.#size);
    this.#size++;
    this.#ids[index] = token;
    this.#totals[index] = this.#counts[index] = 0;
  }
}

interface Tally {
  ids: Uint32Array;
  totals: Uint32Array;
  counts: Uint32Array;
}

function newTally(size: number): Tally {
  const [ids, totals, counts] = [0, 1, 2].map(() => newWords(size, 'history'));
  return { ids, totals, counts };
}

/** By a number for each id that there might be. */
function tally(tokens: Uint32Array, prompt: number, highest: number): Tally {
  const ofAll = newWords(highest + 1, 'history');
  const ofPrompt = newWords(highest + 1, 'history');
  for (let i = 0; i < tokens.length; i++) ofAll[tokens[i]]++;
  for (let i = 0; i < Math.min(prompt, tokens.length); i++) ofPrompt[tokens[i]]++;
  let size = 0;
  for (let id = 0; id <= highest; id++) if (ofAll[id] > 0) size++;
  const tally = newTally(size);
  for (let id = 0, index = 0; id <= highest; id++) {
    if (ofAll[id] === 0) continue;
    tally.ids[index] = id;
    tally.totals[index] = ofAll[id];
    tally.counts[index++] = ofAll[id] - ofPrompt[id];
  }
  return tally;
}

/** By sorting them, where those that might be are many more. */
function tallySorted(tokens: Uint32Array, prompt: number): Tally {
  const order = ascendingOrder(tokens);
  let size = 0;
  for (let i = 0; i < order.length; i++) if (i === 0 || tokens[order[i]] !== tokens[order[i - 1]]) size++;
  const tally = newTally(size);
  for (let i = 0, index = -1; i < order.length; i++) {
    const token = tokens[order[i]];
    if (i === 0 || token !== tally.ids[index]) tally.ids[++index] = token;
    tally.totals[index]++;
    if (order[i] >= prompt) tally.counts[index]++;
  }
  return tally;
}

/** A copy with room for `count` words, and for some at least. */
export function larger(words: Uint32Array, count: number): Uint32Array {
  const grown = newWords(Math.max(16, count), 'history');
  grown.set(words);
  return grown;
}
