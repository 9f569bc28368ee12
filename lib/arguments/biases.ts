/** Biases and bans, as callers pass them. */
import type { Adjustments } from '../backend/backend';
import type { SampleOptions } from '../types';
import { localIndex } from './ascending-ids';
import { allIds, idRows } from './ids';
import { readBiases } from './logit-bias';
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
  const banned = idRows(options.bannedIds, 'bannedIds', n);
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
      const index = localIndex(ids, id);
      return index < 0 ? 0 : values[index];
    },
    tables: rows.tables(),
  };
}

/** Ids may come more than once. */
function biasList(biases: unknown, name: string, valid: number): IdList | undefined {
  if (biases === undefined) return undefined;
  const ids: number[] = [];
  const values: number[] = [];
  readBiases(biases, name, valid, (id, bias) => {
    ids.push(id);
    values.push(bias);
  });
  return { ids: Uint32Array.from(ids), values: Float64Array.from(values) };
}

function idList(ids: unknown, name: string, valid: number): Uint32Array | undefined {
  return ids === undefined ? undefined : allIds(ids, name, valid);
}
