/** What a head of a shard of the vocabulary takes: what can be merged. */
import { LMHeadError } from '../errors';
import { CANDIDATES, DRAFT, SAMPLE } from '../pass/asked';
import type { LogProbsOption, RunRequest } from '../types';
import { refuseShard, type ShardRange } from './range';

const WHOLE = 'the whole head';

/** @throws LMHeadError RANGE for what needs the whole vocabulary, ARGUMENT for a draw that other shards could not repeat */
export function requireMergeable(asked: number, options: (RunRequest & LogProbsOption) | undefined): void {
  if (asked & CANDIDATES) throw refuseShard('candidates', WHOLE);
  if (asked & DRAFT) throw refuseShard('verifyDraft', WHOLE);
  for (const name of ['rows', 'topLogProbs'] as const) {
    if (options?.[name] !== undefined) throw refuseShard(name, `${WHOLE}, or no ${name}`);
  }
  // Parts are made one by what these are made of.
  if (options?.withLogProbs === false) throw refuseShard('withLogProbs', `${WHOLE}, or withLogProbs: true`);
  if (asked & SAMPLE && options?.seed === undefined && options?.temperature !== 0) {
    throw new LMHeadError(
      'ARGUMENT',
      'seed: got none for a shard of the vocabulary; want one, the same for all shards',
    );
  }
}

/** @throws LMHeadError RANGE for an id of another shard */
export function requireOwn({ begin, end }: ShardRange, idOrVector: unknown): void {
  if (typeof idOrVector !== 'number' && typeof idOrVector !== 'bigint') return;
  if (idOrVector >= begin && idOrVector < end) return;
  throw new LMHeadError(
    'RANGE',
    `idOrVector: got ${idOrVector}; want one of the shard's ids, from ${begin} to ${end - 1}, or a vector`,
  );
}
