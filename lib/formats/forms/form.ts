/** A matrix that is stored as more than one tensor, or as values that stand for others: what it takes to make it one of f32. */
import { floats } from '../../dtypes/half';
import type { GroupedDtype, Groups } from '../../dtypes/row-format';
import { LMHeadError } from '../../errors';
import type { QuantizationFacts } from '../model-facts';
import type { Plan } from '../read-plan';
import { shapeText, type TensorEntry } from '../tensor-table';
import { SMALL_FLOATS } from './small-floats';

/** A tensor of a module. */
export interface Part {
  name: string;
  entry: TensorEntry;
}
/** A module's tensors by what of it they are: 'weight', 'scales'… */
export type Leaves = ReadonlyMap<string, Part>;

/** What decides where shapes alone do not. */
export interface FormContext {
  /** The file's name, for messages. */
  file: string;
  /** The module's whole name. */
  module: string;
  quantization?: QuantizationFacts;
  hiddenSize?: number;
}

/** Bytes [offset, offset + length) of a tensor, in memory of their own. */
export type ReadPart = (part: Part, offset: number, length: number) => Plan<Uint8Array<ArrayBuffer>>;

export interface MatrixForm {
  /** For people. */
  label: string;
  rows: number;
  columns: number;
  /** All tensors that it is made of. */
  parts: readonly Part[];
  /** A quantized one: rows as that dtype has them. */
  dtype: 'f32' | 'bf16' | 'i8' | 'q4_0' | 'q4_1' | 'q8_0';
  /** Where a pass can read it as it is: rows, scales and biases are the parts, in this order. */
  inPlace?: { dtype: GroupedDtype; groups: Groups };
  /** Is one of its scales, where these are no parts, infinite? */
  infinite?: boolean;
  /** Writes all of it, row by row: [rows, columns] of floats, or bytes of quantized rows. */
  fill(read: ReadPart, out: Float32Array | Uint16Array | Uint8Array): Plan<void>;
}

export function wrongShape(
  { file }: FormContext,
  { name, entry }: Part,
  form: string,
  wanted: string,
): LMHeadError {
  return new LMHeadError(
    'SHAPE',
    `tensor: ${name} in ${file} is ${entry.dtype} ${shapeText(entry.shape)}, which does not go with ${form}; want ${wanted}`,
  );
}

/** How many bytes are read at a time. */
const AT_ONCE = 2 ** 22;

/** Ranges of rows that come to so many bytes each. */
export function* rowRanges(rows: number, bytesOfRow: number): Generator<[first: number, count: number]> {
  const each = Math.max(1, Math.floor(AT_ONCE / Math.max(1, bytesOfRow)));
  for (let first = 0; first < rows; first += each) yield [first, Math.min(each, rows - first)];
}

/** Elements in a byte, or bytes of an element. */
const BYTES = new Map([
  ['F64', 8],
  ['F32', 4],
  ['F16', 2],
  ['BF16', 2],
  ['F8_E8M0', 1],
  ['F8_E4M3', 1],
]);

/** Can scales be of that type? */
export function isScale({ entry }: Part): boolean {
  return BYTES.has(entry.dtype);
}

/** Numbers [first, first + count) of a tensor of scales, exactly. */
export function* readScales(
  read: ReadPart,
  part: Part,
  first: number,
  count: number,
): Plan<Float32Array | Float64Array> {
  const { dtype } = part.entry;
  const size = BYTES.get(dtype)!;
  const bytes = yield* read(part, first * size, count * size);
  const table = SMALL_FLOATS.get(dtype);
  if (table) return Float32Array.from(bytes, byte => table[byte]);
  if (dtype === 'F64') return new Float64Array(bytes.buffer);
  if (dtype === 'F32') return new Float32Array(bytes.buffer);
  return floats(new Uint16Array(bytes.buffer), dtype === 'F16' ? 'f16' : 'bf16');
}

/** Bits of an infinity, without its sign. */
const INFINITIES: Record<
  string,
  [list: typeof Uint8Array | typeof Uint16Array | typeof Uint32Array, bits: number]
> = {
  F8_E5M2: [Uint8Array, 0x7c],
  F16: [Uint16Array, 0x7c00],
  BF16: [Uint16Array, 0x7f80],
  F32: [Uint32Array, 0x7f800000],
};

/** Is a value that it is made of infinite as it is stored? */
export function* storesInfinity({ parts, infinite }: MatrixForm, read: ReadPart): Plan<boolean> {
  if (infinite) return true;
  for (const part of parts) {
    const { dtype, begin, end } = part.entry;
    for (let at = 0; at < end - begin && (dtype === 'F64' || dtype in INFINITIES); at += AT_ONCE) {
      const { buffer } = yield* read(part, at, Math.min(AT_ONCE, end - begin - at));
      if (dtype === 'F64') {
        if (new Float64Array(buffer).some(x => Math.abs(x) === Infinity)) return true;
        continue;
      }
      const [List, bits] = INFINITIES[dtype];
      const unsigned = 2 ** (8 * List.BYTES_PER_ELEMENT - 1) - 1;
      if (new List(buffer).some((word: number) => (word & unsigned) === bits)) return true;
    }
  }
  return false;
}

/** All of a tensor's 32-bit words. */
export function* readWords(read: ReadPart, part: Part): Plan<Uint32Array> {
  const { begin, end } = part.entry;
  return new Uint32Array((yield* read(part, 0, end - begin)).buffer);
}

/** Integers of `bits` bits, one after another from the lowest bit of the first byte on. */
export function unpackBits(
  bytes: Uint8Array,
  from: number,
  bits: number,
  count: number,
  out: Uint8Array,
): void {
  const mask = (1 << bits) - 1;
  let at = from;
  let held = 0;
  let have = 0;
  for (let i = 0; i < count; i++) {
    if (have < bits) {
      held |= bytes[at++] << have;
      have += 8;
    }
    out[i] = held & mask;
    held >>>= bits;
    have -= bits;
  }
}
