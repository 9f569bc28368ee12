/** Memory that stays flat, however often heads are called, opened and closed. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
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

function expectFlat(growth: Growth[]): void {
  for (const { kind, rss, external } of growth) {
    expect(rss, kind).toBeLessThan(5 * MB);
    expect(external, kind).toBeLessThan(5 * MB);
  }
}

/** The methods of a head, but for `close`, which the heads below are for. */
function methodNames(): string[] {
  const names: string[] = [];
  for (let owner = LMHead.prototype; owner !== Object.prototype; owner = Object.getPrototypeOf(owner)) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(owner))) {
      if (value !== undefined && name !== 'constructor' && name !== 'close') names.push(name);
    }
  }
  return names;
}

/**
 * Tests that growth stays below 5 MB; skips where the backend is not there.
 * @param backend the one to test
 * @param calls of each method, and a hundredth of that of the slow ones
 * @param heads of each kind, opened and closed
 * @param timeout in milliseconds
 */
export function describeFlatMemory(
  backend: 'native' | 'reference',
  calls: number,
  heads: number,
  timeout: number,
): void {
  describe.skipIf(!backends.includes(backend))(`memory, ${backend}`, () => {
    it(
      `is flat over ${calls} calls of each method`,
      () => {
        const growth = lines<Growth>('steady.mjs', timeout, calls, backend);
        const called = growth.map(({ kind }) => kind.split('.')[0]);
        expect(called).toEqual(expect.arrayContaining(methodNames()));
        expectFlat(growth);
      },
      timeout,
    );

    it(
      `is flat over ${heads} heads opened and closed, of each kind`,
      () => {
        const file = join(packageFolder, 'assets', 'tiny-lm.safetensors');
        const growth = lines<Growth>('heads.mjs', timeout, heads, backend, file);
        expect(growth.length).toBeGreaterThanOrEqual(8);
        expectFlat(growth);
      },
      timeout,
    );
  });
}
