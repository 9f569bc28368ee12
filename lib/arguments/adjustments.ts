/** What is said of single ids, made the tables that a pass takes. */
import type { Adjustments } from '../backend/backend';
import type { SampleOptions } from '../types';
import { maskTable } from './allowed';
import { rowBiases } from './biases';
import { historyTables } from './history';
import { allIds } from './ids';
import { reading } from './reading';

/** Options that are about single ids. */
const OF_IDS = [
  'logitBias',
  'bannedIds',
  'history',
  'promptLength',
  'minLength',
  'eosIds',
  'beginSuppressIds',
  'bannedSequences',
  'biasedSequences',
  'repetitionPenalty',
  'frequencyPenalty',
  'presencePenalty',
  'penaltyWindow',
  'dryMultiplier',
  'dryBase',
  'dryAllowedLength',
  'dryWindow',
  'dryBreakers',
  'noRepeatNgramSize',
  'length',
] as const;

/**
 * What the options say about single ids; undefined where they say nothing.
 * @param vocabulary V, that of masks
 * @param valid ids from here on are padding
 * @param draft where rows are those of a draft: its ids. A history and a length that are one for all rows are then those of the
 *   first row, and each other row has the draft's ids before it, too.
 */
export function adjustmentsOf(
  options: SampleOptions | undefined,
  n: number,
  vocabulary: number,
  valid: number,
  draft?: Uint32Array,
): Adjustments | undefined {
  if (options === undefined) return undefined;
  const ofIds = OF_IDS.some(name => options[name] !== undefined);
  const { allowedIds, allowedMask, xtcProtectedIds } = options;
  const isAny = ofIds || [allowedIds, allowedMask, xtcProtectedIds].some(ids => ids !== undefined);
  if (!isAny) return undefined;
  return reading('options', () => {
    const biases = ofIds ? rowBiases(options, n, valid) : undefined;
    return {
      biases: biases?.tables,
      ...(biases && historyTables(options, n, valid, biases, draft)),
      ...maskTable(options, n, vocabulary, valid),
      xtcProtected:
        xtcProtectedIds === undefined ? undefined : allIds(xtcProtectedIds, 'xtcProtectedIds', valid).sort(),
    };
  });
}
