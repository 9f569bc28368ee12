/** The options of a sampler, read once and for all of its tokens: what a caller does to a list later changes nothing. */
import { LMHeadError } from '../errors';
import type { LogitsHook } from '../pass/logits-hook';
import { topCount } from '../pass/sample-result';
import type { CallOptions, LogProbsOption, SamplerOptions } from '../types';
import { got } from './describe';
import { breakersOf } from './history';
import { allIds, idRows } from './ids';
import { tellsLogProbs } from './log-probs';
import { MIROSTAT_OPTIONS, readOptions, SAMPLER_OPTIONS } from './option-names';
import { type OwnIds, ownIds } from './own-ids';
import { reading } from './reading';
import { drawnSeed } from './row-parameters';
import { sequencesOf } from './sequences';
import { integerBetween, numberBetween } from './values';

const SEEDS = 1n << 64n;

export interface SamplerSettings {
  /** As its draws take them. */
  options: SamplerOptions & LogProbsOption;
  ids: OwnIds;
  history: Uint32Array;
  mirostat: { tau: number; eta: number } | undefined;
  hook: LogitsHook | undefined;
  seed: bigint;
}

export function samplerSettings(
  given: SamplerOptions & LogProbsOption,
  vocabulary: number,
  valid: number,
): SamplerSettings {
  const options = readOptions(given, SAMPLER_OPTIONS);
  const { logits, promptLength, seed } = options;
  if (logits !== undefined && typeof logits !== 'function') {
    throw new LMHeadError('ARGUMENT', `logits: got ${got(logits)}; want a function`);
  }
  if (logits) requireNoRows(options);
  const ids = ownIds(options, vocabulary, valid);
  const dryBreakers = reading('dryBreakers', () => breakersOf(options.dryBreakers, valid));
  const sequences = reading('bannedSequences, biasedSequences', () =>
    sequencesOf(options.bannedSequences, options.biasedSequences, valid),
  );
  if (promptLength !== undefined) integerBetween(promptLength, 'promptLength', 0, Number.MAX_SAFE_INTEGER);
  const history =
    options.history === undefined ? new Uint32Array(0) : idList(options.history, 'history', valid);
  topCount(options);
  tellsLogProbs({ ...options, logits: undefined });
  return {
    options: {
      ...options,
      ...ids,
      dryBreakers: dryBreakers as SamplerOptions['dryBreakers'],
      bannedSequences: sequences as SamplerOptions['bannedSequences'],
      biasedSequences: undefined,
    },
    ids,
    history,
    mirostat: mirostatOf(options.mirostat),
    hook: logits,
    seed: seed === undefined ? drawnSeed() : seedOf(seed),
  };
}

function mirostatOf(value: SamplerOptions['mirostat']): SamplerSettings['mirostat'] {
  if (value === undefined) return undefined;
  const { tau = 5, eta = 0.1 } = readOptions(value, MIROSTAT_OPTIONS, 'mirostat');
  return {
    tau: numberBetween(tau, 'mirostat.tau', 0, Number.MAX_VALUE),
    eta: numberBetween(eta, 'mirostat.eta', 0, Number.MAX_VALUE),
  };
}

export function requireNoRows({ rows }: CallOptions): void {
  if (rows === undefined) return;
  throw new LMHeadError('RANGE', 'logits: got a function beside rows; want it for the whole vocabulary');
}

export function idList(ids: unknown, name: string, bound: number): Uint32Array {
  const list = idRows(ids, name, 1);
  return allIds(list.value(0), list.name(0), bound);
}

export function seedOf(seed: unknown): bigint {
  const whole = typeof seed === 'bigint' || (typeof seed === 'number' && Number.isSafeInteger(seed));
  if (whole && BigInt(seed as number) >= 0n && BigInt(seed as number) < SEEDS) return BigInt(seed as number);
  throw new LMHeadError(
    typeof seed === 'number' || typeof seed === 'bigint' ? 'RANGE' : 'ARGUMENT',
    `seed: got ${got(seed)}; want an integer from 0 to 2^53 - 1, or a bigint below 2^64`,
  );
}
