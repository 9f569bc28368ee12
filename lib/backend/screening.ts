/** What the copy of a head that screens did, from the native side's counts. */
import type { Screening } from '../types';

export interface NativeScreening {
  /** Bytes of the copy, and as it is saved. */
  bytes: number;
  saved: number;
  /** Calls that it answered, and those that it did not, by why. */
  passes: number;
  manyRows: number;
  backoff: number;
  states: number;
  /** Hidden states of those that it answered, rows that were left of all of them, and of one at most. */
  searchedStates: number;
  rows: number;
  most: number;
}

export function screeningOf(told: NativeScreening | undefined): Screening | undefined {
  if (!told) return undefined;
  const { bytes, passes, manyRows, backoff, states, searchedStates, rows, most } = told;
  return {
    ...{ bytes, passes, fullPasses: manyRows + backoff + states },
    fullPassesBy: { manyRows, backoff, states },
    survivors: { mean: searchedStates === 0 ? 0 : rows / searchedStates, max: most },
  };
}
