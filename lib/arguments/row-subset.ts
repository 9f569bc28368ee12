/** The option `rows`: which rows of E a call is about. */
import type { PassJob, PassView } from '../backend/backend';
import { LMHeadError } from '../errors';
import type { CallOptions } from '../types';
import { newFloats, newWords } from './arrays';
import { idCount, tokenIds } from './ids';
import { oneOf } from './values';

/** Backends take ids in ascending order; the caller's is restored in results. */
export interface RowSubset extends PassView {
  /** The local index among `rows` of each id that the caller gave; absent where these ascend already. */
  indices?: Uint32Array;
}

/**
 * @param valid ids are below it
 * @returns undefined: all rows
 */
export function rowSubset({ rows, over }: CallOptions, valid: number): RowSubset | undefined {
  if (rows === undefined) return undefined;
  const overVocabulary = oneOf(over, 'over', ['rows', 'vocabulary']) === 'vocabulary';
  const count = idCount(rows, 'rows');
  if (count === 0) throw new LMHeadError('RANGE', 'rows: got no ids; want at least one');
  const given = tokenIds(rows, 'rows', count, valid);
  const { ids, indices } = ascending(given);
  for (let i = 1; i < count; i++) {
    if (ids[i] === ids[i - 1]) {
      throw new LMHeadError('RANGE', `rows: got ${ids[i]} more than once; want every id once`);
    }
  }
  return { rows: ids, overVocabulary, indices };
}

function ascending(given: Uint32Array): { ids: Uint32Array; indices?: Uint32Array } {
  if (given.every((id, i) => i === 0 || given[i - 1] <= id)) return { ids: given };
  const order = newWords(given.length, 'rows').map((_, i) => i);
  order.sort((a, b) => given[a] - given[b]);
  const indices = newWords(given.length, 'rows');
  order.forEach((from, index) => {
    indices[from] = index;
  });
  return { ids: order.map(from => given[from]), indices };
}

/** Puts a job's results of [n, rows.length] into the order that the caller gave. */
export function restoreOrder({ n, logits, logProbs, probs }: PassJob, { rows, indices }: RowSubset): void {
  if (!indices) return;
  const width = rows.length;
  const row = new Float32Array(width);
  for (const array of [logits, logProbs, probs]) {
    if (!array) continue;
    for (let first = 0; first < n * width; first += width) {
      row.set(array.subarray(first, first + width));
      for (let j = 0; j < width; j++) array[first + j] = row[indices[j]];
    }
  }
}

/** The other way: values [n, rows.length] as the caller gave them, in the order of backends. */
export function toAscending(given: Float32Array, indices: Uint32Array): Float32Array {
  const width = indices.length;
  const ascending = newFloats(given.length, 'rows');
  for (let first = 0; first < given.length; first += width)
    for (let j = 0; j < width; j++) ascending[first + indices[j]] = given[first + j];
  return ascending;
}
