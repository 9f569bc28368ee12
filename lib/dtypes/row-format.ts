/** How a row of weights is stored, by dtype: the counterpart of native/core/matrix.h. docs/quantization.md has the bits. */
import { LMHeadError } from '../errors';
import type { Dtype, FloatDtype, QuantizedDtype } from '../types';

/** `header` bytes, then blocks of `elements` elements in `bytes` bytes. */
export interface RowFormat {
  elements: number;
  bytes: number;
  header: number;
}

const block = (elements: number, bytes: number, header = 0): RowFormat => ({ elements, bytes, header });

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
  q2_k: block(256, 84),
  q3_k: block(256, 110),
  iq4_xs: block(256, 136),
  mxfp4: block(32, 17),
  mlx4: block(32, 16),
  mlx8: block(32, 32),
};

/** MLX's formats: for each group of a row's elements there is a scale and a bias, which lie apart from the rows. */
export type GroupedDtype = 'mlx4' | 'mlx8';
/** Those whose rows are all that there is. */
export type BlockDtype = Exclude<QuantizedDtype, GroupedDtype>;

export const QUANTIZED_DTYPES = (Object.keys(ROW_FORMATS) as Dtype[]).filter(
  (dtype): dtype is BlockDtype => !isFloat(dtype) && !isGrouped(dtype),
);

/** How a grouped matrix's scales and biases are: [rows, d / size] each. */
export interface Groups {
  /** Elements of a row that share them: 32, 64 or 128. */
  size: number;
  dtype: 'f16' | 'bf16';
}

export function isGrouped(dtype: Dtype): dtype is GroupedDtype {
  return dtype === 'mlx4' || dtype === 'mlx8';
}

/** Bytes of a matrix, with its scales and biases behind its rows if it has some. */
export function matrixBytes(dtype: Dtype, rows: number, d: number, groups?: Groups): number {
  return rows * rowBytes(dtype, d) + (groups ? 2 * sideBytes(rows, d, groups) : 0);
}

/** Of all scales, and of all biases. */
export function sideBytes(rows: number, d: number, { size }: Groups): number {
  return rows * (d / size) * 2;
}

export function isFloat(dtype: Dtype): dtype is FloatDtype {
  return dtype === 'f32' || dtype === 'f16' || dtype === 'bf16';
}

/** Bytes of a row of d elements, d a multiple of the block's. `rowElements` is its inverse. */
export function rowBytes(dtype: Dtype, d: number): number {
  const { elements, bytes, header } = ROW_FORMATS[dtype];
  return header + (d / elements) * bytes;
}

/** Elements in a row of so many bytes; no integer above 0 where no row has as many. */
export function rowElements(dtype: Dtype, rowBytes: number): number {
  const { elements, bytes, header } = ROW_FORMATS[dtype];
  return (Math.max(0, rowBytes - header) / bytes) * elements;
}

/**
 * Refuses rows that are no integral number of blocks.
 * @param name of the matrix, for the message
 * @throws LMHeadError SHAPE
 */
export function requireWholeBlocks(dtype: Dtype, d: number, name: string): void {
  const { elements } = ROW_FORMATS[dtype];
  if (d % elements === 0) return;
  throw new LMHeadError(
    'SHAPE',
    `${name}: got rows of ${d} elements in ${dtype}; want a multiple of ${elements}, its block`,
  );
}
