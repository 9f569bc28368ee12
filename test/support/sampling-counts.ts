/** What sampling is held to: its errors, its logarithms, and how many cases there were. */
import { expect } from 'vitest';
import type { NoToken } from './naive-chain';

/** What came of the cases. */
export interface Counts {
  cases: number;
  rows: number;
  candidates: number;
  /** Cases in which no token can be chosen. */
  refused: number;
  /** Rows where a decision was near its boundary, and those of them where the library made it otherwise. */
  close: number;
  otherwise: number;
}

export const noCounts = (): Counts => ({
  cases: 0,
  rows: 0,
  candidates: 0,
  refused: 0,
  close: 0,
  otherwise: 0,
});

export const CODES: Record<NoToken, string> = {
  NaN: 'ERR_LMHEAD_NAN',
  '+Infinity': 'ERR_LMHEAD_NAN',
  'nothing finite': 'ERR_LMHEAD_NAN',
  'nothing allowed': 'ERR_LMHEAD_RANGE',
};

export function expectLog(got: number, wanted: number, what: string): void {
  if (Object.is(got, Math.fround(wanted)) || Math.abs(got - wanted) <= 3e-6 * Math.abs(wanted) + 1e-9) return;
  expect.fail(`log-probability, ${what}: got ${got}, want ${wanted}`);
}
