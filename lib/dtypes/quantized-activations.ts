/**
 * Hidden states rounded as the option `activations` wants them: to integers, h′ = s·q with one scale s for a state, as
 * native/core/kernels/quantized_activations.cc does it, to the bit; or each element to bfloat16, as ProductSource::prepare does.
 */
import { LMHeadError } from '../errors';
import type { Activations, Dtype } from '../types';
import { floats, narrow } from './half';
import { ROUNDER } from './quantize';
import { QUANTIZED_DTYPES } from './row-format';

/** In the order of native/core/kernels/quantized_activations.h. */
export const ACTIVATIONS: readonly Activations[] = ['f32', 'i8', 'i16', 'bf16'];

/** Weights that native/core/kernels/generic/integer.inc has products of: integers, times scales of blocks. */
export const INTEGER_DTYPES: readonly Dtype[] = QUANTIZED_DTYPES.filter(dtype => dtype !== 'q2_k');

/** Sums of so many products fit 32 bits. */
const MOST_NUMBERS = 2 ** 17;

/** The largest q. Two int8, 255·a + b with both within ±127, make an i16. */
const MOST = { i8: 127, i16: 127 * 256 };

/**
 * s = max|h|/127 (or /32512 for i16), rounded to float32; q = h/s, rounded to the nearest integer. For bf16: each element rounded to
 * the nearest bfloat16, ties to even; above the largest of these, to an infinity.
 * @param h [n,d]
 * @returns [n,d]: s·q, exactly. A state with NaN or an infinity is NaN, one whose scale is too small for float32 is 0
 */
export function roundedActivations(h: Float32Array, d: number, kind: 'i8' | 'i16' | 'bf16'): Float64Array {
  if (kind === 'bf16') return Float64Array.from(floats(narrow(h, kind), kind));
  const rounded = new Float64Array(h.length);
  const most = MOST[kind];
  for (let first = 0; first < h.length; first += d) {
    let largest = 0;
    for (let k = first; k < first + d; k++) largest = Math.max(largest, Math.abs(h[k])); // NaN stays
    const scale = Number.isFinite(largest) ? Math.fround(largest / most) : Number.NaN;
    if (scale === 0) continue;
    for (let k = first; k < first + d; k++) {
      const q = h[k] / scale + ROUNDER - ROUNDER;
      rounded[k] = scale * Math.min(Math.max(q, -most), most);
    }
  }
  return rounded;
}

/** @throws LMHeadError DTYPE, RANGE where a head cannot compute with them */
export function requireRoundable(activations: Activations, dtype: Dtype, hiddenSize: number): void {
  if (activations === 'f32') return;
  if (activations === 'bf16') {
    if (dtype === 'bf16') return;
    throw new LMHeadError(
      'DTYPE',
      `activations: got 'bf16' for weights in ${dtype}; want weights in bf16, as only two numbers of that type are multiplied faster`,
    );
  }
  if (!INTEGER_DTYPES.includes(dtype)) {
    throw new LMHeadError(
      'DTYPE',
      `activations: got '${activations}' for weights in ${dtype}; want weights in ${INTEGER_DTYPES.join(', ')}, as head.quantize makes them`,
    );
  }
  if (hiddenSize > MOST_NUMBERS) {
    throw new LMHeadError(
      'RANGE',
      `activations: got '${activations}' for a hidden size of ${hiddenSize}; want one of at most ${MOST_NUMBERS}`,
    );
  }
}
