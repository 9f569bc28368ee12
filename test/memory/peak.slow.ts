/** Memory is small at its peak. */
import { describe, expect, it } from 'vitest';
import { backends } from '../support/backends';
import { lines, MB } from './flat';

const TIMEOUT = 240_000;

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
