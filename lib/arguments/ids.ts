/** Token ids, as callers pass them, made a Uint32Array. */

import { IGNORED } from '../backend/backend';
import { LMHeadError } from '../errors';
import type { TensorLike } from '../types';
import { lengthOf, memoryOf, newWords, requireMemory } from './arrays';
import { localIndex } from './ascending-ids';
import { arrayType, got, gotShape } from './describe';
import { arrayOfDims, partsOfTensor } from './hidden';
import { isArray, reading } from './reading';
import { notPerRow, perRow } from './row-lists';

/** Types of a tensor's ids, each with the array that its data is in. */
const TENSOR_ARRAYS = {
  int64: BigInt64Array,
  uint64: BigUint64Array,
  int32: Int32Array,
  uint32: Uint32Array,
};
type TensorType = keyof typeof TENSOR_ARRAYS;
const TENSOR_TYPES = Object.keys(TENSOR_ARRAYS) as TensorType[];
const arrayName = (type: TensorType) => TENSOR_ARRAYS[type].name;

/** As many as messages show. */
const MOST_DIMS = 8;

/** A tensor of ids, checked. */
interface IdTensor {
  /** A view of its own on the tensor's data. */
  data: InstanceType<(typeof TENSOR_ARRAYS)[TensorType]>;
  dims: number[];
}

/** A list of ids that may be there once for all rows, or once for each: in an array, or in a tensor of [n, length]. */
export function idRows(value: unknown, name: string, n: number): ReturnType<typeof perRow> {
  if (!reading(name, () => isTensor(value))) return perRow(value, name, n);
  const { data, dims } = reading(name, () => tensorOf(value as TensorLike, name));
  const count = dims.slice(0, -1).reduce((product, dim) => product * dim, 1);
  if (count === 1) return perRow(data, name, n);
  if (count !== n) throw notPerRow(name, count, n);
  const length = data.length / count;
  return {
    each: true,
    value: row => data.subarray(row * length, (row + 1) * length),
    name: row => `${name}[${row}]`,
  };
}

/** How many ids a list holds; refuses what is no list. */
export function idCount(ids: unknown, name: string): number {
  return reading(name, () => listOf(ids, name).count);
}

/**
 * A fresh Uint32Array of `count` ids, each below `bound`.
 * @param ignoring there if some may be left out: ids equal to its `ignoreIndex` become IGNORED, whatever their range
 */
export function tokenIds(
  ids: unknown,
  name: string,
  count: number,
  bound: number,
  ignoring?: Ignoring,
): Uint32Array {
  return reading(name, () => readIds(ids, name, count, bound, ignoring));
}

interface Ignoring {
  ignoreIndex: number | undefined;
}

/** All ids of a list, each below `bound`; a fresh Uint32Array. */
export function allIds(ids: unknown, name: string, bound: number): Uint32Array {
  return tokenIds(ids, name, idCount(ids, name), bound);
}

function readIds(
  ids: unknown,
  name: string,
  count: number,
  bound: number,
  ignoring: Ignoring | undefined,
): Uint32Array {
  const ignoreIndex = ignoring?.ignoreIndex;
  const { list, isTyped } = listOf(ids, name);
  // What is no typed array may have a length without what belongs to it, so that room is made for what was read.
  let result = newWords(isTyped ? count : Math.min(count, FIRST_ROOM), name);
  for (let i = 0; i < count; i++) {
    const item = list[i];
    const id = typeof item === 'bigint' ? Number(item) : item;
    if (typeof id !== 'number') {
      throw new LMHeadError('ARGUMENT', `${name}[${i}]: got ${got(item)}; want an id below ${bound}`);
    }
    if (i === result.length) {
      const larger = newWords(Math.min(count, 2 * i), name);
      larger.set(result);
      result = larger;
    }
    if (id === ignoreIndex) {
      result[i] = IGNORED;
    } else if (id >= 0 && id < bound && Number.isInteger(id)) {
      result[i] = id;
    } else {
      // Losses elsewhere leave out −100 without being told.
      const left = ignoring && id < 0 ? ', or ignoreIndex with that value to leave it out' : '';
      throw new LMHeadError('RANGE', `${name}[${i}]: got ${got(item)}; want an id below ${bound}${left}`);
    }
  }
  return result;
}

