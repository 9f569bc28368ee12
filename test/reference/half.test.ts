import { describe, expect, it } from 'vitest';
import { unpack } from '../../lib/dtypes/half';
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
});
