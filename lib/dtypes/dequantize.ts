/**
 * What quantized weights stand for: plain loops, the definition that the native kernels are held against. The values are
 * those of ggml's `dequantize_row_*` (ggml-quants.c), rounded to float32 once. docs/quantization.md has a table.
 */

import type { Dtype } from '../types';
import { floats, halfToNumber, unpack } from './half';
import {
  type BlockDtype,
  type GroupedDtype,
  type Groups,
  isFloat,
  ROW_FORMATS,
  rowBytes,
  sideBytes,
} from './row-format';

/** The sixteen values of IQ4_NL and IQ4_XS: finer near zero. */
const NON_LINEAR = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/** Twice the values of E2M1, by their codes. */
const TWICE_E2M1 = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/** Bytes of one block, from `at` on, and where its values go. */
interface BlockJob {
  bytes: DataView;
  at: number;
  out: Float32Array;
  /** Index in `out` of the block's first element. */
  to: number;
}

const half = (view: DataView, at: number) => halfToNumber(view.getUint16(at, true));

/** The i-th of 32 weights of four bits: sixteen low halves, then the sixteen high halves. */
function fourBits(view: DataView, at: number, i: number): number {
  return i < 16 ? view.getUint8(at + i) & 15 : view.getUint8(at + i - 16) >> 4;
}

/** The i-th of 32 weights of five bits: the highest bits are one word of their own. */
function fiveBits(view: DataView, fifth: number, at: number, i: number): number {
  return fourBits(view, at, i) | (((view.getUint32(fifth, true) >>> i) & 1) << 4);
}

/** The j-th 6-bit scale and minimum of eight each, in twelve bytes. */
function scaleAndMinimum(view: DataView, at: number, j: number): [number, number] {
  const byte = (i: number) => view.getUint8(at + i);
  if (j < 4) return [byte(j) & 63, byte(j + 4) & 63];
  return [(byte(j + 4) & 15) | ((byte(j - 4) >> 6) << 4), (byte(j + 4) >> 4) | ((byte(j) >> 6) << 4)];
}

/** The i-th of 256 weights of four bits: 32 low halves, then the same bytes' high halves, four times. */
function fourBitsOf256(view: DataView, at: number, i: number): number {
  const byte = view.getUint8(at + (i >> 6) * 32 + (i & 31));
  return i & 32 ? byte >> 4 : byte & 15;
}

/** The i-th of 256 values of two bits: of 32 bytes the lowest bits, then the next ones, 128 values at a time. */
function twoBitsOf256(view: DataView, at: number, i: number): number {
  return (view.getUint8(at + (i >> 7) * 32 + (i & 31)) >> (((i >> 5) & 3) * 2)) & 3;
}

/** The j-th of Q3_K's sixteen 6-bit scales, in twelve bytes. */
function sixBitsOf16(view: DataView, at: number, j: number): number {
  const low = j < 8 ? view.getUint8(at + j) & 15 : view.getUint8(at + j - 8) >> 4;
  return low | (((view.getUint8(at + 8 + (j & 3)) >> ((j >> 2) * 2)) & 3) << 4);
}

const readers: Record<Exclude<BlockDtype, 'i8'>, (job: BlockJob) => void> = {
  q8_0({ bytes, at, out, to }) {
    const d = half(bytes, at);
    for (let i = 0; i < 32; i++) out[to + i] = d * bytes.getInt8(at + 2 + i);
  },
  q4_0({ bytes, at, out, to }) {
    const d = half(bytes, at);
    for (let i = 0; i < 32; i++) out[to + i] = d * (fourBits(bytes, at + 2, i) - 8);
  },
  q4_1({ bytes, at, out, to }) {
    const [d, m] = [half(bytes, at), half(bytes, at + 2)];
    for (let i = 0; i < 32; i++) out[to + i] = d * fourBits(bytes, at + 4, i) + m;
  },
  q5_0({ bytes, at, out, to }) {
    const d = half(bytes, at);
    for (let i = 0; i < 32; i++) out[to + i] = d * (fiveBits(bytes, at + 2, at + 6, i) - 16);
  },
  q5_1({ bytes, at, out, to }) {
    const [d, m] = [half(bytes, at), half(bytes, at + 2)];
    for (let i = 0; i < 32; i++) out[to + i] = d * fiveBits(bytes, at + 4, at + 8, i) + m;
  },
  iq4_nl({ bytes, at, out, to }) {
    const d = half(bytes, at);
    for (let i = 0; i < 32; i++) out[to + i] = d * NON_LINEAR[fourBits(bytes, at + 2, i)];
  },
  iq4_xs({ bytes, at, out, to }) {
    const d = half(bytes, at);
    const high = bytes.getUint16(at + 2, true);
    for (let i = 0; i < 256; i++) {
      const part = i >> 5;
      const low = (bytes.getUint8(at + 4 + (part >> 1)) >> ((part & 1) * 4)) & 15;
      const scale = d * ((low | (((high >> (part * 2)) & 3) << 4)) - 32);
      out[to + i] = scale * NON_LINEAR[fourBits(bytes, at + 8 + part * 16, i & 31)];
    }
  },
  mxfp4({ bytes, at, out, to }) {
    const d = 2 ** (bytes.getUint8(at) - 128);
    for (let i = 0; i < 32; i++) out[to + i] = d * TWICE_E2M1[fourBits(bytes, at + 1, i)];
  },
  q2_k({ bytes, at, out, to }) {
    const [d, dMinimum] = [half(bytes, at + 80), half(bytes, at + 82)];
    for (let i = 0; i < 256; i++) {
      const both = bytes.getUint8(at + (i >> 4));
      out[to + i] = d * (both & 15) * twoBitsOf256(bytes, at + 16, i) - dMinimum * (both >> 4);
    }
  },
  q3_k({ bytes, at, out, to }) {
    const d = half(bytes, at + 108);
    for (let i = 0; i < 256; i++) {
      const third = (bytes.getUint8(at + (i & 31)) >> (i >> 5)) & 1;
      const q = twoBitsOf256(bytes, at + 32, i) - (third ? 0 : 4);
      out[to + i] = d * (sixBitsOf16(bytes, at + 96, i >> 4) - 32) * q;
    }
  },
  q4_k({ bytes, at, out, to }) {
    const [d, dMinimum] = [half(bytes, at), half(bytes, at + 2)];
    for (let i = 0; i < 256; i++) {
      const [scale, minimum] = scaleAndMinimum(bytes, at + 4, i >> 5);
      out[to + i] = d * scale * fourBitsOf256(bytes, at + 16, i) - dMinimum * minimum;
    }
  },
  q5_k({ bytes, at, out, to }) {
    const [d, dMinimum] = [half(bytes, at), half(bytes, at + 2)];
    for (let i = 0; i < 256; i++) {
      const [scale, minimum] = scaleAndMinimum(bytes, at + 4, i >> 5);
      const fifth = (bytes.getUint8(at + 16 + (i & 31)) >> (i >> 5)) & 1;
      out[to + i] = d * scale * (fourBitsOf256(bytes, at + 48, i) | (fifth << 4)) - dMinimum * minimum;
    }
  },
  q6_k({ bytes, at, out, to }) {
    const d = half(bytes, at + 208);
    for (let i = 0; i < 256; i++) {
      // 128 weights at a time: 64 low halves, 64 high halves; and two more bits for each 32 of them in 32 bytes.
      const [part, j] = [i >> 7, i & 127];
      const low = bytes.getUint8(at + part * 64 + (j & 63));
      const high = bytes.getUint8(at + 128 + part * 32 + (j & 31)) >> ((j >> 5) * 2);
      const q = (j < 64 ? low & 15 : low >> 4) | ((high & 3) << 4);
      const scale = d * bytes.getInt8(at + 192 + (i >> 4));
      out[to + i] = scale * (q - 32);
    }
  },
};

