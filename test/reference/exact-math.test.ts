import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expNegative, exponential, gumbelKey, logPositive } from '../../lib/reference/exact-math';

/** Spacing of float64 numbers at x. */
const ulp = (x: number) => 2 ** (Math.max(Math.floor(Math.log2(Math.abs(x))), -1022) - 52);

// Math.exp and Math.log of V8 (fdlibm's) are within 1 ULP; so 3 ULP from them leaves 2 for us.
describe('exp and log out of +, −, ×, ÷', () => {
  it('expNegative is e^x', () => {
    fc.assert(
      fc.property(fc.double({ min: -708, max: 0, noNaN: true }), x => {
        expect(Math.abs(expNegative(x) - Math.exp(x))).toBeLessThanOrEqual(3 * ulp(Math.exp(x)));
      }),
    );
    expect(expNegative(0)).toBe(1);
    expect(expNegative(-Infinity)).toBe(0);
    expect(expNegative(-708.1)).toBe(0);
    expect(expNegative(NaN)).toBeNaN();
  });

  it('logPositive is log x', () => {
    const positive = fc.double({ min: 2 ** -1022, max: Number.MAX_VALUE, noNaN: true });
    const nearOne = fc.double({ min: 0.5, max: 2, noNaN: true });
    fc.assert(
      fc.property(fc.oneof(positive, nearOne), x => {
        const expected = Math.log(x);
        expect(Math.abs(logPositive(x) - expected)).toBeLessThanOrEqual(3 * ulp(expected || 2 ** -53));
      }),
    );
    expect(logPositive(1)).toBe(0);
  });
});

describe('exponential variates', () => {
  const word = fc.integer({ min: 0, max: 0xffffffff });

  it('are −log(1 − U), with their precision kept at both ends', () => {
    fc.assert(
      fc.property(word, word, (high, low) => {
        const complement = (0xffffffff - high) * 2 ** -32 + (0xffffffff - low + 0.5) * 2 ** -64;
        const u = high * 2 ** -32 + (low + 0.5) * 2 ** -64;
        const expected = u < 0.25 ? -Math.log1p(-u) : -Math.log(complement);
        expect(Math.abs(exponential(high, low) - expected)).toBeLessThanOrEqual(4 * ulp(expected));
      }),
    );
    expect(exponential(0, 0)).toBe(2 ** -65);
    expect(exponential(0xffffffff, 0xffffffff)).toBeCloseTo(65 * Math.LN2, 12);
  });

  it('never fall as U grows, across the point where the formula changes', () => {
    const points: [number, number][] = [
      [0, 0],
      [0, 1],
      [1, 0],
      [0x3fffffff, 0xffffffff],
      [0x40000000, 0],
      [0xfffffffe, 9],
    ];
    for (let i = 1; i < points.length; i++) {
      expect(exponential(...points[i])).toBeGreaterThanOrEqual(exponential(...points[i - 1]));
    }
  });

  it('the key adds Gumbel noise: −log E', () => {
    expect(gumbelKey(1.5, 0x80000000, 0)).toBeCloseTo(1.5 - Math.log(Math.LN2), 8);
  });
});
