/** Memory: flat over many calls and many heads, reported to V8, and small at its peak. */
import { describe, expect, it } from 'vitest';
import { backends } from '../support/backends';
import { describeFlatMemory, lines, MB } from './flat';

const TIMEOUT = 240_000;

describeFlatMemory(10_000, 1000, TIMEOUT);

it.skipIf(!backends.includes('native'))(
  'external memory is reported once per load, and taken back once',
  () => {
    type External = Record<'bytes' | 'loaded' | 'shared' | 'closed' | 'allClosed', number>;
    const [{ bytes, loaded, shared, closed, allClosed }] = lines<External>('external.mjs', TIMEOUT);
    for (const grown of [loaded, shared]) expect(Math.abs(grown - bytes)).toBeLessThan(MB / 8);
    for (const grown of [closed, allClosed]) expect(Math.abs(grown)).toBeLessThan(MB / 8);
  },
);

it.each(backends)(
  'of calls that are aborted while they wait is free at once, %s',
  backend => {
    type Held = { waiting: boolean; grown: number; copies: number };
    const [{ waiting, grown, copies }] = lines<Held>('aborted.mjs', TIMEOUT, 2000, backend);
    expect(waiting).toBe(true);
    expect(grown).toBeLessThan(copies / 4);
  },
  TIMEOUT,
);

describe.skipIf(process.platform !== 'linux' || !backends.includes('native'))('the peak', () => {
  it(
    'of a call over 4096 positions and 128256 ids is at most 64 MB above the weights',
    () => {
      const held = lines<{ name: string; held: number }>('peak.mjs', TIMEOUT, 4096, 128_256);
      expect(held.length).toBe(5);
      for (const { name, held: bytes } of held) expect(bytes, name).toBeLessThan(64 * MB);
    },
    TIMEOUT,
  );

  it(
    'is no higher where filters keep every id, on 64 threads',
    () => {
      const held = lines<{ name: string; held: number }>('peak.mjs', TIMEOUT, 256, 131_072, 64);
      for (const { name, held: bytes } of held) expect(bytes, name).toBeLessThan(64 * MB);
    },
    TIMEOUT,
  );
});