/**
 * @param bytes rows of d elements each, as they are stored
 * @param d a multiple of the block's weights
 * @returns [rows, d]
 */
export function dequantize(bytes: Uint8Array, dtype: BlockDtype, d: number): Float32Array {
  const { elements, bytes: blockBytes, header } = ROW_FORMATS[dtype];
  const stride = rowBytes(dtype, d);
  const rows = bytes.length / stride;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out = new Float32Array(rows * d);
  for (let row = 0; row < rows; row++) {
    const start = row * stride;
    if (dtype === 'i8') {
      const scale = view.getFloat32(start, true);
      for (let k = 0; k < d; k++) out[row * d + k] = scale * view.getInt8(start + header + k);
    } else {
      for (let k = 0; k < d; k += elements) {
        readers[dtype]({ bytes: view, at: start + (k / elements) * blockBytes, out, to: row * d + k });
      }
    }
  }
  return out;
}

/** Where the values of a block begin that are multiplied by a scale, and have a minimum added. */
const NUMBERS_AFTER: Partial<Record<Dtype, number>> = { q5_k: 16, q4_k: 16, q4_1: 4, q5_1: 4 };

/**
 * For each weight the minimum that is added to its integer times its scale. Empty where the dtype has none.
 * @param bytes as `dequantize` takes them; become those of rows whose values are 0
 * @returns [rows, d]
 */
export function minimaOf(bytes: Uint8Array, dtype: Dtype, d: number): Float32Array {
  const begin = NUMBERS_AFTER[dtype];
  if (begin === undefined) return new Float32Array(0);
  const size = ROW_FORMATS[dtype].bytes;
  for (let at = 0; at < bytes.length; at += size) bytes.fill(0, at + begin, at + size);
  return dequantize(bytes, dtype as BlockDtype, d);
}

/**
 * @param bytes rows, then the scales of all groups, then their biases
 * @returns [rows, d]
 */
export function dequantizeGrouped(
  bytes: Uint8Array,
  dtype: GroupedDtype,
  rows: number,
  d: number,
  groups: Groups,
): Float32Array {
  const out = new Float32Array(rows * d);
  const side = sideBytes(rows, d, groups);
  const scalesAt = rows * rowBytes(dtype, d);
  // A copy, as the view may begin anywhere.
  const sides = new Uint16Array(bytes.slice(scalesAt, scalesAt + 2 * side).buffer);
  const values = unpack(sides, groups.dtype);
  const count = values.length / 2;
  for (let i = 0; i < out.length; i++) {
    const q = dtype === 'mlx8' ? bytes[i] : (bytes[i >> 1] >> ((i & 1) * 4)) & 15;
    const group = Math.floor(i / groups.size);
    out[i] = values[group] * q + values[count + group];
  }
  return out;
}

/**
 * Weights of any dtype as float32; float32 itself is not copied.
 * @param data rows of d elements each; bytes where they are quantized, by blocks
 */
export function unpackedRows(
  data: Float32Array | Uint16Array | Uint8Array,
  dtype: Dtype,
  d: number,
): Float32Array {
  return isFloat(dtype)
    ? floats(data as Float32Array | Uint16Array, dtype)
    : dequantize(data as Uint8Array, dtype as BlockDtype, d);
}
