/** Memory: flat over many calls and many heads, reported to V8, and small at its peak. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { backends } from '../support/backends';
import { describeFlatMemory, lines, MB } from './flat';

const TIMEOUT = 240_000;

describeFlatMemory(10_000, 1000, TIMEOUT);

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
      const held = lines<{ name: string; held: number }>('peak.mjs', TIMEOUT, 4096, 128_256);
      expect(held.length).toBe(5);
      for (const { name, held: bytes } of held) expect(bytes, name).toBeLessThan(64 * MB);
    },
    TIMEOUT,
  );
});
