/** Options about the tokens so far, as callers pass them, made the tables that a pass takes. */
import { type Adjustments, Penalty } from '../backend/backend';
import { LMHeadError } from '../errors';
import type { SampleOptions } from '../types';
import { newWords } from './arrays';
import type { RowBiases } from './biases';
import { Breakers } from './breakers';
import { got, label } from './describe';
import { allIds, idRows } from './ids';
import { bothBiases, type IdList, newDoubles, Patches, RowLists } from './patches';
import { dryPenalty, TokenHistory } from './penalties';
import { isArray } from './reading';
import { isPerRow } from './row-parameters';
import { sequenceIds, sequencesOf } from './sequences';
import type { TokenCounts } from './token-counts';
import { integerBetween, numberBetween } from './values';

/** The options, checked. */
type HistoryOptions = ReturnType<typeof historyOptions>;

function historyOptions(options: SampleOptions, n: number, valid: number) {
  return {
    histories: rowHistories(options.history, n, valid),
    prompt: perRowNumber(options.promptLength, 'promptLength', n, 0, integerFrom0),
    repetition: perRowNumber(options.repetitionPenalty, 'repetitionPenalty', n, 1, penaltyFactor),
    frequency: perRowNumber(options.frequencyPenalty, 'frequencyPenalty', n, 0, finite),
    presence: perRowNumber(options.presencePenalty, 'presencePenalty', n, 0, finite),
    window: windowOf(options.penaltyWindow, 'penaltyWindow'),
    multiplier: perRowNumber(options.dryMultiplier, 'dryMultiplier', n, 0, notNegative),
    base: perRowNumber(options.dryBase, 'dryBase', n, 1.75, atLeastOne),
    shortest: perRowNumber(options.dryAllowedLength, 'dryAllowedLength', n, 2, integerFrom1),
    dryWindow: windowOf(options.dryWindow, 'dryWindow'),
    breakers: breakersOf(options.dryBreakers, valid),
    ngram: perRowNumber(options.noRepeatNgramSize, 'noRepeatNgramSize', n, 0, integerFrom0),
    sequences: sequencesOf(options.bannedSequences, options.biasedSequences, valid),
    minLength: perRowNumber(options.minLength, 'minLength', n, 0, integerFrom0),
    length: perRowNumber(options.length, 'length', n, undefined, integerFrom0),
    eosIds: idsOf(options.eosIds, 'eosIds', valid),
    beginSuppressIds: idsOf(options.beginSuppressIds, 'beginSuppressIds', valid),
  };
}

function idsOf(ids: unknown, name: string, valid: number): Uint32Array {
  return ids === undefined ? new Uint32Array(0) : allIds(ids, name, valid);
}

/**
 * Penalties, repeated sequences and the shortest text, of n rows. What a history says is worked out once for all that have it.
 * @param draft see adjustmentsOf
 */
export function historyTables(
  options: SampleOptions,
  n: number,
  valid: number,
  biases: RowBiases,
  draft: Uint32Array | undefined,
): Pick<Adjustments, 'patches' | 'counted'> {
  const all = historyOptions(options, n, valid);
  const { histories, prompt, repetition, frequency, presence } = all;
  const follows = draft !== undefined && !histories.each;
  const counted = new CountedRows(n, follows);
  const patched = new RowLists(n, count => newDoubles(count, 'history'));
  const eachPenalty = repetition.each || frequency.each || presence.each || prompt.each;
  const eachPatch =
    draft !== undefined ||
    histories.each ||
    all.multiplier.each ||
    all.base.each ||
    all.shortest.each ||
    all.ngram.each ||
    all.minLength.each ||
    all.length.each ||
    prompt.each ||
    ((eachPenalty || biases.each) && (options.dryMultiplier !== undefined || all.sequences !== undefined));
  const rows = eachPenalty || eachPatch ? n : 1;
  for (let row = 0; row < rows; row++) {
    const history = histories.value(row);
    if (follows && row > 0) {
      // After an id that cannot be accepted no row counts.
      if (draft[row - 1] >= valid) break;
      history.push(draft[row - 1]);
    }
    requirePrompt(prompt.value(row), prompt.each ? row : -1, history);
    const by = [repetition.value(row), frequency.value(row), presence.value(row)];
    const isPenalized = by[0] !== 1 || by[1] !== 0 || by[2] !== 0;
    const counts = isPenalized ? history.counts(all.window, prompt.value(row)) : undefined;
    if (counts) counted.add(row, counts, by);
    if (row > 0 && !eachPatch) patched.share(row, 0);
    else patched.add(row, rowPatches(all, row, draft !== undefined, counts, by, biases));
  }
  if (rows === 1) {
    patched.shareFirst();
    counted.shareFirst();
  }
  return { patches: patched.tables(), counted: counted.tables() };
}

