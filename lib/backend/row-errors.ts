/** Errors of rows from which no token can be chosen. */
import { LMHeadError } from '../errors';

/** What a row is called: its index, as a rule. */
export type RowName = number | string;

export function nameOf(job: { rowName?: (row: number) => RowName } | undefined, row: number): RowName {
  return job?.rowName?.(row) ?? row;
}

/** What errors call an id: of a shard of the vocabulary, as it is in the whole. */
export function idOf(job: { partial?: { firstId: number } } | undefined, id: number): number {
  return id + (job?.partial?.firstId ?? 0);
}

/** A logit of the row is NaN. */
export function nanError(row: RowName, id: number): LMHeadError {
  return new LMHeadError(
    'NAN',
    `logits: got NaN in row ${row} at id ${id}; want no NaN where a token is to be chosen`,
  );
}

/** The row's probabilities are NaN: a logit is +Infinity (at `id`), or all of them are -Infinity. */
export function unnormalizedError(row: RowName, id: number | undefined): LMHeadError {
  const what = id === undefined ? `only -Infinity in row ${row}` : `+Infinity in row ${row} at id ${id}`;
  return new LMHeadError('NAN', `logits: got ${what}; want a finite maximum where a token is to be drawn`);
}

/** The row's adjustments leave no id that may be drawn. */
export function nothingLeftError(row: RowName): LMHeadError {
  return new LMHeadError(
    'RANGE',
    `allowedIds, allowedMask: got no id that may be drawn in row ${row}; want one at least that bannedIds, logitBias, eosIds and noRepeatNgramSize do not exclude`,
  );
}
