import { describe, expect, it } from 'vitest';
import { narrow as rounded, unpack } from '../../lib/dtypes/half';
import { narrow } from '../support/half';

describe('16-bit floating-point numbers', () => {
  it.each([
    [
      'f16',
      [0x0000, 0x8000, 0x3c00, 0xc000, 0x7bff, 0x0001, 0x03ff, 0x0400, 0x7c00, 0xfc00, 0x3555],
      [0, -0, 1, -2, 65504, 2 ** -24, 1023 * 2 ** -24, 2 ** -14, Infinity, -Infinity, 0.333251953125],
    ],
    [
      'bf16',
      [0x0000, 0x8000, 0x3f80, 0xc000, 0x7f7f, 0x0001, 0x7f80, 0xff80, 0x3eab],
      [0, -0, 1, -2, 255 * 2 ** 120, 2 ** -133, Infinity, -Infinity, 0.333984375],
    ],
  ] as ['f16' | 'bf16', number[], number[]][])('%s: known numbers', (dtype, bits, numbers) => {
    expect([...unpack(Uint16Array.from(bits), dtype)]).toEqual(numbers);
  });

  it.each(['f16', 'bf16'] as const)('%s: all 65,536 come back when narrowed', dtype => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const wide = unpack(all, dtype);
    const back = narrow(wide, dtype);
    for (let i = 0; i < 65536; i++) {
      if (Number.isNaN(wide[i]))
        expect(Number.isNaN(unpack(back.subarray(i, i + 1) as Uint16Array, dtype)[0])).toBe(true);
      else if (back[i] !== i) expect.fail(`${i} became ${back[i]}`);
    }
  });

  it.each([
    ['f16', 1 + 2 ** -11, 1],
    ['f16', 1 + 3 * 2 ** -11, 1 + 2 ** -9],
    ['f16', 1 + 2 ** -11 + 2 ** -20, 1 + 2 ** -10],
    ['f16', -65519, -65504],
    ['f16', 65520, Infinity],
    ['f16', 1e30, Infinity],
    ['f16', 2 ** -25, 0],
    ['f16', 1.5 * 2 ** -25, 2 ** -24],
    ['f16', -3 * 2 ** -25, -(2 ** -23)],
    ['f16', 2 ** -26, 0],
    ['f16', 2047.5 * 2 ** -25, 2 ** -14],
    ['bf16', 1 + 2 ** -8, 1],
    ['bf16', 1 + 3 * 2 ** -8, 1 + 2 ** -6],
    ['bf16', -(1 + 2 ** -8 + 2 ** -20), -(1 + 2 ** -7)],
    ['bf16', 3.4e38, Infinity],
  ] as ['f16' | 'bf16', number, number][])('%s: %d is rounded to %d', (dtype, from, to) => {
    const bits = rounded(Float32Array.of(from), dtype) as Uint16Array;
    expect(unpack(bits, dtype)[0]).toBe(to);
  });
});