/** What is not said of a row by its biases and counts alone. */
function rowPatches(
  all: HistoryOptions,
  row: number,
  isDraft: boolean,
  counts: TokenCounts | undefined,
  [repetition, frequency, presence]: number[],
  biases: RowBiases,
): IdList {
  const history = all.histories.value(row);
  const patches = new Patches();
  const completed = all.sequences?.after(history);
  /** A patch stands for all that is said of the id. */
  const patch = (id: number, penalty: number) => {
    const count = counts?.countOf(id);
    const usual = count ? count * frequency + presence : 0;
    const add = bothBiases(biases.of(row, id), completed?.get(id) ?? 0);
    patches.set(id, add, count === undefined ? 1 : repetition, usual + penalty);
  };
  for (const id of counts?.changed ?? []) patch(id, 0);
  for (const id of completed?.keys() ?? []) patch(id, 0);

  const multiplier = all.multiplier.value(row);
  if (multiplier > 0) {
    const { ids, lengths } = history.recentExtensions(all.dryWindow, all.breakers);
    const shortest = all.shortest.value(row);
    for (let i = 0; i < ids.length; i++) {
      if (lengths[i] < shortest || all.breakers?.has(ids[i])) continue;
      patch(ids[i], dryPenalty(multiplier, all.base.value(row), lengths[i] - shortest));
    }
  }

  const ngram = all.ngram.value(row);
  if (ngram === 1) {
    patches.ban(history.distinct());
  } else if (ngram > 1) {
    const { ids, lengths } = history.extensions();
    patches.ban(ids.filter((_, i) => lengths[i] >= ngram - 1));
  }

  let length = all.length.value(row) ?? history.length - all.prompt.value(row);
  if (isDraft && all.length.isGiven && !all.length.each) length += row;
  if (length < all.minLength.value(row)) patches.ban(all.eosIds);
  if (length === 0) patches.ban(all.beginSuppressIds);
  return patches.list();
}

/** Which tokens are counted in which row, and how often. Rows that have the same ones share a list. */
class CountedRows {
  readonly #rows: RowLists<Uint32Array>;
  readonly #penalties: Float64Array;
  readonly #n: number;
  readonly #follows: boolean;
  readonly #listed = new Map<TokenCounts, { row: number; patches: number }>();

  /** @param follows whether counts change from row to row; what has changed since a list was made is then for patches to say */
  constructor(n: number, follows: boolean) {
    this.#n = n;
    this.#follows = follows;
    this.#rows = new RowLists(n, count => newWords(count, 'history'));
    this.#penalties = newDoubles(Math.max(n, 1) * Penalty.count, 'history');
  }

  add(row: number, counts: TokenCounts, penalties: readonly number[]): void {
    this.#penalties.set(penalties, row * Penalty.count);
    const listed = this.#listed.get(counts);
    if (listed) {
      // A new list is due when it has fewer ids than there were patches without it.
      listed.patches += counts.changed?.size ?? 0;
      if (listed.patches <= counts.ids.length) {
        this.#rows.share(row, listed.row);
        return;
      }
    }
    this.#listed.set(counts, { row, patches: 0 });
    const { ids, counts: values } = counts;
    if (!this.#follows) {
      this.#rows.add(row, { ids, values });
    } else {
      this.#rows.add(row, { ids: ids.slice(), values: values.slice() });
      counts.changed = new Set();
    }
  }

