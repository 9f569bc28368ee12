/** What the tokens so far say of the next one. docs/sampling.md has the sources. */
import { newWords } from './arrays';
import { ascendingOrder } from './ascending-ids';
import type { Breakers } from './breakers';
import { larger, TokenCounts } from './token-counts';

/** Tokens that would extend a sequence which has occurred. */
export interface Extensions {
  /** Ascending, each once. */
  ids: Uint32Array;
  /** How many tokens of the longest such sequence are there already; at least 1. */
  lengths: Uint32Array;
}

/** As many tokens at once are gone through one by one; more, and all are gone through at once. */
const FEW = 3;
/** The same where the indices of tokens are linked, which pays after so many of them. */
const MANY = 32;

/**
 * The tokens so far. What is asked of them once is kept, and follows as tokens come: what is asked again costs in proportion to those
 * tokens, and to how often the last of them has occurred.
 */
export class TokenHistory {
  #tokens: Uint32Array;
  #length: number;
  readonly #counts = new Map<string, { window: number; prompt: number; counts: TokenCounts }>();
  /** At every index of the last token (but the last): how many tokens up to there are those at the end. */
  #matches: Uint32Array = new Uint32Array(0);
  /** How many tokens there were when `#matches` was true. */
  #matched = 0;
  /** At each index: one more than the index before it that has the same token; 0 where there is none. */
  #earlier: Uint32Array = new Uint32Array(0);
  /** By token: one more than its last index. Both are of the first #linked tokens. */
  readonly #latest = new Map<number, number>();
  #linked = 0;
  #scans = 0;
  #breaks: Breaks | undefined;
  /** What was found since the last token came, by what was looked for. */
  readonly #found = new Map<string, Extensions>();

  /** @param tokens oldest first; becomes its own */
  constructor(tokens: Uint32Array) {
    this.#tokens = tokens;
    this.#length = tokens.length;
  }

  get length(): number {
    return this.#length;
  }

  /** A copy. */
  toArray(): Uint32Array {
    return this.#tokens.slice(0, this.#length);
  }

  /** The latest; undefined where there is none. */
  last(): number | undefined {
    return this.#length === 0 ? undefined : this.#tokens[this.#length - 1];
  }

