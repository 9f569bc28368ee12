/** Temperature, filters, seed and step: one number for all rows, or one per row, made a table. */
import { randomFillSync } from 'node:crypto';
import { RowParameter } from '../backend/backend';
import { LMHeadError } from '../errors';
import { packOrder, STAGE_OPTIONS, STAGES, type Stage } from '../pass/sampling-stages';
import type { SampleOptions } from '../types';
import { lengthOf, outOfMemory } from './arrays';
import { arrayType, got, label } from './describe';
import { isArray, reading } from './reading';
import { flag, integerBetween, numberBetween } from './values';

/** What the table is for: a distribution, a sample (which needs a seed), or filters alone. */
export type RowPurpose = 'distribution' | 'sample' | 'filter';

const COLUMNS = RowParameter.count;
const LAST_WORD = 2 ** 32 - 1;

/** Checks one value and turns it into the number that the table holds. */
type Column = (value: unknown, name: string, index: number, limit: number) => number;

/** The numeric options whose columns are filled alike: default, check. Those of temperature and topK have limits of their own. */
const COLUMN_OF: Record<NumericOption, [column: number, check: Column]> = {
  topP: [RowParameter.topP, fractionColumn],
  minP: [RowParameter.logMinP, logColumn],
  typicalP: [RowParameter.typicalP, fractionColumn],
  epsilonCutoff: [RowParameter.logEpsilon, logColumn],
  etaCutoff: [RowParameter.logEta, logColumn],
  topNSigma: [RowParameter.topNSigma, notNegativeColumn],
  xtcProbability: [RowParameter.xtcProbability, fractionColumn],
  xtcThreshold: [RowParameter.logXtcThreshold, logColumn],
  temperatureRange: [RowParameter.temperatureRange, notNegativeColumn],
  temperatureExponent: [RowParameter.temperatureExponent, notNegativeColumn],
  maxSurprisal: [RowParameter.maxSurprisal, surprisalColumn],
};
type NumericOption =
  | 'topP'
  | 'minP'
  | 'typicalP'
  | 'epsilonCutoff'
  | 'etaCutoff'
  | 'topNSigma'
  | 'xtcProbability'
  | 'xtcThreshold'
  | 'temperatureRange'
  | 'temperatureExponent'
  | 'maxSurprisal';
const NUMERIC = Object.keys(COLUMN_OF) as NumericOption[];

/** A row of the table with every option at its default. */
const DEFAULTS = Float64Array.from({ length: COLUMNS }, () => 0);
DEFAULTS[RowParameter.temperature] = 1;
DEFAULTS[RowParameter.topP] = 1;
DEFAULTS[RowParameter.logMinP] = -Infinity;
DEFAULTS[RowParameter.typicalP] = 1;
DEFAULTS[RowParameter.logEpsilon] = -Infinity;
DEFAULTS[RowParameter.logEta] = -Infinity;
DEFAULTS[RowParameter.logXtcThreshold] = Math.log(0.1);
DEFAULTS[RowParameter.temperatureExponent] = 1;
DEFAULTS[RowParameter.maxSurprisal] = Infinity;
DEFAULTS[RowParameter.minKeep] = 1;