const FIRST_ROOM = 4096;

/** What holds the ids: a typed array, that of a tensor, or anything with a length. */
function listOf(ids: unknown, name: string): { list: ArrayLike<unknown>; count: number; isTyped: boolean } {
  if (arrayType(ids)) {
    const list = ids as Uint32Array;
    requireMemory(list, name);
    return { list, count: lengthOf(list), isTyped: true };
  }
  if (isTensor(ids)) {
    const { data } = tensorOf(ids, name);
    return { list: data, count: data.length, isTyped: true };
  }
  if (typeof ids === 'object' && ids !== null) {
    const list = ids as ArrayLike<unknown>;
    const { length: count } = list;
    if (typeof count === 'number' && Number.isInteger(count) && count >= 0 && count < 2 ** 32) {
      return { list, count, isTyped: false };
    }
  }
  throw new LMHeadError(
    'ARGUMENT',
    `${name}: got ${got(ids)}; want an array of token ids, or a tensor {data, type, dims} of them`,
  );
}

/** Something with data that is no list itself. */
function isTensor(value: unknown): value is TensorLike {
  return (
    typeof value === 'object' &&
    value !== null &&
    !isArray(value) &&
    !ArrayBuffer.isView(value) &&
    'data' in value &&
    !('length' in value)
  );
}

function tensorOf(tensor: TensorLike, name: string): IdTensor {
  const { array, type, dims } = partsOfTensor(tensor, name);
  const given = arrayType(array);
  const known = TENSOR_TYPES.find(each => (type === undefined ? arrayName(each) === given : each === type));
  if (known === undefined && type === undefined) {
    throw new LMHeadError(
      given === undefined ? 'ARGUMENT' : 'DTYPE',
      `${name}.data: got ${got(array)}; want ids in a BigInt64Array, Int32Array or Uint32Array`,
    );
  }
  if (known === undefined) {
    throw new LMHeadError(
      typeof type === 'string' ? 'DTYPE' : 'ARGUMENT',
      `${name}.type: got ${got(type)}; want 'int64', 'int32' or 'uint32' for ids`,
    );
  }
  if (given !== arrayName(known)) {
    throw new LMHeadError(
      given === undefined ? 'ARGUMENT' : 'DTYPE',
      `${name}.data: got ${got(array)}; want ${arrayName(known)}, as ${name}.type says`,
    );
  }
  requireMemory(array as Uint32Array, `${name}.data`);
  const { buffer, byteOffset, length } = memoryOf(array as Uint32Array);
  return {
    data: new TENSOR_ARRAYS[known](buffer as ArrayBuffer, byteOffset, length),
    dims: dimsOf(dims, length, name),
  };
}

/** Dimensions of so many elements. */
function dimsOf(dims: unknown, length: number, name: string): number[] {
  const list = arrayOfDims(dims, name);
  const sizes: number[] = [];
  let product = 1;
  const count = Math.min(list.length, MOST_DIMS + 1);
  for (let i = 0; i < count; i++) {
    const size = list[i];
    const isSize = typeof size === 'number' && Number.isInteger(size) && size >= 0;
    product = isSize ? product * size : NaN;
    sizes.push(size as number);
  }
  if (product === length && count <= MOST_DIMS) return sizes;
  throw new LMHeadError('SHAPE', `${name}.dims: got ${gotShape(list)}; want the dimensions of ${length} ids`);
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
    throw new LMHeadError(kind, `ignoreIndex: got ${got(ignoreIndex)}; want an integer`);
  }
  const count = idCount(targets, 'targets');
  if (count !== n) {
    throw new LMHeadError('SHAPE', `targets: got ${count} ids; want ${n}, one per hidden state`);
  }
  const ids = tokenIds(targets, 'targets', n, bound, { ignoreIndex: ignoreIndex as number | undefined });
  const stray = among ? ids.findIndex(id => id !== IGNORED && localIndex(among, id) < 0) : -1;
  if (stray >= 0) {
    throw new LMHeadError('RANGE', `targets[${stray}]: got ${ids[stray]}; want one of the ids in rows`);
  }
  return ids;
}
