import { expect } from 'vitest';

/** n numbers from [-1, 1), the same for the same seed. */
export function someNumbers(n: number, seed = 1): Float32Array {
  const numbers = new Float32Array(n);
  let state = seed >>> 0;
  for (let i = 0; i < n; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    numbers[i] = state / 2 ** 31 - 1;
  }
  return numbers;
}

/** Each of `actual` within `absolute` + `relative`·|expected| of its counterpart; infinities and NaN are met exactly. */
export function expectClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  { absolute = 0, relative = 0 }: { absolute?: number; relative?: number },
): void {
  expectSame(actual.length, expected.length, 'length');
  for (let i = 0; i < expected.length; i++) {
    const [got, wanted] = [actual[i], expected[i]];
    const near = Math.abs(got - wanted) <= absolute + relative * Math.abs(wanted);
    if (!near && !Object.is(got, wanted) && got !== wanted) {
      expect.fail(`at ${i}: got ${got}, want ${wanted} within ${absolute} + ${relative}·|${wanted}|`);
    }
  }
}

/** In loops of many thousands: an `expect` takes ten microseconds, and this none where all is well. */
export function expectSame(actual: unknown, expected: unknown, what: string, of?: number): void {
  if (!Object.is(actual, expected)) expect(actual, `${what} ${of ?? ''}`).toBe(expected);
}