/**
 * The table [n, RowParameter.count], or undefined where all is at its default.
 * @param greedy whether temperature 0 is allowed
 * @param vocabulary the valid ids; a topK above that keeps them all
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
  const { temperature, topK, seed, step, stream } = options;
  if (
    purpose === 'distribution' &&
    (temperature === undefined || temperature === 1) &&
    topK === undefined &&
    seed === undefined &&
    step === undefined &&
    stream === undefined &&
    !hasFilters(options)
  ) {
    return undefined;
  }
  const given = options;
  return reading('options', () => filledTable(given, n, vocabulary, purpose, greedy));
}

function filledTable(
  options: SampleOptions,
  n: number,
  vocabulary: number,
  purpose: RowPurpose,
  greedy: boolean,
): Float64Array {
  const { temperature, topK, seed, step, stream } = options;
  const table = newTable(n);
  if (temperature !== undefined)
    fill(table, n, RowParameter.temperature, temperature, 'temperature', temperatureColumn, greedy ? 1 : 0);
  if (topK !== undefined) fill(table, n, RowParameter.topK, topK, 'topK', topKColumn, vocabulary);
  if (options.minKeep !== undefined)
    fill(table, n, RowParameter.minKeep, options.minKeep, 'minKeep', minKeepColumn, vocabulary);
  for (let i = 0; i < NUMERIC.length; i++) {
    const name = NUMERIC[i];
    const value = options[name];
    if (value !== undefined) fill(table, n, COLUMN_OF[name][0], value, name, COLUMN_OF[name][1], 1);
  }
  if (options.temperatureRange !== undefined) checkHighest(table, n, options.temperatureRange);
  if (options.pLess !== undefined) fill(table, n, RowParameter.pLess, options.pLess, 'pLess', flagColumn, 1);
  if (options.stageOrder !== undefined) {
    const order = packedOrder(options.stageOrder, options);
    for (let i = 0; i < n; i++) table[i * COLUMNS + RowParameter.order] = order;
  }
  fillSeed(table, n, seed, purpose);
  fillStep(table, n, step);
  if (stream !== undefined) fill(table, n, RowParameter.stream, stream, 'stream', integerColumn, LAST_WORD);
  return table;
}

/** The highest temperature that a range allows has to be a number too. */
function checkHighest(table: Float64Array, n: number, given: SampleOptions['temperatureRange']): void {
  for (let i = 0; i < n; i++) {
    const temperature = table[i * COLUMNS + RowParameter.temperature];
    const range = table[i * COLUMNS + RowParameter.temperatureRange];
    if (temperature + range < Infinity) continue;
    throw new LMHeadError(
      'RANGE',
      `${label('temperatureRange', typeof given === 'number' ? -1 : i)}: got ${range} beside the temperature ${temperature}; want a finite sum`,
    );
  }
}

/** Written out, as every call with options pays for it. */
function hasFilters(options: SampleOptions): boolean {
  return (
    options.topP !== undefined ||
    options.minP !== undefined ||
    options.typicalP !== undefined ||
    options.epsilonCutoff !== undefined ||
    options.etaCutoff !== undefined ||
    options.topNSigma !== undefined ||
    options.pLess !== undefined ||
    options.xtcProbability !== undefined ||
    options.xtcThreshold !== undefined ||
    options.temperatureRange !== undefined ||
    options.temperatureExponent !== undefined ||
    options.maxSurprisal !== undefined ||
    options.minKeep !== undefined ||
    options.stageOrder !== undefined
  );
}

/** Every stage at most once, and every stage that an option sets to work. */
function packedOrder(value: unknown, options: SampleOptions): number {
  if (!isArray(value)) {
    throw new LMHeadError('ARGUMENT', `stageOrder: got ${got(value)}; want an array of stages`);
  }
  const order: Stage[] = [];
  for (let i = 0; i < value.length; i++) {
    const stage = value[i] as Stage;
    if (!STAGES.includes(stage)) {
      throw new LMHeadError(
        typeof stage === 'string' ? 'RANGE' : 'ARGUMENT',
        `stageOrder[${i}]: got ${got(stage)}; want one of ${STAGES.map(name => `'${name}'`).join(', ')}`,
      );
    }
    if (order.includes(stage)) {
      throw new LMHeadError('RANGE', `stageOrder[${i}]: got '${stage}' again; want every stage once`);
    }
    order.push(stage);
  }
  for (const stage of STAGES) {
    const [given] = STAGE_OPTIONS[stage].filter(name => options[name] !== undefined);
    if (given !== undefined && !order.includes(stage)) {
      throw new LMHeadError(
        'RANGE',
        `stageOrder: got no '${stage}' beside the option ${given}; want it in its place`,
      );
    }
  }
  // An empty order is that of no stages but one that does nothing.
  return packOrder(order.length === 0 ? ['temperature'] : order);
}

function newTable(n: number): Float64Array {
  let table: Float64Array;
  try {
    table = new Float64Array(n * COLUMNS);
  } catch (cause) {
    throw outOfMemory(n * COLUMNS, 'hidden', cause);
  }
  for (let i = 0; i < n; i++) table.set(DEFAULTS, i * COLUMNS);
  return table;
}