  /** All rows have the list and the penalties of the first. */
  shareFirst(): void {
    this.#rows.shareFirst();
    for (let row = 1; row < this.#n; row++) this.#penalties.copyWithin(row * Penalty.count, 0, Penalty.count);
  }

  tables(): Adjustments['counted'] {
    const tables = this.#rows.tables();
    return (
      tables && { ranges: tables.ranges, ids: tables.ids, counts: tables.values, penalties: this.#penalties }
    );
  }
}

function requirePrompt(length: number, index: number, history: TokenHistory): void {
  if (length <= history.length) return;
  throw new LMHeadError(
    'RANGE',
    `${label('promptLength', index)}: got ${length} with a history of ${history.length} tokens; want no more than there are`,
  );
}

/** One history for all rows, or one for each; of no tokens where none is given. */
function rowHistories(value: unknown, n: number, valid: number) {
  const given = idRows(value, 'history', n);
  const read = new Map<unknown, TokenHistory>();
  const historyOf = (row: number): TokenHistory => {
    const tokens = given.value(row);
    let history = read.get(tokens);
    if (!history) {
      history = historyFrom(tokens, given.name(row), valid);
      read.set(tokens, history);
    }
    return history;
  };
  if (given.each) return { each: true, value: historyOf };
  const one = historyOf(0);
  return { each: false, value: () => one };
}

/** A sampler's is there already, and follows its tokens. */
function historyFrom(tokens: unknown, name: string, valid: number): TokenHistory {
  if (tokens === undefined) return new TokenHistory(new Uint32Array(0));
  if (tokens instanceof TokenHistory) return tokens;
  return new TokenHistory(allIds(tokens, name, valid));
}

/** How many of a history's latest tokens count. */
function windowOf(value: unknown, name: string): number {
  return value === undefined ? Infinity : integerBetween(value, name, 0, Number.MAX_SAFE_INTEGER);
}

/** Tokens and sequences of them, which no repetition reaches across. */
export function breakersOf(value: unknown, valid: number): Breakers | undefined {
  if (value === undefined || value instanceof Breakers) return value;
  if (!isArray(value)) {
    throw new LMHeadError(
      'ARGUMENT',
      `dryBreakers: got ${got(value)}; want an array of ids and of arrays of ids`,
    );
  }
  const sequences: Uint32Array[] = [];
  for (let i = 0; i < value.length; i++) {
    const item: unknown = value[i];
    const sequence = typeof item === 'number' ? [item] : item;
    sequences.push(sequenceIds(sequence, `dryBreakers[${i}]`, valid));
  }
  return new Breakers(sequences);
}

type Check = (value: unknown, name: string, index: number) => number;
const penaltyFactor: Check = (value, name, index) =>
  numberBetween(value, name, Number.MIN_VALUE, Number.MAX_VALUE, index);
const finite: Check = (value, name, index) =>
  numberBetween(value, name, -Number.MAX_VALUE, Number.MAX_VALUE, index);
const notNegative: Check = (value, name, index) => numberBetween(value, name, 0, Number.MAX_VALUE, index);
const atLeastOne: Check = (value, name, index) => numberBetween(value, name, 1, Number.MAX_VALUE, index);
const integerFrom0: Check = (value, name, index) =>
  integerBetween(value, name, 0, Number.MAX_SAFE_INTEGER, index);
const integerFrom1: Check = (value, name, index) =>
  integerBetween(value, name, 1, Number.MAX_SAFE_INTEGER, index);

/** Reads a number that is there once for all rows, or once for each; `fallback` where it is not there. */
function perRowNumber<F extends number | undefined>(
  value: unknown,
  name: string,
  n: number,
  fallback: F,
  check: Check,
): { isGiven: boolean; each: boolean; value: (row: number) => number | F } {
  if (value === undefined) return { isGiven: false, each: false, value: () => fallback };
  if (!isPerRow(value, name, n)) {
    const number = check(value, name, -1);
    return { isGiven: true, each: false, value: () => number };
  }
  const numbers = Array.from({ length: n }, (_, row) => check(value[row], name, row));
  return { isGiven: true, each: true, value: row => numbers[row] };
}
