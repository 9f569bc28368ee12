/**
 * Philox4x32-10, a counter-based random number generator: any number of the stream can be made without those before it, so
 * that a draw depends neither on who makes it nor on when.
 *
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
 */

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;
const ROUNDS = 10;

/** Third word of the counter: what a number is for. As in native/core/numerics/philox.h. */
export const Purpose = { token: 0, xtc: 1, draftCoin: 2, draftCorrection: 3 } as const;

/** Upper 32 bits of a·b, for unsigned 32-bit a and b. */
function multiplyHigh(a: number, b: number): number {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const low = a0 * b0;
  const middle = a1 * b0 + (low >>> 16); // below 2^33
  const other = a0 * b1 + (middle % 65536);
  return (a1 * b1 + Math.floor(middle / 65536) + Math.floor(other / 65536)) >>> 0;
}

/** Encrypts a counter of four words with a key of two. */
export function philox4x32(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low0 = Math.imul(MULTIPLIER_0, c0);
    const low1 = Math.imul(MULTIPLIER_1, c2);
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1 >>> 0;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0 >>> 0;
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** The random stream of one row. */
export interface Stream {
  seedLow: number;
  seedHigh: number;
  step: number;
  /** Fourth word of the counter: streams of different numbers share nothing at any step. */
  number: number;
  /** Of a shard of the vocabulary, whose ids count from here. */
  firstId: number;
}

/** The 64 random bits of one id, as two words. One block of Philox serves two neighboring ids. */
export function tokenBits(
  { seedLow, seedHigh, step, number, firstId }: Stream,
  localIndex: number,
  purpose: number = Purpose.token,
): [high: number, low: number] {
  const id = localIndex + firstId;
  const block = philox4x32([id >>> 1, step, purpose, number], [seedLow, seedHigh]);
  return id & 1 ? [block[2], block[3]] : [block[0], block[1]];
}

/** A number from 0 up to 1, of 53 bits: whether XTC cuts this row. */
export function xtcUniform({ seedLow, seedHigh, step, number }: Stream): number {
  const [high, low] = philox4x32([0, step, Purpose.xtc, number], [seedLow, seedHigh]);
  return (high * 2 ** 21 + (low >>> 11)) * 2 ** -53;
}
