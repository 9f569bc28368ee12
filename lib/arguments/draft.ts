/** A draft's ids and what they were drawn from, as callers pass them. */
import type { DraftJob } from '../backend/backend';
import { LMHeadError } from '../errors';
import { float32Array, lengthOf, newFloats, newWords, plainView } from './arrays';
import { got, label } from './describe';
import { idCount, tokenIds } from './ids';
import { type RowSubset, toAscending } from './row-subset';

/** A log-probability may be this far above 0, by rounding. */
const ROUNDING = 1e-3;

/**
 * @param n hidden states: one per id, and perhaps one more
 * @param view of the call: its log-probabilities are of those rows
 * @param keep whether the values are copied, as they will be read later
 */
export function draftJob(
  draftIds: unknown,
  draftLogProbs: unknown,
  n: number,
  vocabSize: number,
  view: RowSubset | undefined,
  keep: boolean,
): DraftJob {
  const count = idCount(draftIds, 'draftIds');
  if (count !== n && count !== n - 1) {
    throw new LMHeadError(
      'SHAPE',
      `draftIds: got ${count} ids for ${n} hidden states; want ${n}, or ${n - 1} with the last one for a bonus token`,
    );
  }
  const ids = tokenIds(draftIds, 'draftIds', count, vocabSize);
  return {
    ids,
    logProbs:
      draftLogProbs === undefined ? undefined : logProbRows(draftLogProbs, count, vocabSize, view, keep),
    accepted: newWords(1, 'accepted'),
    outIds: newWords(n, 'ids'),
    outLogProbs: newFloats(n, 'logProbs'),
  };
}

function logProbRows(
  value: unknown,
  count: number,
  vocabSize: number,
  view: RowSubset | undefined,
  keep: boolean,
): Float32Array {
  const given = float32Array(value, 'draftLogProbs');
  const width = view ? view.rows.length : vocabSize;
  const length = lengthOf(given);
  if (length !== count * width) {
    const what = view ? 'rows.length' : 'vocabSize';
    throw new LMHeadError(
      'SHAPE',
      `draftLogProbs: got ${length} elements; want ${count} · ${what} = ${count * width}, a row per draft id`,
    );
  }
  const rows = keep ? newFloats(length, 'draftLogProbs') : plainView(given);
  if (keep) rows.set(given);
  const i = firstAbove(rows, ROUNDING);
  if (i < rows.length) {
    throw new LMHeadError(
      'RANGE',
      `${label('draftLogProbs', i)}: got ${got(rows[i])}; want log-probabilities, none above 0`,
    );
  }
  return view?.indices ? toAscending(rows, view.indices) : rows;
}

/** The index of the first element that is above a limit, or NaN; the length where there is none. */
function firstAbove(values: Float32Array, limit: number): number {
  const n = values.length;
  let i = 0;
  // Eight at a time takes half as long, and there are V of them for every id.
  for (; i + 7 < n; i += 8) {
    const all =
      values[i] <= limit &&
      values[i + 1] <= limit &&
      values[i + 2] <= limit &&
      values[i + 3] <= limit &&
      values[i + 4] <= limit &&
      values[i + 5] <= limit &&
      values[i + 6] <= limit &&
      values[i + 7] <= limit;
    if (!all) break;
  }
  while (i < n && values[i] <= limit) i++;
  return i;
}
