/** How a row of weights is stored, by dtype: the counterpart of native/core/matrix.h. docs/quantization.md has the bits. */
import { LMHeadError } from '../errors';
import type { Dtype, FloatDtype, QuantizedDtype } from '../types';

/** `header` bytes, then blocks of `numbers` numbers in `bytes` bytes. */
export interface RowFormat {
  numbers: number;
  bytes: number;
  header: number;
}

const block = (numbers: number, bytes: number, header = 0): RowFormat => ({ numbers, bytes, header });

/** In the order of native/core/matrix.h. */
export const ROW_FORMATS: Record<Dtype, RowFormat> = {
  f32: block(1, 4),
  f16: block(1, 2),
  bf16: block(1, 2),
  q8_0: block(32, 34),
  q6_k: block(256, 210),
  q5_k: block(256, 176),
  q4_k: block(256, 144),
  q4_0: block(32, 18),
  q4_1: block(32, 20),
  q5_0: block(32, 22),
  q5_1: block(32, 24),
  iq4_nl: block(32, 18),
  i8: block(1, 1, 4),
};

export const QUANTIZED_DTYPES = (Object.keys(ROW_FORMATS) as Dtype[]).filter(
  (dtype): dtype is QuantizedDtype => !isFloat(dtype),
);

export function isFloat(dtype: Dtype): dtype is FloatDtype {
  return dtype === 'f32' || dtype === 'f16' || dtype === 'bf16';
}

/** Bytes of a row of d elements, d a multiple of the block's. `rowNumbers` is its inverse. */
export function rowBytes(dtype: Dtype, d: number): number {
  const { numbers, bytes, header } = ROW_FORMATS[dtype];
  return header + (d / numbers) * bytes;
}

/** Numbers in a row of so many bytes; no integer above 0 where no row has as many. */
export function rowNumbers(dtype: Dtype, rowBytes: number): number {
  const { numbers, bytes, header } = ROW_FORMATS[dtype];
  return (Math.max(0, rowBytes - header) / bytes) * numbers;
}

/**
 * Refuses rows that are no integral number of blocks.
 * @param name of the matrix, for the message
 * @throws LMHeadError SHAPE
 */
export function requireWholeBlocks(dtype: Dtype, d: number, name: string): void {
  const { numbers } = ROW_FORMATS[dtype];
  if (d % numbers === 0) return;
  throw new LMHeadError(
    'SHAPE',
    `${name}: got rows of ${d} numbers in ${dtype}; want a multiple of ${numbers}, its block`,
  );
}
