/** Memory: flat over many calls and many heads, and small at its peak. `npm run test:long` does it a hundred times as often. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { backends } from '../support/backends';
import { packageFolder } from '../support/processes';

const LONG = process.env.LMHEAD_TEST_LONG === '1';
const MB = 2 ** 20;
const timeout = LONG ? 4 * 3600_000 : 240_000;

/** Runs a program of this folder; what it printed, line by line. */
function lines<T>(program: string, ...programArguments: (string | number)[]): T[] {
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

describe.each(backends)('memory, %s', backend => {
  const calls = LONG ? 1_000_000 : 10_000;

  it(
    `is flat over ${calls} calls of each method`,
    () => {
      expectFlat(lines<Growth>('steady.mjs', calls, backend), 18);
    },
    timeout,
  );

  const times = LONG ? 10_000 : 1_000;

  it(
    `is flat over ${times} heads opened and closed, of each kind`,
    () => {
      const file = join(packageFolder, 'assets', 'tiny-lm.safetensors');
      expectFlat(lines<Growth>('heads.mjs', times, backend, file), 8);
    },
    timeout,
  );
});

describe.skipIf(!backends.includes('native'))('external memory', () => {
  const [vocabSize, hiddenSize] = [65536, 32];
  const bytes = vocabSize * hiddenSize * 4;
  const external = () => process.memoryUsage().external;

  it('is reported once per load, and taken back once', () => {
    const weight = new Float32Array(vocabSize * hiddenSize);
    const before = external();
    const head = LMHead.from(weight, { vocabSize, hiddenSize, backend: 'native' });
    expect(Math.abs(external() - before - bytes)).toBeLessThan(MB / 2);
    const attached = [1, 2, 3].map(() => LMHead.attach(structuredClone(head.handle)));
    expect(Math.abs(external() - before - bytes)).toBeLessThan(MB / 2);
    head.close();
    head.close();
    for (const one of attached) one.close();
    expect(Math.abs(external() - before)).toBeLessThan(MB / 2);
  });
});

describe.skipIf(process.platform !== 'linux' || !backends.includes('native'))('the peak', () => {
  it(
    'of a call over 4096 positions and 128256 ids is at most 64 MB above the weights',
    () => {
      const held = lines<{ name: string; held: number }>('peak.mjs', 4096, 128_256);
      expect(held.length).toBe(5);
      for (const { name, held: bytes } of held) expect(bytes, name).toBeLessThan(64 * MB);
    },
    timeout,
  );
});
