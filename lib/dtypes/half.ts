/** Unpacks 16-bit floats, and narrows them again. Both kinds are subsets of float32, so this is exact. */

import { plainView } from '../arguments/arrays';

/** IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction bits. Every one of the 2^16, by its bits. */
let halves: Float32Array | undefined;

function makeHalves(): Float32Array {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31;
    const fraction = (bits & 1023) / 1024;
    const sign = bits >> 15 ? -1 : 1;
    if (exponent === 0) table[bits] = sign * fraction * 2 ** -14;
    else if (exponent < 31) table[bits] = sign * (1 + fraction) * 2 ** (exponent - 15);
    else table[bits] = fraction === 0 ? sign * Infinity : NaN;
  }
  return table;
}

/** One half, by its bits. */
export function halfToNumber(bits: number): number {
  halves ??= makeHalves();
  return halves[bits];
}

/**
 * @param bits of f16 or bf16 values
 * @returns the same values
 */
export function unpack(bits: Uint16Array, dtype: 'f16' | 'bf16'): Float32Array<ArrayBuffer> {
  const values = new Float32Array(bits.length);
  if (dtype === 'bf16') {
    // bfloat16 is the upper half of a float32.
    const words = new Uint32Array(values.buffer);
    for (let i = 0; i < bits.length; i++) words[i] = bits[i] << 16;
  } else {
    for (let i = 0; i < bits.length; i++) values[i] = halfToNumber(bits[i]);
  }
  return values;
}

/** Elements of any of the three types as float32, in a plain array; float32 itself is not copied. */
export function floats(data: Float32Array | Uint16Array, dtype: 'f32' | 'f16' | 'bf16'): Float32Array {
  const plain = plainView(data);
  return dtype === 'f32' ? (plain as Float32Array) : unpack(plain as Uint16Array, dtype);
}

/**
 * Values rounded to the nearest of the type, ties to even; so the inverse of `floats`, for values that it has given (of a NaN only
 * that it is one is kept). Above the type's largest come infinities. Float32 itself is not copied.
 */
export function narrow(values: Float32Array, dtype: 'f32' | 'f16' | 'bf16'): Float32Array | Uint16Array {
  if (dtype === 'f32') return values;
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(words, dtype === 'bf16' ? upperHalfOf : halfOf);
}

/** The bfloat16 nearest to a float32, by their bits. */
function upperHalfOf(word: number): number {
  if ((word & 0x7fffffff) > 0x7f800000) return (word >>> 16) | 0x40;
  // A carry out of the fraction adds itself to the exponent.
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}

/** The half nearest to a float32, by their bits. */
function halfOf(word: number): number {
  const sign = (word >>> 16) & 0x8000;
  const exponent = ((word >>> 23) & 255) - 127;
  const fraction = word & 0x7fffff;
  if (exponent === 128) return sign | 0x7c00 | (fraction ? 0x200 : 0);
  if (exponent > 15) return sign | 0x7c00;
  if (exponent >= -14) return sign | (((exponent + 14) << 10) + withoutBits(fraction | 0x800000, 13));
  // A subnormal half: the leading bit of the float32 is written out. Below 2^-25 there is only 0.
  return exponent < -25 ? sign : sign | withoutBits(fraction | 0x800000, -exponent - 1);
}

/** Without its last bits, rounded; ties to even. */
function withoutBits(x: number, count: number): number {
  const rest = x & (2 ** count - 1);
  const tie = 2 ** (count - 1);
  const kept = x >>> count;
  return rest > tie || (rest === tie && kept & 1) ? kept + 1 : kept;
}
