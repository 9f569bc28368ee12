import { expectClose, someNumbers } from './numbers';

/** n 16-bit numbers between 1/8 and 1 in magnitude, as bits and as what they stand for. */
export function someBits(
  n: number,
  dtype: 'f16' | 'bf16',
  seed = 1,
): { bits: Uint16Array; numbers: Float32Array } {
  const bits = new Uint16Array(n);
  const numbers = new Float32Array(n);
  const fractionBits = dtype === 'f16' ? 10 : 7;
  const bias = dtype === 'f16' ? 15 : 127;
  someNumbers(n, seed).forEach((x, i) => {
    const fraction = Math.floor(Math.abs(x) * 2 ** fractionBits);
    const power = -1 - (i % 3);
    bits[i] = ((x < 0 ? 1 : 0) << 15) | ((power + bias) << fractionBits) | fraction;
    numbers[i] = Math.sign(x) * (1 + fraction / 2 ** fractionBits) * 2 ** power;
  });
  return { bits, numbers };
}

/** hidden [n,d] times weight [V,d], in float64: [n,V]. */
export function products(hidden: ArrayLike<number>, weight: ArrayLike<number>, d: number): number[] {
  const result: number[] = [];
  for (let h = 0; h < hidden.length; h += d) {
    for (let e = 0; e < weight.length; e += d) {
      let sum = 0;
      for (let k = 0; k < d; k++) sum += hidden[h + k] * weight[e + k];
      result.push(sum);
    }
  }
  return result;
}

/** As close as float32 sums of a few products are. */
export function expectNear(actual: ArrayLike<number>, wanted: ArrayLike<number>): void {
  expectClose(actual, wanted, { absolute: 3e-6, relative: 3e-6 });
}
