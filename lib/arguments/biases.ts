/** Biases and bans, as callers pass them. */
import type { Adjustments } from '../backend/backend';
import { LMHeadError } from '../errors';
import type { SampleOptions } from '../types';
import { newWords } from './arrays';
import { placeAmong } from './ascending-ids';
import { got } from './describe';
import { idCount, tokenIds } from './ids';
import { Biases, type IdList, newDoubles, RowLists } from './patches';
import { perRow } from './row-lists';

/** What is added to the logits of n rows, before anything else happens to them. */
export interface RowBiases {
  /** Are they given row by row? */
  each: boolean;
  of(row: number, id: number): number;
  tables: Adjustments['biases'];
}

export function rowBiases(options: SampleOptions, n: number, valid: number): RowBiases {
  const given = perRow(options.logitBias, 'logitBias', n);
  const banned = perRow(options.bannedIds, 'bannedIds', n);
  const each = given.each || banned.each;
  const lists: IdList[] = [];
  const rows = new RowLists(n, count => newDoubles(count, 'logitBias'));
  /** Read anew where it is another one's. */
  let biases: IdList | undefined;
  let bans: Uint32Array | undefined;
  for (let row = 0; row < (each ? n : 1); row++) {
    if (row === 0 || given.each) biases = biasList(given.value(row), given.name(row), valid);
    if (row === 0 || banned.each) bans = idList(banned.value(row), banned.name(row), valid);
    const both = new Biases();
    if (biases) both.add(biases.ids, biases.values);
    if (bans) both.add(bans, -Infinity);
    lists.push(both.list());
    rows.add(row, lists[row]);
  }
  if (!each) rows.shareFirst();
  return {
    each,
    of(row, id) {
      const { ids, values } = lists[each ? row : 0];
      const place = placeAmong(ids, id);
      return place < 0 ? 0 : values[place];
    },
    tables: rows.tables(),
  };
}

/** id → number, as a Map or as an object. */
function biasList(biases: unknown, name: string, valid: number): IdList | undefined {
  if (biases === undefined) return undefined;
  if (typeof biases !== 'object' || biases === null || Array.isArray(biases) || ArrayBuffer.isView(biases)) {
    throw new LMHeadError(
      'ARGUMENT',
      `${name}: got ${got(biases)}; want an object or a Map of numbers by token id`,
    );
  }
  const entries: [unknown, unknown][] = biases instanceof Map ? [...biases] : Object.entries(biases);
  const ids = newWords(entries.length, name);
  const values = newDoubles(entries.length, name);
  let at = 0;
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
    ids[at] = id;
    values[at++] = bias;
  }
  return { ids, values };
}

function idList(ids: unknown, name: string, valid: number): Uint32Array | undefined {
  return ids === undefined ? undefined : tokenIds(ids, name, idCount(ids, name), valid);
}
