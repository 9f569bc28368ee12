/** Hostile arguments, in a process of their own. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'vitest';

export interface HostileCounts {
  cases: number;
  results: number;
  /** By an LMHeadError. */
  refused: number;
  /** What the arguments' own code threw. */
  own: number;
  functions: number;
}

/** So many cases; the process has to end by itself, and to have nothing to complain about. */
export function passHostileArguments(count: number, first: number): HostileCounts {
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    [join(__dirname, 'hostile.mjs'), String(count), String(first)],
    { encoding: 'utf8', maxBuffer: 2 ** 28 },
  );
  expect({ status, signal, stderr, first }).toEqual({ status: 0, signal: null, stderr: '', first });
  const counts = JSON.parse(stdout) as HostileCounts;
  expect(counts.results + counts.refused + counts.own).toBe(count);
  // Both have to be tried: what is right, and what is wrong.
  expect(counts.results).toBeGreaterThan(count / 10);
  return counts;
}
