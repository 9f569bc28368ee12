import { type BlockDtype, ROW_FORMATS, rowBytes } from '../../lib/dtypes/row-format';

import { narrow } from './half';
import { someNumbers } from './numbers';

export const QUANTIZED: BlockDtype[] = [
  'q8_0',
  'q6_k',
  'q5_k',
  'q4_k',
  'q4_0',
  'q4_1',
  'q5_0',
  'q5_1',
  'iq4_nl',
  'i8',
  'q2_k',
  'q3_k',
  'iq4_xs',
  'mxfp4',
];

/** Where in a block its scale lies, and its second one. */
const SCALES: Record<BlockDtype, number[]> = {
  q8_0: [0],
  q6_k: [208],
  q5_k: [0, 2],
  q4_k: [0, 2],
  q4_0: [0],
  q4_1: [0, 2],
  q5_0: [0],
  q5_1: [0, 2],
  iq4_nl: [0],
  i8: [],
  q2_k: [80, 82],
  q3_k: [108],
  iq4_xs: [0],
  mxfp4: [],
};

/** Rows of any bits, as every block is a valid one; only the scales are those of numbers near 1, of either sign. */
export function someQuantized(dtype: BlockDtype, rows: number, d: number, seed = 1): Uint8Array {
  const bytes = Uint8Array.from(someNumbers(rows * rowBytes(dtype, d), seed), x => (x + 1) * 128);
  const view = new DataView(bytes.buffer);
  const { bytes: blockBytes } = ROW_FORMATS[dtype];
  const sizes = someNumbers(bytes.length, seed + 1);
  const halves = narrow(
    sizes.map(x => x / 64 + Math.sign(x) / 128),
    'f16',
  );
  if (dtype === 'i8') {
    for (let row = 0; row < rows; row++) {
      view.setFloat32(row * (d + 4), sizes[row] / 64, true);
      bytes[row * (d + 4)] = 0; // sixteen bits of a scale
    }
    return bytes;
  }
  for (let at = 0; at < bytes.length; at += blockBytes) {
    if (dtype === 'mxfp4') bytes[at] = 118 + (bytes[at] & 7);
    for (const offset of SCALES[dtype]) view.setUint16(at + offset, halves[at + offset], true);
  }
  return bytes;
}

/** A row length that the dtype can have, near the wanted one. */
export function validWidth(dtype: BlockDtype, wanted: number): number {
  const { elements } = ROW_FORMATS[dtype];
  return Math.max(1, Math.round(wanted / elements)) * elements;
}