function fill(
  table: Float64Array,
  n: number,
  column: number,
  value: unknown,
  name: string,
  check: Column,
  limit: number,
): void {
  if (isPerRow(value, name, n)) {
    for (let i = 0; i < n; i++) table[i * COLUMNS + column] = check(value[i], name, i, limit);
    return;
  }
  const number = check(value, name, -1, limit);
  for (let i = 0; i < n; i++) table[i * COLUMNS + column] = number;
}

/** A list of n values? Refuses one of another length. */
export function isPerRow(value: unknown, name: string, n: number): value is ArrayLike<unknown> {
  if (typeof value !== 'object') return false;
  const isTyped = arrayType(value) !== undefined;
  if (!isTyped && !isArray(value)) {
    throw new LMHeadError(
      'ARGUMENT',
      `${name}: got ${got(value)}; want a number, or an array of one per row`,
    );
  }
  const length = isTyped ? lengthOf(value as Float64Array) : (value as ArrayLike<unknown>).length;
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
    if (value > 0 && value < Infinity) return value;
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

function integerColumn(value: unknown, name: string, index: number, limit: number): number {
  return integerBetween(value, name, 0, limit, index);
}

function topKColumn(value: unknown, name: string, index: number, limit: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0) return Math.min(value, limit) + 0;
  throw new LMHeadError(
    typeof value === 'number' ? 'RANGE' : 'ARGUMENT',
    `${label(name, index)}: got ${got(value)}; want an integer of at least 0, where 0 keeps all`,
  );
}

function minKeepColumn(value: unknown, name: string, index: number, limit: number): number {
  return Math.min(integerBetween(value, name, 1, Number.MAX_SAFE_INTEGER, index), limit);
}

function fractionColumn(value: unknown, name: string, index: number, limit: number): number {
  return numberBetween(value, name, 0, limit, index);
}

function logColumn(value: unknown, name: string, index: number, limit: number): number {
  return Math.log(numberBetween(value, name, 0, limit, index));
}

function notNegativeColumn(value: unknown, name: string, index: number): number {
  return numberBetween(value, name, 0, Number.MAX_VALUE, index);
}

/** From bits to nats. */
function surprisalColumn(value: unknown, name: string, index: number): number {
  return numberBetween(value, name, 0, Infinity, index) * Math.LN2;
}

function flagColumn(value: unknown, name: string, index: number): number {
  return Number(flag(value, label(name, index)));
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
    `${label('seed', index)}: got ${got(value)}; want an integer from 0 to 2^53 - 1, or a bigint below 2^64`,
  );
}

/** A row's, or that of all; one that is left open is drawn where it has an effect. */
function nextSeed(seed: unknown, index: number, purpose: RowPurpose): void {
  if (seed !== undefined) readSeed(seed, index);
  else if (purpose === 'sample') drawSeed();
  else seedLow = seedHigh = 0;
}

function fillSeed(table: Float64Array, n: number, seed: unknown, purpose: RowPurpose): void {
  const perRow = isPerRow(seed, 'seed', n);
  if (!perRow) nextSeed(seed, -1, purpose);
  for (let i = 0; i < n; i++) {
    if (perRow) nextSeed(seed[i], i, purpose);
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

/** A seed from the system's generator. */
export function drawnSeed(): bigint {
  drawSeed();
  return (BigInt(seedHigh) << 32n) | BigInt(seedLow);
}

function fillStep(table: Float64Array, n: number, step: unknown): void {
  if (isPerRow(step, 'step', n)) {
    for (let i = 0; i < n; i++) {
      table[i * COLUMNS + RowParameter.step] = integerBetween(step[i], 'step', 0, LAST_WORD, i);
    }
    return;
  }
  const first = step === undefined ? 0 : integerBetween(step, 'step', 0, LAST_WORD);
  if (first + n - 1 > LAST_WORD) {
    throw new LMHeadError(
      'RANGE',
      `step: got ${first} for ${n} rows, which end at ${first + n - 1}; want an end from 0 to ${LAST_WORD}`,
    );
  }
  for (let i = 0; i < n; i++) table[i * COLUMNS + RowParameter.step] = first + i;
}