  endsWith(tokens: Uint32Array): boolean {
    const first = this.#length - tokens.length;
    return first >= 0 && tokens.every((token, i) => this.#tokens[first + i] === token);
  }

  push(token: number): void {
    if (this.#length === this.#tokens.length) this.#tokens = larger(this.#tokens, 2 * this.#length);
    const at = this.#length++;
    this.#tokens[at] = token;
    this.#found.clear();
    for (const { window, prompt, counts } of this.#counts.values()) {
      counts.add(token, at >= prompt);
      const left = at - window;
      if (left >= 0) counts.drop(this.#tokens[left], left >= prompt);
    }
  }

  /**
   * The tokens of a window, and how often each is in it.
   * @param window so many of the latest
   * @param prompt so many of the first are there, but not counted
   */
  counts(window: number, prompt: number): TokenCounts {
    const key = `${window} ${prompt}`;
    const known = this.#counts.get(key);
    if (known) return known.counts;
    const first = Math.max(this.#length - window, 0);
    const counts = new TokenCounts(this.#tokens.subarray(first, this.#length), Math.max(prompt - first, 0));
    this.#counts.set(key, { window, prompt, counts });
    return counts;
  }

  /** Each token that there is, ascending. */
  distinct(): Uint32Array {
    return this.counts(Number.POSITIVE_INFINITY, 0).ids;
  }

  /** Tokens that have come after the sequences with which the history ends. */
  extensions(): Extensions {
    return this.#extensions(0, this.#length);
  }

  /**
   * As `extensions`, of the latest tokens alone.
   * @param window so many of them
   * @param breakers a sequence that is to be extended reaches back to the last of them, and not across it
   */
  recentExtensions(window: number, breakers: Breakers | undefined): Extensions {
    const first = Math.max(this.#length - window, 0);
    let last = first;
    if (breakers) {
      if (this.#breaks?.breakers !== breakers) this.#breaks = new Breaks(breakers, first);
      last = this.#breaks.lastEnd(this.#tokens, this.#length, first);
    }
    return this.#extensions(first, this.#length - last);
  }

  /** @param longest lengths are at most this */
  #extensions(first: number, longest: number): Extensions {
    const key = `${first} ${longest}`;
    let extensions = this.#found.get(key);
    if (!extensions) {
      extensions = this.#findExtensions(first, longest);
      this.#found.set(key, extensions);
    }
    return extensions;
  }

  #findExtensions(first: number, longest: number): Extensions {
    const nexts: number[] = [];
    const lengths: number[] = [];
    if (longest > 0 && this.#length > first + 1) {
      this.#match();
      const tokens = this.#tokens;
      const matches = this.#matches;
      const last = this.#length - 1;
      const links = this.#linked === this.#length ? this.#earlier : undefined;
      for (let k = links ? links[last] - 1 : last - 1; k >= first; k = links ? links[k] - 1 : k - 1) {
        if (tokens[k] !== tokens[last]) continue; // what #matches has there was true of an earlier end
        const length = Math.min(matches[k], k - first + 1, longest);
        // A token that comes again and again is there once.
        const top = nexts.length - 1;
        if (top >= 0 && nexts[top] === tokens[k + 1]) {
          lengths[top] = Math.max(lengths[top], length);
        } else {
          nexts.push(tokens[k + 1]);
          lengths.push(length);
        }
      }
    }
    return longestOfEach(Uint32Array.from(nexts), lengths);
  }

  /** Makes #matches true. */
  #match(): void {
    const missing = this.#length - this.#matched;
    if (missing === 0) return;
    if (this.#matched > 0 && missing <= (this.#linked === this.#matched ? MANY : FEW)) {
      while (this.#matched < this.#length) this.#matchNext();
    } else {
      this.#matchAll();
    }
  }

  /** After the next token: what was there before it, at indices of the last token then, goes on where its indices are. */
  #matchNext(): void {
    if (this.#matches.length < this.#length) this.#matches = larger(this.#matches, this.#tokens.length);
    const tokens = this.#tokens;
    const matches = this.#matches;
    const at = this.#matched++;
    const token = tokens[at];
    const before = tokens[at - 1];
    // From the back, as what is read lies before what is written.
    if (this.#linked !== at && this.#scans++ < MANY) {
      for (let k = at - 1; k >= 0; k--)
        if (tokens[k] === token) matches[k] = k > 0 && tokens[k - 1] === before ? matches[k - 1] + 1 : 1;
      return;
    }
    this.#link(at);
    for (let k = (this.#latest.get(token) ?? 0) - 1; k >= 0; k = this.#earlier[k] - 1)
      matches[k] = k > 0 && tokens[k - 1] === before ? matches[k - 1] + 1 : 1;
    this.#link(at + 1);
  }

  /** Links the indices of the first `count` tokens. */
  #link(count: number): void {
    const tokens = this.#tokens;
    if (this.#earlier.length < count) this.#earlier = larger(this.#earlier, tokens.length);
    const earlier = this.#earlier;
    if (this.#linked === 0) {
      const order = ascendingOrder(tokens.subarray(0, count));
      for (let i = 0; i < count; i++) {
        const at = order[i];
        earlier[at] = i > 0 && tokens[order[i - 1]] === tokens[at] ? order[i - 1] + 1 : 0;
        if (i + 1 === count || tokens[order[i + 1]] !== tokens[at]) this.#latest.set(tokens[at], at + 1);
      }
      this.#linked = count;
    }
    for (; this.#linked < count; this.#linked++) {
      const token = tokens[this.#linked];
      earlier[this.#linked] = this.#latest.get(token) ?? 0;
      this.#latest.set(token, this.#linked + 1);
    }
  }

  /** The Z function of the tokens from the back. (Gusfield, "Algorithms on Strings, Trees and Sequences", §1.3.) */
  #matchAll(): void {
    const tokens = this.#tokens;
    const last = this.#length - 1;
    if (this.#matches.length < this.#length) this.#matches = newWords(tokens.length, 'history');
    const matches = this.#matches;
    let begin = 0; // of the match that reaches furthest, and its end; both from the back
    let end = 0;
    for (let k = 1; k <= last; k++) {
      let length = k < end ? Math.min(matches[last - (k - begin)], end - k) : 0;
      while (k + length <= last && tokens[last - length] === tokens[last - k - length]) length++;
      matches[last - k] = length;
      if (k + length > end) {
        begin = k;
        end = k + length;
      }
    }
    this.#matched = this.#length;
  }
}

/** Where breakers end in a history, from an index on. */
class Breaks {
  readonly breakers: Breakers;
  /** The ends of those that are there, and how long the shortest is that ends so. */
  readonly #ends: number[] = [];
  readonly #lengths: number[] = [];
  #state = 0;
  #read: number;

  constructor(breakers: Breakers, first: number) {
    this.breakers = breakers;
    this.#read = first;
  }

  /** Where the last one ends that begins at `first` or later; `first` if there is none. */
  lastEnd(tokens: Uint32Array, length: number, first: number): number {
    const { breakers } = this;
    let state = this.#state;
    for (let i = this.#read; i < length; i++) {
      state = breakers.next(state, tokens[i]);
      const ending = breakers.endingAt(state);
      if (ending === 0) continue;
      this.#ends.push(i + 1);
      this.#lengths.push(ending);
    }
    this.#state = state;
    this.#read = length;
    for (let i = this.#ends.length - 1; i >= 0 && this.#ends[i] > first; i--)
      if (this.#ends[i] - this.#lengths[i] >= first) return this.#ends[i];
    return first;
  }
}

/** Each id once, with the largest of its values. */
function longestOfEach(ids: Uint32Array, lengths: readonly number[]): Extensions {
  const order = ascendingOrder(ids);
  const extensions = { ids: new Uint32Array(ids.length), lengths: new Uint32Array(ids.length) };
  let count = 0;
  for (const i of order) {
    if (count === 0 || extensions.ids[count - 1] !== ids[i]) extensions.ids[count++] = ids[i];
    extensions.lengths[count - 1] = Math.max(extensions.lengths[count - 1], lengths[i]);
  }
  return { ids: extensions.ids.subarray(0, count), lengths: extensions.lengths.subarray(0, count) };
}

/** The largest float32, and its logarithm as llama.cpp has it. */
const LARGEST_FLOAT = (2 - 2 ** -23) * 2 ** 127;
const LOG_LARGEST_FLOAT = Math.fround(88.7228391);

/** What DRY takes from the logit of a token that would extend a sequence by `exponent` tokens more than are allowed. */
export function dryPenalty(multiplier: number, base: number, exponent: number): number {
  return Math.min(multiplier * base ** Math.min(exponent, largestExponent(base)), LARGEST_FLOAT);
}

/** From where on powers would not be finite. In float32 and with its exceptions, as llama.cpp has it (src/llama-sampler.cpp). */
function largestExponent(base: number): number {
  const single = Math.fround(base);
  if (single <= Math.fround(1.000001)) return Number.POSITIVE_INFINITY;
  const largest = Math.trunc(Math.fround(LOG_LARGEST_FLOAT / Math.fround(Math.log(single))));
  return largest > 0 ? largest : Number.POSITIVE_INFINITY;
}
