/** Sequences of tokens whose last one is banned, or biased, where the others have come: bannedSequences and biasedSequences. */
import { LMHeadError } from '../errors';
import { got } from './describe';
import { allIds } from './ids';
import { bothBiases } from './patches';
import type { TokenHistory } from './penalties';
import { isArray, reading } from './reading';
import { numberBetween } from './values';

interface Sequence {
  /** All but the last. */
  before: Uint32Array;
  last: number;
  /** -Infinity bans. */
  bias: number;
}

/** They are found by the token before the last, so that a step costs what has to do with the token that came before it. */
export class Sequences {
  /** Those of one token. */
  readonly #single: Sequence[] = [];
  readonly #byToken = new Map<number, Sequence[]>();

  add(ids: Uint32Array, bias: number): void {
    const before = ids.slice(0, -1);
    const sequence = { before, last: ids[ids.length - 1], bias };
    const previous = before.at(-1);
    if (previous === undefined) {
      this.#single.push(sequence);
      return;
    }
    const others = this.#byToken.get(previous);
    if (others) others.push(sequence);
    else this.#byToken.set(previous, [sequence]);
  }

  /** What the next token's logits get, by id; of an id that completes several, the sum. */
  after(history: TokenHistory): Map<number, number> {
    const biases = new Map<number, number>();
    const previous = history.last();
    const longer = (previous !== undefined && this.#byToken.get(previous)) || [];
    for (const { before, last, bias } of [...this.#single, ...longer]) {
      if (history.endsWith(before)) biases.set(last, bothBiases(biases.get(last) ?? 0, bias));
    }
    return biases;
  }
}

/**
 * Both options, read; undefined where neither is given.
 * @param read by a sampler already
 */
export function sequencesOf(banned: unknown, biased: unknown, valid: number): Sequences | undefined {
  if (banned instanceof Sequences) return banned;
  if (banned === undefined && biased === undefined) return undefined;
  const sequences = new Sequences();
  for (const [name, ids] of items(banned, 'bannedSequences', 'an array of arrays of ids')) {
    sequences.add(sequenceIds(ids, name, valid), -Infinity);
  }
  for (const [name, item] of items(biased, 'biasedSequences', 'an array of {ids, bias}')) {
    if (typeof item !== 'object' || item === null) {
      throw new LMHeadError('ARGUMENT', `${name}: got ${got(item)}; want {ids, bias}`);
    }
    const { ids, bias } = reading(name, () => {
      const { ids, bias } = item as { ids?: unknown; bias?: unknown };
      return { ids, bias };
    });
    const read = sequenceIds(ids, `${name}.ids`, valid);
    const value =
      bias === -Infinity ? bias : numberBetween(bias, `${name}.bias`, -Number.MAX_VALUE, Number.MAX_VALUE);
    sequences.add(read, value);
  }
  return sequences;
}

function* items(value: unknown, name: string, wanted: string): Generator<[name: string, item: unknown]> {
  if (value === undefined) return;
  if (!isArray(value)) throw new LMHeadError('ARGUMENT', `${name}: got ${got(value)}; want ${wanted}`);
  const length = reading(name, () => value.length);
  for (let i = 0; i < length; i++) yield [`${name}[${i}]`, reading(name, () => value[i] as unknown)];
}

/** The ids of a sequence, which has some. */
export function sequenceIds(value: unknown, name: string, valid: number): Uint32Array {
  const ids = allIds(value, name, valid);
  if (ids.length === 0) throw new LMHeadError('RANGE', `${name}: got no ids; want at least one`);
  return ids;
}
