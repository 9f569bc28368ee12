/** Results that are to be merged: whether they are all shards of one vocabulary, and of one call. */
import { arrayType, got } from '../arguments/describe';
import { isArray, reading } from '../arguments/reading';
import { CHUNK_ROWS, ChunkSum } from '../backend/backend';
import { LMHeadError } from '../errors';
import type { ShardPart } from '../types';

export interface Marked<T> {
  part: ShardPart;
  result: T;
}

/**
 * By their index.
 * @param method that gives such results
 * @param sameOf what has to be the same of all; undefined where a result is not of that method
 */
export function ordered<T extends { shard?: ShardPart }>(
  shards: readonly T[],
  method: string,
  sameOf: (part: ShardPart) => number | ArrayLike<number> | undefined,
): Marked<T>[] {
  if (!isArray(shards) || shards.length === 0) {
    throw new LMHeadError('ARGUMENT', `shards: got ${got(shards)}; want an array of results of ${method}`);
  }
  const results = reading('shards', () =>
    Array.from({ length: shards.length }, (_, i): Marked<T> => {
      const result = shards[i];
      const part = result?.shard;
      if (!isPart(part) || sameOf(part) === undefined) {
        throw new LMHeadError(
          'ARGUMENT',
          `shards[${i}]: got ${got(result)}; want what ${method} of a head of a shard gave, passed on as it was`,
        );
      }
      return { part, result };
    }),
  );
  const [{ part: one }] = results;
  const ordered: Marked<T>[] = [];
  results.forEach((each, i) => {
    const { index, count, vocabSize, validVocabSize, n } = each.part;
    if (count !== one.count || vocabSize !== one.vocabSize || validVocabSize !== one.validVocabSize) {
      throw new LMHeadError(
        'ARGUMENT',
        `shards[${i}]: got one of ${count} shards of ${vocabSize} ids; want one of ${one.count} of ${one.vocabSize}, as the first is`,
      );
    }
    if (ordered[index]) {
      throw new LMHeadError('ARGUMENT', `shards[${i}]: got shard ${index} again; want each once`);
    }
    if (
      n !== one.n ||
      !isSame(sameOf(each.part)!, sameOf(one)!) ||
      !isSame(each.part.inverseTemperatures, one.inverseTemperatures)
    ) {
      throw new LMHeadError(
        'SHAPE',
        `shards[${i}]: got a result of another call than the first's; want the same hidden states, options and seed for all`,
      );
    }
    ordered[index] = each;
  });
  if (results.length === one.count) return ordered;
  const missing = Array.from({ length: one.count }, (_, i) => i).filter(i => !ordered[i]);
  throw new LMHeadError(
    'ARGUMENT',
    `shards: got ${results.length} of ${one.count}, without ${missing.slice(0, 8).join(', ')}; want all of them`,
  );
}

function isSame(a: number | ArrayLike<number>, b: number | ArrayLike<number>): boolean {
  if (typeof a === 'number' || typeof b === 'number') return a === b;
  return a.length === b.length && Array.prototype.every.call(a, (x, i) => Object.is(x, b[i]));
}

/** What `shard` of a result is, also where it came from another process. */
function isPart(part: unknown): part is ShardPart {
  if (typeof part !== 'object' || part === null) return false;
  const { index, count, vocabSize, validVocabSize, n, firstChunk, sums, inverseTemperatures } =
    part as ShardPart;
  const whole = [index, count, vocabSize, validVocabSize, n, firstChunk];
  if (!whole.every(x => Number.isSafeInteger(x) && x >= 0) || index >= count) return false;
  if (arrayType(sums) !== 'Float64Array' || arrayType(inverseTemperatures) !== 'Float64Array') return false;
  const chunks = Math.ceil(validVocabSize / CHUNK_ROWS);
  const own = n === 0 ? 0 : sums.length / n / ChunkSum.count;
  return Number.isInteger(own) && firstChunk + own <= chunks && inverseTemperatures.length === n;
}
