/** Biases and exclusions, as callers pass them, made the tables that a pass takes. */
import { type Adjustments, PatchValue } from '../backend/backend';
import { LMHeadError } from '../errors';
import type { SampleOptions } from '../types';
import { maskTable } from './allowed';
import { newWords } from './arrays';
import { got } from './describe';
import { idCount, idRows, tokenIds } from './ids';
import { readBiases } from './logit-bias';
import { Patches } from './patches';
import { repeatedNgramEnds, repeatLengths } from './penalties';
import { perRow } from './row-lists';
import { isPerRow } from './row-parameters';
import { numberBetween, wholeNumber } from './values';

/** Options that make patches. */
const PATCHING = [
  'logitBias',
  'bannedIds',
  'history',
  'minLength',
  'endIds',
  'repetitionPenalty',
  'frequencyPenalty',
  'presencePenalty',
  'penaltyWindow',
  'dryMultiplier',
  'dryBase',
  'dryAllowedLength',
  'dryWindow',
  'dryBreakers',
  'noRepeatNgram',
  'length',
] as const;

/**
 * What the options say about single ids; undefined where they say nothing.
 * @param vocabulary V, that of masks
 * @param valid ids from here on are padding
 */
export function adjustmentsOf(
  options: SampleOptions | undefined,
  n: number,
  vocabulary: number,
  valid: number,
): Adjustments | undefined {
  if (options === undefined) return undefined;
  const patches = PATCHING.some(name => options[name] !== undefined);
  if (!patches && options.allowedIds === undefined && options.allowedMask === undefined) return undefined;
  return {
    ...(patches ? patchTables(rowPatches(options, n, valid), n) : undefined),
    ...maskTable(options, n, vocabulary, valid),
  };
}

/** Patches of every row, or of one that stands for all. */
function rowPatches(options: SampleOptions, n: number, valid: number): Patches[] {
  const biases = perRow(options.logitBias, 'logitBias', n);
  const bans = idRows(options.bannedIds, 'bannedIds', n);
  const histories = idRows(options.history, 'history', n);
  const repetition = perRowNumber(options.repetitionPenalty, 'repetitionPenalty', n, 1, penaltyFactor);
  const frequency = perRowNumber(options.frequencyPenalty, 'frequencyPenalty', n, 0, finite);
  const presence = perRowNumber(options.presencePenalty, 'presencePenalty', n, 0, finite);
  const multiplier = perRowNumber(options.dryMultiplier, 'dryMultiplier', n, 0, notNegative);
  const base = perRowNumber(options.dryBase, 'dryBase', n, 1.75, atLeastOne);
  const shortest = perRowNumber(options.dryAllowedLength, 'dryAllowedLength', n, 2, wholeFrom1);
  const ngram = perRowNumber(options.noRepeatNgram, 'noRepeatNgram', n, 0, wholeFrom0);
  const minLength = perRowNumber(options.minLength, 'minLength', n, 0, wholeFrom0);
  const length = perRowNumber(options.length, 'length', n, undefined, wholeFrom0);
  const window = windowOf(options.penaltyWindow, 'penaltyWindow');
  const dryWindow = windowOf(options.dryWindow, 'dryWindow');
  const breakers = breakersOf(options.dryBreakers, valid);
  const endIds =
    options.endIds === undefined
      ? []
      : tokenIds(options.endIds, 'endIds', idCount(options.endIds, 'endIds'), valid);
  const each = [biases, bans, histories, repetition, frequency, presence, multiplier, base, shortest, ngram];
  const rows: Patches[] = [];
  const count = [...each, minLength, length].some(option => option.each) ? n : 1;
  let tokens: Uint32Array = new Uint32Array(0);
  for (let row = 0; row < count; row++) {
    if (row === 0 || histories.each) {
      const history = histories.value(row);
      const name = histories.name(row);
      if (history !== undefined) tokens = tokenIds(history, name, idCount(history, name), valid);
    }
    const patches = new Patches(
      tokens.subarray(-window),
      repetition.value(row),
      frequency.value(row),
      presence.value(row),
    );
    const bias = biases.value(row);
    if (bias !== undefined) {
      readBiases(bias, biases.name(row), valid, (id, added) => {
        patches.add(id, added);
      });
    }
    const dry = multiplier.value(row);
    if (dry > 0) {
      const lengths = repeatLengths(tokens.subarray(-dryWindow), breakers, shortest.value(row));
      for (const [token, repeated] of lengths) {
        const exponent = Math.min(repeated - shortest.value(row), largestExponent(base.value(row)));
        patches.subtract(token, Math.min(dry * base.value(row) ** exponent, LARGEST_FLOAT));
      }
    }
    const size = ngram.value(row);
    if (size > 0) patches.ban(repeatedNgramEnds(tokens, size));
    if ((length.value(row) ?? tokens.length) < minLength.value(row)) patches.ban(endIds);
    const banned = bans.value(row);
    if (banned !== undefined)
      patches.ban(tokenIds(banned, bans.name(row), idCount(banned, bans.name(row)), valid));
    rows.push(patches);
  }
  return rows;
}

