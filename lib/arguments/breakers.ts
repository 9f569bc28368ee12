/** Sequences of tokens that no repetition reaches across, and where in a text they end. */

import { newWords } from './arrays';
import { lowerBound } from './ascending-ids';

/**
 * Finds all sequences in one go through the text, whatever their number and length, by an automaton of their beginnings. (Aho,
 * Corasick, "Efficient string matching", 1975.) Its states are numbers; 0 is that before the text.
 */
export class Breakers {
  /** Of the beginning that a state is: its last token. */
  readonly #token: Uint32Array;
  /** Those with one token more are [#first[state], #first[state + 1]), in ascending order of it. */
  readonly #first: Uint32Array;
  /** The longest end of it that is a beginning, too. */
  readonly #shorter: Uint32Array;
  /** How long the shortest sequence is that ends with it; 0 where none does. */
  readonly #ending: Uint32Array;
  /** Bit token % 65536 is set where a sequence begins with a token: most begin none. */
  readonly #begins = new Uint32Array(2048);

  /** @param sequences of at least one token each */
  constructor(sequences: readonly Uint32Array[]) {
    const sorted = [...sequences].sort(compare);
    const most = sorted.reduce((sum, sequence) => sum + sequence.length, 1);
    const [token, first, shorter, ending, begin, end, depth] = Array.from({ length: 7 }, () =>
      newWords(most + 1, 'dryBreakers'),
    );
    this.#token = token;
    this.#first = first;
    this.#shorter = shorter;
    this.#ending = ending;
    for (const [token] of sequences) this.#begins[(token & 0xffff) >>> 5] |= 1 << (token & 31);
    // Shorter beginnings come first, so what is asked of them is known.
    end[0] = sorted.length;
    let count = 1;
    for (let state = 0; state < count; state++) {
      const length = depth[state];
      let i = begin[state];
      while (i < end[state] && sorted[i].length === length) i++;
      const isWhole = i > begin[state];
      ending[state] = ending[shorter[state]] || (isWhole ? length : 0);
      first[state] = count;
      while (i < end[state]) {
        const next = sorted[i][length];
        const child = count++;
        token[child] = next;
        depth[child] = length + 1;
        begin[child] = i;
        while (i < end[state] && sorted[i][length] === next) i++;
        end[child] = i;
        shorter[child] = state === 0 ? 0 : this.next(shorter[state], next);
      }
      first[state + 1] = count;
    }
  }

  /** The state after another token. */
  next(state: number, token: number): number {
    for (let from = state; from > 0; from = this.#shorter[from]) {
      const child = this.#child(from, token);
      if (child > 0) return child;
    }
    return (this.#begins[(token & 0xffff) >>> 5] >>> (token & 31)) & 1 ? this.#child(0, token) : 0;
  }

  /** How long the shortest sequence is that ends where the automaton is; 0 where none does. */
  endingAt(state: number): number {
    return this.#ending[state];
  }

  /** Is this token a sequence by itself? */
  has(token: number): boolean {
    return this.#ending[this.#child(0, token)] === 1;
  }

  #child(state: number, token: number): number {
    const end = this.#first[state + 1];
    const index = lowerBound(this.#token, token, this.#first[state], end);
    return index < end && this.#token[index] === token ? index : 0;
  }
}

function compare(a: Uint32Array, b: Uint32Array): number {
  const both = Math.min(a.length, b.length);
  for (let i = 0; i < both; i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}
