/** What a sampler's options say of single ids, and what those of one token add. */
import type { NextOptions, SampleOptions } from '../types';
import { maskTable } from './allowed';
import { newWords } from './arrays';
import { allIds, idRows } from './ids';
import { readBiases } from './logit-bias';
import { perRow } from './row-lists';

/** The options, read: what a caller does to a list later changes nothing. */
export interface OwnIds {
  logitBias?: Map<number, number>;
  bannedIds?: Uint32Array;
  allowedIds?: undefined;
  /** Of allowedIds, or of the mask itself. */
  allowedMask?: Uint32Array;
}

/** Of one row. */
export function ownIds(
  options: Pick<SampleOptions, keyof OwnIds>,
  vocabulary: number,
  valid: number,
): OwnIds {
  const own: OwnIds = {
    allowedIds: undefined,
    allowedMask: maskTable(options, 1, vocabulary, valid).allowed,
  };
  if (options.logitBias !== undefined) {
    const given = perRow(options.logitBias, 'logitBias', 1);
    own.logitBias = new Map();
    addBiases(own.logitBias, given.value(0), given.name(0), valid);
  }
  if (options.bannedIds !== undefined) {
    const given = idRows(options.bannedIds, 'bannedIds', 1);
    own.bannedIds = allIds(given.value(0), given.name(0), valid);
  }
  return own;
}

/** Both hold: biases are added, bans are of either, and what may be drawn is allowed by each. */
export function withMoreIds(own: OwnIds, options: NextOptions, vocabulary: number, valid: number): OwnIds {
  const more = ownIds(options, vocabulary, valid);
  if (own.logitBias && more.logitBias) addBiases(more.logitBias, own.logitBias, 'logitBias', valid);
  return {
    logitBias: more.logitBias ?? own.logitBias,
    bannedIds:
      own.bannedIds && more.bannedIds
        ? joined(own.bannedIds, more.bannedIds)
        : (more.bannedIds ?? own.bannedIds),
    allowedIds: undefined,
    allowedMask:
      own.allowedMask && more.allowedMask
        ? own.allowedMask.map((word, i) => word & more.allowedMask![i])
        : (more.allowedMask ?? own.allowedMask),
  };
}

function addBiases(to: Map<number, number>, biases: unknown, name: string, valid: number): void {
  readBiases(biases, name, valid, (id, bias) => to.set(id, (to.get(id) ?? 0) + bias));
}

function joined(a: Uint32Array, b: Uint32Array): Uint32Array {
  const both = newWords(a.length + b.length, 'bannedIds');
  both.set(a);
  both.set(b, a.length);
  return both;
}
