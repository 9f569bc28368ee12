import type { FloatDtype } from '../../lib/types';

/** Numbers rounded to nearest, ties to even, in a 16-bit format; float32 as they are. */
export function narrow(numbers: Float32Array, dtype: FloatDtype): Float32Array | Uint16Array {
  if (dtype === 'f32') return numbers.slice();
  return Uint16Array.from(numbers, dtype === 'bf16' ? toBfloat16 : toHalf);
}

const float = new Float32Array(1);
const word = new Uint32Array(float.buffer);

function toBfloat16(x: number): number {
  float[0] = x;
  if (Number.isNaN(x)) return 0x7fc0;
  const bits = word[0];
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

function toHalf(x: number): number {
  if (Number.isNaN(x)) return 0x7e00;
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const size = Math.abs(x);
  if (size >= 65520) return sign | 0x7c00;
  // A unit in the last place is 2^-24 below 2^-13, and doubles with each power of two above.
  const exponent = Math.max(Math.floor(Math.log2(size)), -14);
  const units = roundToEven(size / 2 ** (exponent - 10));
  // The implicit leading bit adds itself to the exponent; so does a carry out of the fraction.
  return sign | (((exponent + 14) << 10) + units);
}

function roundToEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}
