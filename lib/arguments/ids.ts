/** Token ids, as callers pass them, made a Uint32Array. */

import { IGNORED } from '../backend/backend';
import { LMHeadError } from '../errors';
import { newWords, requireMemory } from './arrays';
import { placeAmong } from './ascending-ids';
import { arrayType, got } from './describe';

/** How many ids a list holds; refuses what is no list. */
export function idCount(ids: unknown, name: string): number {
  if (typeof ids === 'object' && ids !== null) {
    const { length } = ids as ArrayLike<unknown>;
    if (typeof length === 'number' && Number.isInteger(length) && length >= 0 && length < 2 ** 32) {
      if (arrayType(ids)) requireMemory(ids as Uint32Array, name);
      return length;
    }
  }
  throw new LMHeadError('ARGUMENT', `${name}: got ${got(ids)}; want an array of token ids`);
}

/**
 * A fresh Uint32Array of `count` ids, each below `bound`.
 * @param ignoreIndex ids equal to it become IGNORED, whatever their range
 */
export function tokenIds(
  ids: unknown,
  name: string,
  count: number,
  bound: number,
  ignoreIndex?: number,
): Uint32Array {
  const list = ids as ArrayLike<unknown>;
  const result = newWords(count, name);
  for (let i = 0; i < count; i++) {
    const item = list[i];
    const id = typeof item === 'bigint' ? Number(item) : item;
    if (typeof id !== 'number') {
      throw new LMHeadError('ARGUMENT', `${name}[${i}]: got ${got(item)}; want an id below ${bound}`);
    }
    if (id === ignoreIndex) {
      result[i] = IGNORED;
    } else if (id >= 0 && id < bound && Number.isInteger(id)) {
      result[i] = id;
    } else {
      throw new LMHeadError('RANGE', `${name}[${i}]: got ${got(item)}; want an id below ${bound}`);
    }
  }
  return result;
}

/**
 * Targets, one per row.
 * @param among ascending ids that they must be among; absent: those below `bound`
 */
export function targetIds(
  targets: unknown,
  n: number,
  bound: number,
  ignoreIndex: unknown,
  among?: Uint32Array,
): Uint32Array {
  if (ignoreIndex !== undefined && !Number.isSafeInteger(ignoreIndex)) {
    const kind = typeof ignoreIndex === 'number' ? 'RANGE' : 'ARGUMENT';
    throw new LMHeadError(kind, `ignoreIndex: got ${got(ignoreIndex)}; want a whole number`);
  }
  const count = idCount(targets, 'targets');
  if (count !== n) {
    throw new LMHeadError('SHAPE', `targets: got ${count} ids; want ${n}, one per hidden state`);
  }
  const ids = tokenIds(targets, 'targets', n, bound, ignoreIndex as number | undefined);
  const stray = among ? ids.findIndex(id => id !== IGNORED && placeAmong(among, id) < 0) : -1;
  if (stray >= 0) {
    throw new LMHeadError('RANGE', `targets[${stray}]: got ${ids[stray]}; want one of the ids in rows`);
  }
  return ids;
}
