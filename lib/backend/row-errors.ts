/** Errors of rows from which no token can be chosen. */
import { LMHeadError } from '../errors';

/** A logit of the row is NaN. */
export function nanError(row: number, id: number): LMHeadError {
  return new LMHeadError(
    'NAN',
    `logits: got NaN in row ${row} at id ${id}; want numbers where a token is to be chosen`,
  );
}

/** The row's probabilities are NaN: a logit is +Infinity (at `id`), or all of them are -Infinity. */
export function unnormalizedError(row: number, id: number | undefined): LMHeadError {
  const what = id === undefined ? `only -Infinity in row ${row}` : `+Infinity in row ${row} at id ${id}`;
  return new LMHeadError('NAN', `logits: got ${what}; want a finite maximum where a token is to be drawn`);
}

/** The row's adjustments leave no id that may be drawn. */
export function nothingLeftError(row: number): LMHeadError {
  return new LMHeadError(
    'RANGE',
    `allowedIds, allowedMask: got no id that may be drawn in row ${row}; want one at least that bannedIds, logitBias, eosIds and noRepeatNgramSize do not exclude`,
  );
}
