/**
 * Matrices in the forms that quantizers write: packed here integer by integer, as their documents say. Their weights are known in
 * float64 from the start.
 */
import { expect } from 'vitest';
import type { LMHead } from '../../lib';
import { bytesOf } from './bytes';
import type { Folder } from './folders';
import { narrow } from './half';
import { expectClose, someNumbers } from './numbers';
import { Random } from './random';
import { safetensors, type TensorSpec } from './safetensors';

/** Writes models' folders, each with tensors, config.json, and metadata. @returns a function that writes one, and returns its path */
export function modelWriter(folder: Folder) {
  let count = 0;
  return (tensors: TensorSpec[], config?: object, metadata?: Record<string, string>): string => {
    const name = `model-${count++}`;
    folder.file(`${name}/model.safetensors`, safetensors(tensors, metadata));
    if (config) folder.file(`${name}/config.json`, JSON.stringify(config));
    return folder.path(name);
  };
}

/** What a head over `weights` [V,d] in float64 says, against what the head says. */
export function expectHead(head: LMHead, weights: Float64Array, d: number): void {
  const v = weights.length / d;
  expect([head.vocabSize, head.hiddenSize]).toEqual([v, d]);
  const hidden = someNumbers(2 * d, 77);
  const logits = Array.from({ length: 2 * v }, (_, i) => {
    const [row, id] = [Math.floor(i / v), i % v];
    let dot = 0;
    for (let k = 0; k < d; k++) dot += hidden[row * d + k] * weights[id * d + k];
    return dot;
  });
  expectClose(head.logitsSync(hidden), logits, { absolute: 1e-4, relative: 1e-5 });
}

/** As `expectHead`, of a head that embeds with the same matrix. */
export function expectTied(head: LMHead, weights: Float64Array, d: number): void {
  expectHead(head, weights, d);
  expect(head.tied).toBe(true);
  const ids = Array.from({ length: weights.length / d }, (_, i) => i);
  expect([...head.embed(ids)]).toEqual([...Float32Array.from(weights)]);
}

export const codes = (n: number, bits: number, seed: number) => {
  const random = new Random(seed);
  return Array.from({ length: n }, () => random.below(2 ** bits));
};
/** Numbers of a dtype, and what they are. */
export function stored(
  dtype: 'F32' | 'F16' | 'BF16',
  n: number,
  seed: number,
): { bytes: Uint8Array; values: Float32Array } {
  const numbers = someNumbers(n, seed);
  if (dtype === 'F32') return { bytes: bytesOf(numbers), values: numbers };
  const bits = narrow(numbers, dtype.toLowerCase() as 'f16' | 'bf16') as Uint16Array;
  return { bytes: bytesOf(bits), values: unpacked(bits, dtype) };
}
export const bf16 = (numbers: number[]) =>
  Uint16Array.from(new Uint32Array(Float32Array.from(numbers).buffer), x => x >>> 16);
export function unpacked(bits: Uint16Array, dtype: 'F16' | 'BF16'): Float32Array {
  return Float32Array.from(bits, x => {
    if (dtype === 'BF16') return new Float32Array(Uint32Array.of(x << 16).buffer)[0];
    const [sign, exponent, fraction] = [x >> 15 ? -1 : 1, (x >> 10) & 31, (x & 1023) / 1024];
    return sign * (exponent === 0 ? fraction * 2 ** -14 : (1 + fraction) * 2 ** (exponent - 15));
  });
}
/** One after another, each from the lowest free bit on: as one large number. */
export function bitstream(numbers: readonly number[], bits: number): Uint8Array {
  let all = 0n;
  for (const [i, q] of numbers.entries()) all |= BigInt(q) << BigInt(i * bits);
  const bytes = new Uint8Array((numbers.length * bits) / 8);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number((all >> BigInt(8 * i)) & 255n);
  return bytes;
}
export const joined = (parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts));
export const rowsOf = <T>(list: readonly T[], width: number) =>
  Array.from({ length: list.length / width }, (_, i) => list.slice(i * width, (i + 1) * width));

export function mlx(
  module: string,
  v: number,
  d: number,
  bits: number,
  group: number,
  dtype: 'F32' | 'F16' | 'BF16' = 'BF16',
  seed = 1,
) {
  const q = codes(v * d, bits, seed);
  const scales = stored(dtype, (v * d) / group, seed + 1);
  const biases = stored(dtype, (v * d) / group, seed + 2);
  const tensors: TensorSpec[] = [
    {
      name: `${module}.weight`,
      dtype: 'U32',
      shape: [v, (d * bits) / 32],
      bytes: joined(rowsOf(q, d).map(row => bitstream(row, bits))),
    },
    { name: `${module}.scales`, dtype, shape: [v, d / group], bytes: scales.bytes },
    { name: `${module}.biases`, dtype, shape: [v, d / group], bytes: biases.bytes },
  ];
  const weights = Float64Array.from(
    q,
    (x, i) => x * scales.values[Math.floor(i / group)] + biases.values[Math.floor(i / group)],
  );
  return { tensors, weights };
}

/** By its parts: sign, four bits of exponent with bias 7, three of fraction; no infinities. */
export function e4m3(code: number): number {
  const [sign, exponent, fraction] = [code & 128 ? -1 : 1, (code >> 3) & 15, code & 7];
  if (exponent === 15 && fraction === 7) return NaN;
  return sign * (exponent === 0 ? (fraction / 8) * 2 ** -6 : (1 + fraction / 8) * 2 ** (exponent - 7));
}
export function e5m2(code: number): number {
  const [sign, exponent, fraction] = [code & 128 ? -1 : 1, (code >> 2) & 31, code & 3];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? (fraction / 4) * 2 ** -14 : (1 + fraction / 4) * 2 ** (exponent - 15));
}

/** Numbers of a column after another, into 32-bit words. */
export const word = (numbers: readonly number[], bits: number) =>
  numbers.reduce((sum, q, i) => sum + q * 2 ** (bits * i), 0);
