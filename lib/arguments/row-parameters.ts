/** Temperature, filters, seed and step: one number for all rows, or one per row, made a table. */
import { randomFillSync } from 'node:crypto';
import { RowParameter } from '../backend';
import { LMHeadError } from '../errors';
import type { SampleOptions } from '../types';
import { outOfMemory } from './arrays';
import { arrayType, got, label } from './describe';
import { numberBetween, wholeNumber } from './values';

/** What the table is for: a distribution, a sample (which needs a seed), or filters alone. */
export type RowPurpose = 'distribution' | 'sample' | 'filter';

const COLUMNS = RowParameter.count;
const LAST_STEP = 2 ** 32 - 1;

/** Checks one value and turns it into the number that the table holds. */
type Column = (value: unknown, name: string, index: number, limit: number) => number;

/**
 * The table [n, RowParameter.count], or undefined where all is at its default.
 * @param greedy whether temperature 0 is allowed
 * @param vocabulary the valid ids, which topK may not exceed
 */
export function rowParameters(
  options: SampleOptions | undefined,
  n: number,
  vocabulary: number,
  purpose: RowPurpose,
  greedy: boolean,
): Float64Array | undefined {
  if (options === undefined) {
    if (purpose === 'distribution') return undefined;
    options = {};
  }
  const { temperature, topK, topP, minP, seed, step } = options;
  if (
    purpose === 'distribution' &&
    (temperature === undefined || temperature === 1) &&
    topK === undefined &&
    topP === undefined &&
    minP === undefined &&
    seed === undefined &&
    step === undefined
  ) {
    return undefined;
  }
  const table = newTable(n);
  fill(table, n, RowParameter.temperature, temperature, 'temperature', 1, temperatureColumn, greedy ? 1 : 0);
  fill(table, n, RowParameter.topK, topK, 'topK', 0, topKColumn, vocabulary);
  fill(table, n, RowParameter.topP, topP, 'topP', 1, fractionColumn, 1);
  fill(table, n, RowParameter.logMinP, minP, 'minP', -Infinity, minPColumn, 1);
  fillSeed(table, n, seed, purpose);
  fillStep(table, n, step);
  return table;
}

function newTable(n: number): Float64Array {
  try {
    return new Float64Array(n * COLUMNS);
  } catch (cause) {
    throw outOfMemory(n * COLUMNS, 'hidden', cause);
  }
}

function fill(
  table: Float64Array,
  n: number,
  column: number,
  value: unknown,
  name: string,
  fallback: number,
  check: Column,
  limit: number,
): void {
  if (isPerRow(value, name, n)) {
    for (let i = 0; i < n; i++) table[i * COLUMNS + column] = check(value[i], name, i, limit);
    return;
  }
  const number = value === undefined ? fallback : check(value, name, -1, limit);
  for (let i = 0; i < n; i++) table[i * COLUMNS + column] = number;
}

/** A list of n values? Refuses one of another length. */
function isPerRow(value: unknown, name: string, n: number): value is ArrayLike<unknown> {
  if (typeof value !== 'object') return false;
  if (!Array.isArray(value) && arrayType(value) === undefined) {
    throw new LMHeadError(
      'ARGUMENT',
      `${name}: got ${got(value)}; want a number, or an array of one per row`,
    );
  }
  const { length } = value as ArrayLike<unknown>;
  if (length === n) return true;
  throw new LMHeadError(
    'SHAPE',
    `${name}: got ${length} values; want one for all rows, or ${n}, one per row`,
  );
}

/** `limit` 1: zero is allowed. */
function temperatureColumn(value: unknown, name: string, index: number, limit: number): number {
  if (typeof value === 'number') {
    if (value === 0 && limit === 1) return 0;
    // 1/T multiplies logits, so it must be finite too.
    if (value > 0 && value < Infinity && 1 / value < Infinity) return value;
  }
  const wanted =
    limit === 1
      ? 'a finite number above 0, or 0 for the likeliest token'
      : 'a finite number above 0 (0 is for a sample alone)';
  throw new LMHeadError(
    typeof value === 'number' ? 'RANGE' : 'ARGUMENT',
    `${label(name, index)}: got ${got(value)}; want ${wanted}`,
  );
}

function topKColumn(value: unknown, name: string, index: number, limit: number): number {
  return wholeNumber(value, name, 0, limit, index);
}

function fractionColumn(value: unknown, name: string, index: number, limit: number): number {
  return numberBetween(value, name, 0, limit, index);
}

function minPColumn(value: unknown, name: string, index: number, limit: number): number {
  return Math.log(numberBetween(value, name, 0, limit, index));
}

/** A seed is two words of 32 bits; these are the last one's. */
let seedLow = 0;
let seedHigh = 0;

function readSeed(value: unknown, index: number): void {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) {
    seedLow = value >>> 0;
    seedHigh = Math.floor(value / 2 ** 32);
    return;
  }
  if (typeof value === 'bigint' && value >= 0n && value < 1n << 64n) {
    seedLow = Number(value & 0xffffffffn);
    seedHigh = Number(value >> 32n);
    return;
  }
  throw new LMHeadError(
    typeof value === 'number' || typeof value === 'bigint' ? 'RANGE' : 'ARGUMENT',
    `${label('seed', index)}: got ${got(value)}; want a whole number from 0 to 2^53 - 1, or a bigint below 2^64`,
  );
}

function fillSeed(table: Float64Array, n: number, seed: unknown, purpose: RowPurpose): void {
  const perRow = isPerRow(seed, 'seed', n);
  if (!perRow) {
    if (seed !== undefined) readSeed(seed, -1);
    else if (purpose === 'sample') drawSeed();
    else seedLow = seedHigh = 0;
  }
  for (let i = 0; i < n; i++) {
    if (perRow) readSeed(seed[i], i);
    table[i * COLUMNS + RowParameter.seedLow] = seedLow;
    table[i * COLUMNS + RowParameter.seedHigh] = seedHigh;
  }
}

/** Words from the system's generator, fetched many at a time: a fetch costs more than a small call's pass. */
const entropy = new Uint32Array(256);
let entropyUsed = entropy.length;

function drawSeed(): void {
  if (entropyUsed === entropy.length) {
    randomFillSync(entropy);
    entropyUsed = 0;
  }
  seedLow = entropy[entropyUsed++];
  seedHigh = entropy[entropyUsed++];
}

function fillStep(table: Float64Array, n: number, step: unknown): void {
  if (isPerRow(step, 'step', n)) {
    for (let i = 0; i < n; i++) {
      table[i * COLUMNS + RowParameter.step] = wholeNumber(step[i], 'step', 0, LAST_STEP, i);
    }
    return;
  }
  const first = step === undefined ? 0 : wholeNumber(step, 'step', 0, LAST_STEP);
  if (first + n - 1 > LAST_STEP) {
    throw new LMHeadError(
      'RANGE',
      `step: got ${first} for ${n} rows, which end at ${first + n - 1}; want an end from 0 to ${LAST_STEP}`,
    );
  }
  for (let i = 0; i < n; i++) table[i * COLUMNS + RowParameter.step] = first + i;
}
