/** The only ids that may be drawn, as lists of ids or as masks of bits, made the masks that a pass takes. */
import type { Adjustments } from '../backend/backend';
import { LMHeadError } from '../errors';
import type { SampleOptions } from '../types';
import { memoryOf, newWords, requireMemory } from './arrays';
import { arrayType, got } from './describe';
import { allIds, idRows } from './ids';
import { perRow } from './row-lists';

/** Which options these are. */
type AllowedOptions = Pick<SampleOptions, 'allowedIds' | 'allowedMask'>;

/**
 * The masks of allowedIds or allowedMask, one for all rows or one for each.
 * @param vocabulary V
 * @param valid ids from here on are padding
 */
export function maskTable(
  { allowedIds, allowedMask }: AllowedOptions,
  n: number,
  vocabulary: number,
  valid: number,
): Pick<Adjustments, 'allowed' | 'allowedStride'> {
  if (allowedIds === undefined && allowedMask === undefined) return { allowedStride: 0 };
  if (allowedIds !== undefined && allowedMask !== undefined) {
    throw new LMHeadError('RANGE', 'allowedMask: got a mask beside allowedIds; want one of the two');
  }
  const lists = allowedIds !== undefined;
  const given = lists ? idRows(allowedIds, 'allowedIds', n) : perRow(allowedMask, 'allowedMask', n);
  const words = wordsFor(vocabulary);
  const count = given.each ? n : 1;
  const allowed = newWords(count * words, lists ? 'allowedIds' : 'allowedMask');
  for (let row = 0; row < count; row++) {
    const mask = allowed.subarray(row * words, (row + 1) * words);
    if (lists) allowIds(mask, given.value(row), given.name(row), valid);
    else allowBits(mask, given.value(row), given.name(row), vocabulary, valid);
  }
  return { allowed, allowedStride: given.each ? words : 0 };
}

export function wordsFor(ids: number): number {
  return Math.ceil(ids / 32);
}

function allowIds(mask: Uint32Array, ids: unknown, name: string, valid: number): void {
  for (const id of allIds(ids, name, valid)) mask[id >>> 5] |= 1 << (id & 31);
}

/** Writes the words of a mask that a caller has given. */
function allowBits(mask: Uint32Array, given: unknown, name: string, vocabulary: number, valid: number): void {
  const type = arrayType(given);
  const [most, least] = [mask.length, wordsFor(valid)];
  const count = most === least ? most : `${least} or ${most}`;
  const ids = most === least ? vocabulary : `${valid} or ${vocabulary}`;
  const wanted = `a Uint32Array or Int32Array of ${count} words, a bit for each of ${ids} ids`;
  if (type !== 'Uint32Array' && type !== 'Int32Array') {
    const hint =
      type === undefined
        ? 'one per row goes in an array of them'
        : 'bytes that hold such words: new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)';
    throw new LMHeadError(
      type === undefined ? 'ARGUMENT' : 'DTYPE',
      `${name}: got ${got(given)}; want ${wanted} (${hint}; ids go in allowedIds)`,
    );
  }
  const array = given as Uint32Array | Int32Array;
  requireMemory(array, name);
  const { buffer, byteOffset, length } = memoryOf(array);
  if (length !== most && length !== least) {
    throw new LMHeadError(
      'SHAPE',
      `${name}: got ${length} words for ${length * 32} ids; want ${wanted} (ids go in allowedIds)`,
    );
  }
  // A view of its own: memory that grows cannot lengthen it.
  mask.set(new Uint32Array(buffer as ArrayBuffer, byteOffset, length));
}