/** The largest float32, and its logarithm as llama.cpp's DRY sampler has it. */
const LARGEST_FLOAT = (2 - 2 ** -23) * 2 ** 127;
const LOG_LARGEST_FLOAT = 88.7228391;

/** Of a base from which powers stay finite in float32, as llama.cpp limits DRY's exponent. */
function largestExponent(base: number): number {
  return Math.floor(LOG_LARGEST_FLOAT / Math.log(base));
}

/** How many of a history's latest tokens count: for subarray(-window). */
function windowOf(value: unknown, name: string): number {
  const window = value === undefined ? Infinity : wholeNumber(value, name, 0, Number.MAX_SAFE_INTEGER);
  return window === 0 ? -Infinity : window;
}

/** Tokens and sequences of them, all made sequences. */
function breakersOf(value: unknown, valid: number): number[][] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) {
    throw new LMHeadError(
      'ARGUMENT',
      `dryBreakers: got ${got(value)}; want an array of ids and of arrays of ids`,
    );
  }
  const sequences: number[][] = [];
  for (let i = 0; i < value.length; i++) {
    const item: unknown = value[i];
    const sequence = typeof item === 'number' ? [item] : item;
    const name = `dryBreakers[${i}]`;
    const count = idCount(sequence, name);
    if (count === 0) throw new LMHeadError('RANGE', `${name}: got no ids; want at least one`);
    sequences.push([...tokenIds(sequence, name, count, valid)]);
  }
  return sequences;
}

type Check = (value: unknown, name: string, index: number) => number;
const penaltyFactor: Check = (value, name, index) =>
  numberBetween(value, name, Number.MIN_VALUE, Number.MAX_VALUE, index);
const finite: Check = (value, name, index) =>
  numberBetween(value, name, -Number.MAX_VALUE, Number.MAX_VALUE, index);
const notNegative: Check = (value, name, index) => numberBetween(value, name, 0, Number.MAX_VALUE, index);
const atLeastOne: Check = (value, name, index) => numberBetween(value, name, 1, Number.MAX_VALUE, index);
const wholeFrom0: Check = (value, name, index) => wholeNumber(value, name, 0, Number.MAX_SAFE_INTEGER, index);
const wholeFrom1: Check = (value, name, index) => wholeNumber(value, name, 1, Number.MAX_SAFE_INTEGER, index);

/** Reads a number that is there once for all rows, or once for each; `fallback` where it is not there. */
function perRowNumber<F extends number | undefined>(
  value: unknown,
  name: string,
  n: number,
  fallback: F,
  check: Check,
): { each: boolean; value: (row: number) => number | F } {
  if (value === undefined) return { each: false, value: () => fallback };
  if (!isPerRow(value, name, n)) {
    const number = check(value, name, -1);
    return { each: false, value: () => number };
  }
  const numbers = Array.from({ length: n }, (_, row) => check(value[row], name, row));
  return { each: true, value: row => numbers[row] };
}

/** Tables of patches; one row's patches serve all n where there is but one. */
function patchTables(
  rows: Patches[],
  n: number,
): { ranges: Uint32Array; ids: Uint32Array; values: Float64Array } {
  const count = rows.reduce((sum, patches) => sum + patches.size, 0);
  const ids = newWords(count, 'logitBias');
  const values = new Float64Array(count * PatchValue.count);
  const ranges = new Uint32Array(2 * Math.max(n, rows.length)); // one row's may serve none
  let end = 0;
  rows.forEach((patches, row) => {
    const begin = end;
    end += patches.size;
    patches.write(
      ids.subarray(begin, end),
      values.subarray(begin * PatchValue.count, end * PatchValue.count),
    );
    ranges.set([begin, end], 2 * row);
  });
  for (let row = rows.length; row < n; row++) ranges.set(ranges.subarray(0, 2), 2 * row);
  return { ranges, ids, values };
}
