/** Which rows of E a shard of the vocabulary has. */
import { readOptions, SHARD_OPTIONS } from '../arguments/option-names';
import { integerBetween } from '../arguments/values';
import { CHUNK_ROWS, type HeadSpec } from '../backend/backend';
import { LMHeadError } from '../errors';
import type { ShardOptions } from '../types';

/**
 * A shard's ids are from `begin` to before `end`. What it holds are the whole chunks that these lie in: sums over the vocabulary go
 * by chunks, and only a whole one's sum can be joined with others to the bits of all.
 */
export interface ShardRange {
  index: number;
  count: number;
  begin: number;
  end: number;
  /** The first row that is held, a chunk's first. */
  base: number;
  /** How many are held. */
  rows: number;
  /** Of these, how many are no padding: one at least. */
  valid: number;
  /** V, and how many of it are no padding. */
  vocabSize: number;
  validVocabSize: number;
}

export function shardRange(given: ShardOptions, vocabSize: number, validVocabSize: number): ShardRange {
  const own = readOptions(given, SHARD_OPTIONS, 'shard');
  const count = integerBetween(own.count, 'shard.count', 1, vocabSize);
  const index = integerBetween(own.index, 'shard.index', 0, count - 1);
  const edge = (i: number) => Number((BigInt(vocabSize) * BigInt(i)) / BigInt(count));
  const [begin, end] = [edge(index), edge(index + 1)];
  // Of a shard of padding alone, the last chunk that is none is held: backends want rows.
  const base = Math.floor(Math.min(begin, validVocabSize - 1) / CHUNK_ROWS) * CHUNK_ROWS;
  const rows = Math.min(Math.ceil(end / CHUNK_ROWS) * CHUNK_ROWS, vocabSize) - base;
  const valid = Math.min(validVocabSize - base, rows);
  return { index, count, begin, end, base, rows, valid, vocabSize, validVocabSize };
}

/** Rows of the input embedding that go with the shard's ids; the last shard has those that are beyond V. */
export function inputRange({ index, count, begin, end }: ShardRange, inputRows: number) {
  const last = index === count - 1 ? inputRows : Math.min(end, inputRows);
  return { first: begin, count: Math.max(0, last - begin) };
}

/** The spec of a head over what the shard holds. */
export function specOfShard(spec: HeadSpec, range: ShardRange): HeadSpec {
  const { output, input, ...rest } = spec;
  return { ...heldBy({ ...rest, inputRows: rest.inputRows ?? rest.vocabSize }, range), output, input };
}

/** The same without matrices. */
export function heldBy(
  spec: Omit<HeadSpec, 'output' | 'input'>,
  range: ShardRange,
): Omit<HeadSpec, 'output' | 'input'> {
  const { base, rows, valid } = range;
  const { bias } = spec.epilogue;
  return {
    ...spec,
    vocabSize: rows,
    inputRows: inputRange(range, spec.inputRows ?? spec.vocabSize).count,
    epilogue: { ...spec.epilogue, bias: bias?.slice(base, base + rows), validVocabSize: valid },
  };
}

/** What a shard cannot do. */
export function refuseShard(what: string, wanted: string): LMHeadError {
  return new LMHeadError('RANGE', `${what}: got a head of a shard of the vocabulary; want ${wanted}`);
}
