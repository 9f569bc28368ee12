/** Memory that stays flat, however often heads are called, opened and closed. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { backends } from '../support/backends';
import { packageFolder } from '../support/processes';

export const MB = 2 ** 20;

/** Runs a program of this folder; what it printed, line by line. */
export function lines<T>(program: string, timeout: number, ...programArguments: (string | number)[]): T[] {
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    ['--expose-gc', join(__dirname, program), ...programArguments.map(String)],
    { encoding: 'utf8', timeout },
  );
  expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
  return stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as T);
}

interface Growth {
  kind: string;
  /** Bytes. */
  rss: number;
  external: number;
}

function expectFlat(growth: Growth[], kinds: number): void {
  expect(growth.length).toBeGreaterThanOrEqual(kinds);
  for (const { kind, rss, external } of growth) {
    expect(rss, kind).toBeLessThan(5 * MB);
    expect(external, kind).toBeLessThan(5 * MB);
  }
}

/**
 * Tests that growth stays below 5 MB.
 * @param calls of each method
 * @param heads of each kind, opened and closed
 * @param timeout in milliseconds
 */
export function describeFlatMemory(calls: number, heads: number, timeout: number): void {
  describe.each(backends)('memory, %s', backend => {
    it(
      `is flat over ${calls} calls of each method`,
      () => expectFlat(lines<Growth>('steady.mjs', timeout, calls, backend), 18),
      timeout,
    );

    it(
      `is flat over ${heads} heads opened and closed, of each kind`,
      () => {
        const file = join(packageFolder, 'assets', 'tiny-lm.safetensors');
        expectFlat(lines<Growth>('heads.mjs', timeout, heads, backend, file), 8);
      },
      timeout,
    );
  });
}
