import { expect, it } from 'vitest';
import { philox4x32, tokenBits } from '../../lib/reference/philox';

it.each([
  // Known answers of philox4x32-10 from Random123 1.14.
  [
    [0, 0, 0, 0],
    [0, 0],
    [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
  ],
  [
    [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    [0xffffffff, 0xffffffff],
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  ],
  [
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    [0xa4093822, 0x299f31d0],
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  ],
] as [[number, number, number, number], [number, number], number[]][])(
  'philox4x32-10 of %j',
  (counter, key, expected) => {
    expect(philox4x32(counter, key)).toEqual(expected);
  },
);

it('gives two neighboring ids the two halves of one block', () => {
  const stream = { seedLow: 1, seedHigh: 2, step: 3, number: 4, firstId: 0 };
  const block = philox4x32([5, 3, 0, 4], [1, 2]);
  expect([...tokenBits(stream, 10), ...tokenBits(stream, 11)]).toEqual(block);
});
