/** The types that tensors' elements have, and what becomes of each: used in place, or converted to float32. */

import { unpack } from '../dtypes/half';
import { type BlockDtype, QUANTIZED_DTYPES } from '../dtypes/row-format';
import { LMHeadError } from '../errors';
import type { Dtype } from '../types';
import type { TensorEntry } from './tensor-table';

/** What a pass reads as it is; by the names that files use. */
const DTYPES = new Map<string, Dtype>([
  ['F32', 'f32'],
  ['F16', 'f16'],
  ['BF16', 'bf16'],
  ...QUANTIZED_DTYPES.map((dtype): [string, Dtype] => [quantizedName(dtype), dtype]),
]);
/** Bytes of an element, of the types that can be converted. */
const CONVERTIBLE = new Map([
  ['F64', 8],
  ['F32', 4],
  ['F16', 2],
  ['BF16', 2],
]);

/** As GGUF names it; 'I8' is what other files call plain int8, which has no scale. */
export function quantizedName(dtype: BlockDtype): string {
  return dtype === 'i8' ? 'I8_ROWS' : dtype.toUpperCase();
}

/** Can a head be made of such values? */
export function usable({ dtype }: TensorEntry): boolean {
  return DTYPES.has(dtype) || CONVERTIBLE.has(dtype);
}

/** Do they stand for real numbers at all, as GGUF's quantized and safetensors' 8-bit ones do? */
export function isReal({ dtype }: TensorEntry): boolean {
  return /^(?:B?F\d|T?I?Q\d|MXFP|NVFP)/.test(dtype);
}

/**
 * The type that a tensor's values have for a head, and whether they have to be converted to it.
 * @param what for messages: the argument and the tensor
 * @throws LMHeadError DTYPE for any other
 */
export function storedAs(entry: TensorEntry, what: string): { dtype: Dtype; converted: boolean } {
  const dtype = DTYPES.get(entry.dtype);
  if (dtype && !entry.bigEndian) return { dtype, converted: false };
  if (CONVERTIBLE.has(entry.dtype)) return { dtype: 'f32', converted: true };
  throw new LMHeadError('DTYPE', `${what} is ${entry.dtype}${adviceOn(entry.dtype)}; want one of ${READ}`);
}

/** Types as their files name them: I8_ROWS is a name of this library's own. */
const READ = [...DTYPES.keys(), 'F64'].filter(name => name !== quantizedName('i8')).join(', ');

/** What to do with GGUF's types that have no reader here. */
function adviceOn(dtype: string): string {
  if (!/^(?:T?I?Q\d|NVFP|type )/.test(dtype)) return '';
  return ", which isn't read here: llama-quantize --output-tensor-type q6_k --token-embedding-type q6_k writes a file with a head that is";
}

/** Bytes of one element of a tensor that is to be converted. */
export function bytesEach({ dtype }: TensorEntry): number {
  return CONVERTIBLE.get(dtype)!;
}

/**
 * Numbers of any convertible type as float32, each rounded once.
 * @param bytes aligned to 8; they are used up
 * @throws LMHeadError RANGE for a finite value that is too large for float32
 */
export function toFloats(
  bytes: Uint8Array<ArrayBuffer>,
  { dtype, bigEndian }: TensorEntry,
  what: string,
): Float32Array {
  const { buffer, byteOffset, byteLength } = bytes;
  if (bigEndian) {
    const swapped = Buffer.from(buffer, byteOffset, byteLength);
    if (dtype === 'F64') swapped.swap64();
    else if (dtype === 'F32') swapped.swap32();
    else swapped.swap16();
  }
  if (dtype === 'F32') return new Float32Array(buffer, byteOffset, byteLength / 4);
  if (dtype !== 'F64')
    return unpack(new Uint16Array(buffer, byteOffset, byteLength / 2), DTYPES.get(dtype) as 'f16');
  const doubles = new Float64Array(buffer, byteOffset, byteLength / 8);
  const floats = Float32Array.from(doubles);
  const lost = floats.findIndex((x, i) => Math.abs(x) === Infinity && Number.isFinite(doubles[i]));
  if (lost >= 0) {
    throw new LMHeadError('RANGE', `${what} has ${doubles[lost]}; want values that float32 can hold`);
  }
  return floats;
}
