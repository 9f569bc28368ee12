/** Biases and exclusions, as callers pass them, made the tables that a pass takes. */
import { type Adjustments, PatchValue } from '../backend';
import { LMHeadError } from '../errors';
import type { SampleOptions } from '../types';
import { newWords } from './arrays';
import { arrayType, got } from './describe';
import { idCount, tokenIds } from './ids';

/** What one id's logit undergoes. */
export interface Patch {
  add: number;
  penalty: number;
  subtract: number;
}

/** One row's patches, by id. */
export type Patches = Map<number, Patch>;

/** The id's patch, made where there is none. */
export function patchOf(patches: Patches, id: number): Patch {
  let patch = patches.get(id);
  if (!patch) {
    patch = { add: 0, penalty: 1, subtract: 0 };
    patches.set(id, patch);
  }
  return patch;
}

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
  const { logitBias, bannedIds, allowed } = options;
  if (logitBias === undefined && bannedIds === undefined && allowed === undefined) return undefined;
  const adjustments: Adjustments = { allowedStride: 0 };
  const rowWise = isRowWise(logitBias) || isRowWise(bannedIds);
  if (logitBias !== undefined || bannedIds !== undefined) {
    const biases = perRow(logitBias, 'logitBias', n);
    const bans = perRow(bannedIds, 'bannedIds', n);
    const rows: Patches[] = [];
    for (let row = 0; row < (rowWise ? n : 1); row++) {
      const patches: Patches = new Map();
      addBiases(patches, biases.value(row), biases.name(row), valid);
      ban(patches, bans.value(row), bans.name(row), valid);
      rows.push(patches);
    }
    Object.assign(adjustments, patchTables(rows, n));
  }
  if (allowed !== undefined) {
    const masks = perRow(allowed, 'allowed', n);
    const words = Math.ceil(vocabulary / 32);
    const perRowMask = isRowWise(allowed);
    const table = newWords(perRowMask ? n * words : words, 'allowed');
    for (let row = 0; row < (perRowMask ? n : 1); row++) {
      fillMask(
        table.subarray(row * words, (row + 1) * words),
        masks.value(row),
        masks.name(row),
        vocabulary,
        valid,
      );
    }
    adjustments.allowed = table;
    adjustments.allowedStride = perRowMask ? words : 0;
  }
  return adjustments;
}

/** A list of lists or of maps: one for each row. */
function isRowWise(value: unknown): boolean {
  return Array.isArray(value) && value.length > 0 && typeof value[0] === 'object' && value[0] !== null;
}

/** Reads an option that is there once for all rows, or once for each. */
function perRow(value: unknown, name: string, n: number) {
  if (!isRowWise(value)) return { value: () => value, name: () => name };
  const list = value as unknown[];
  if (list.length !== n) {
    throw new LMHeadError(
      'SHAPE',
      `${name}: got ${list.length} lists; want one for all rows, or ${n}, one per row`,
    );
  }
  return { value: (row: number) => list[row], name: (row: number) => `${name}[${row}]` };
}

/** id → number, as a Map or as an object. */
function addBiases(patches: Patches, biases: unknown, name: string, valid: number): void {
  if (biases === undefined) return;
  if (typeof biases !== 'object' || biases === null || Array.isArray(biases) || ArrayBuffer.isView(biases)) {
    throw new LMHeadError(
      'ARGUMENT',
      `${name}: got ${got(biases)}; want an object or a Map of numbers by token id`,
    );
  }
  const entries: Iterable<[unknown, unknown]> = biases instanceof Map ? biases : Object.entries(biases);
  for (const [key, bias] of entries) {
    const id = typeof key === 'string' && /^\d+$/.test(key) ? Number(key) : key;
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= valid) {
      const kind = typeof id === 'number' ? 'RANGE' : 'ARGUMENT';
      throw new LMHeadError(kind, `${name}: got a bias for ${got(key)}; want an id below ${valid}`);
    }
    if (typeof bias !== 'number' || !(bias < Infinity)) {
      throw new LMHeadError(
        typeof bias === 'number' ? 'RANGE' : 'ARGUMENT',
        `${name}[${id}]: got ${got(bias)}; want a finite number, or -Infinity, which bans the id`,
      );
    }
    patchOf(patches, id).add += bias;
  }
}

/** No patch of theirs lets these ids be drawn. */
function ban(patches: Patches, ids: unknown, name: string, valid: number): void {
  if (ids === undefined) return;
  for (const id of tokenIds(ids, name, idCount(ids, name), valid)) patchOf(patches, id).add = -Infinity;
}

/** Tables of patches; one row's patches serve all n where there is but one. */
function patchTables(
  rows: Patches[],
  n: number,
): { ranges: Uint32Array; ids: Uint32Array; values: Float64Array } {
  const count = rows.reduce((sum, patches) => sum + patches.size, 0);
  const ids = newWords(count, 'logitBias');
  const values = new Float64Array(count * PatchValue.count);
  const ranges = new Uint32Array(2 * n);
  let end = 0;
  rows.forEach((patches, row) => {
    const begin = end;
    for (const id of patches.keys()) ids[end++] = id;
    const sorted = ids.subarray(begin, end).sort();
    for (let i = 0; i < sorted.length; i++) {
      const { add, penalty, subtract } = patches.get(sorted[i])!;
      values.set([add, penalty, subtract], (begin + i) * PatchValue.count);
    }
    ranges.set([begin, end], 2 * row);
  });
  for (let row = rows.length; row < n; row++) ranges.set(ranges.subarray(0, 2), 2 * row);
  return { ranges, ids, values };
}

/** A mask of bits (a Uint32Array of ⌈V/32⌉ words), or a list of ids (anything else that lists numbers). */
function fillMask(
  mask: Uint32Array,
  allowed: unknown,
  name: string,
  vocabulary: number,
  valid: number,
): void {
  if (arrayType(allowed) !== 'Uint32Array') {
    for (const id of tokenIds(allowed, name, idCount(allowed, name), valid)) mask[id >>> 5] |= 1 << (id & 31);
    return;
  }
  const bits = allowed as Uint32Array;
  if (bits.length !== mask.length) {
    throw new LMHeadError(
      'SHAPE',
      `${name}: got a mask of ${bits.length} words for ${bits.length * 32} ids; want ${mask.length} words, a bit for each of ${vocabulary} ids (a list of ids goes in an array)`,
    );
  }
  mask.set(bits);
}
