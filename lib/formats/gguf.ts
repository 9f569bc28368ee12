/** The header of a .gguf file: metadata, then where each tensor lies. Versions 2 and 3, little-endian. */
import { LMHeadError } from '../errors';
import { type FilePlan, MOST_HEADER_BYTES } from './read-plan';
import {
  countOf,
  LONGEST_NAME,
  MOST_KEYS,
  quoted,
  shapeText,
  type TensorEntry,
  type TensorTable,
} from './tensor-table';

/** Of an array no more than this is needed. */
export interface GgufArray {
  length: number;
  /** Of strings: how many there are up to the last that is no filler, as converters write for ids without a token: [PAD7]. */
  unpadded: number;
  /** Its strings (as bytes, which need not be UTF-8) or numbers, where the reader was asked for them. */
  strings?: Uint8Array[];
  numbers?: number[];
}
export type GgufValue = number | bigint | boolean | string | GgufArray;

export interface GgufHeader {
  tensors: TensorTable;
  metadata: Map<string, GgufValue>;
}

const MAGIC = 0x46554747; // 'GGUF'
const FIRST_READ = 1 << 16;
/** Of ggml's own. */
const LONGEST_TENSOR_NAME = 63;
const MOST_DIMENSIONS = 4;
/** All experts of a layer are one tensor: no file has as many. */
const MOST_TENSORS = 100_000;
const DEFAULT_ALIGNMENT = 32;

/** ggml's types by their codes: name, elements of a block, bytes of a block. */
const TYPES = new Map<number, readonly [name: string, elements: number, bytes: number]>([
  [0, ['F32', 1, 4]],
  [1, ['F16', 1, 2]],
  [2, ['Q4_0', 32, 18]],
  [3, ['Q4_1', 32, 20]],
  [6, ['Q5_0', 32, 22]],
  [7, ['Q5_1', 32, 24]],
  [8, ['Q8_0', 32, 34]],
  [9, ['Q8_1', 32, 36]],
  [10, ['Q2_K', 256, 84]],
  [11, ['Q3_K', 256, 110]],
  [12, ['Q4_K', 256, 144]],
  [13, ['Q5_K', 256, 176]],
  [14, ['Q6_K', 256, 210]],
  [15, ['Q8_K', 256, 292]],
  [16, ['IQ2_XXS', 256, 66]],
  [17, ['IQ2_XS', 256, 74]],
  [18, ['IQ3_XXS', 256, 98]],
  [19, ['IQ1_S', 256, 50]],
  [20, ['IQ4_NL', 32, 18]],
  [21, ['IQ3_S', 256, 110]],
  [22, ['IQ2_S', 256, 82]],
  [23, ['IQ4_XS', 256, 136]],
  [24, ['I8', 1, 1]],
  [25, ['I16', 1, 2]],
  [26, ['I32', 1, 4]],
  [27, ['I64', 1, 8]],
  [28, ['F64', 1, 8]],
  [29, ['IQ1_M', 256, 56]],
  [30, ['BF16', 1, 2]],
  // Of older versions of llama.cpp: rows of Q4_0 and IQ4_NL side by side.
  [31, ['Q4_0_4_4', 32, 18]],
  [32, ['Q4_0_4_8', 32, 18]],
  [33, ['Q4_0_8_8', 32, 18]],
  [36, ['IQ4_NL_4_4', 32, 18]],
  [37, ['IQ4_NL_4_8', 32, 18]],
  [38, ['IQ4_NL_8_8', 32, 18]],
  [34, ['TQ1_0', 256, 54]],
  [35, ['TQ2_0', 256, 66]],
  [39, ['MXFP4', 32, 17]],
  [40, ['NVFP4', 64, 36]],
  [41, ['Q1_0', 128, 18]],
  [42, ['Q2_0', 64, 18]],
]);

/** Types of metadata, by their codes: bytes, where all values have the same. */
const VALUE_BYTES = new Map([
  [0, 1], // uint8
  [1, 1], // int8
  [2, 2], // uint16
  [3, 2], // int16
  [4, 4], // uint32
  [5, 4], // int32
  [6, 4], // float32
  [7, 1], // bool
  [10, 8], // uint64
  [11, 8], // int64
  [12, 8], // float64
]);
const UINT32 = 4;
const STRING = 8;
const ARRAY = 9;

/**
 * Reads metadata and the tensors' names, types, shapes and offsets, and checks all of them against each other and the file's
 * size. Shapes are given row by row, as everywhere else: GGUF writes them the other way round.
 * @param name the file's name, for messages
 * @param wanted keys of arrays that are to be read, not only counted
 */
export function* readGguf(
  name: string,
  fileSize: number,
  wanted: readonly string[] = [],
): FilePlan<GgufHeader> {
  const longest = Math.min(fileSize, MOST_HEADER_BYTES);
  // How long the header is shows only in reading it; so what turns out too short is read again, twice as long.
  for (let length = Math.min(FIRST_READ, longest); ; length = Math.min(2 * length, longest)) {
    const cursor = new Cursor(yield { offset: 0, length }, fileSize);
    try {
      return parseHeader(cursor, wanted);
    } catch (error) {
      if (error === cursor.shortage && length < longest) continue;
      if (error === cursor.shortage) {
        const fault = fileSize > length ? `its header has more than ${length} bytes` : 'it is cut short';
        throw malformed(name, fault, error);
      }
      if (error instanceof SyntaxError) throw malformed(name, error.message, error);
      throw error;
    }
  }
}

function parseHeader(cursor: Cursor, wanted: readonly string[]): GgufHeader {
  if (cursor.uint32() !== MAGIC) throw new SyntaxError('it does not begin with GGUF');
  const version = cursor.uint32();
  if (version === 0x2000000 || version === 0x3000000) {
    throw new SyntaxError('it is big-endian, which gguf_convert_endian.py can change');
  }
  if (version !== 2 && version !== 3) {
    const older = version === 1 ? ', which the llama.cpp of that time wrote: convert the model again' : '';
    throw new SyntaxError(`its version is ${version}, not 2 or 3${older}`);
  }
  const tensorCount = cursor.count('number of tensors', 24); // a tensor's entry has at least that many bytes
  const keyCount = cursor.count('number of keys', 13);
  const metadata = new Map<string, GgufValue>();
  requireFew('keys', keyCount, MOST_KEYS);
  requireFew('tensors', tensorCount, MOST_TENSORS);
  for (let i = 0; i < keyCount; i++) readKey(cursor, metadata, wanted);
  const alignment = (metadata.get('general.alignment') as number | undefined) ?? DEFAULT_ALIGNMENT;

  const tensors: TensorTable = new Map();
  let data = 0;
  // Of a type that is not known the size isn't either: it ends where the next tensor begins.
  let unknown: TensorEntry | undefined;
  let readable = tensorCount === 0;
  for (let i = 0; i < tensorCount; i++) {
    const { name, offset, entry, known } = readTensor(cursor);
    readable ||= known;
    if (tensors.has(name)) throw new SyntaxError(`it has tensor ${quoted(name)} twice`);
    if (unknown ? offset < data || offset % alignment !== 0 : offset !== data)
      throw new SyntaxError(`tensor ${quoted(name)} is at ${offset} of the data, not at ${data}`);
    if (unknown) unknown.end = offset - unknown.begin;
    tensors.set(name, entry);
    unknown = entry.end < 0 ? entry : undefined;
    data = unknown ? offset : roundUp(offset + entry.end, alignment);
    if (data > Number.MAX_SAFE_INTEGER) throw new SyntaxError('its tensors have 2^53 bytes or more');
  }
  if (!readable) {
    const [[name, { dtype }]] = tensors;
    const fault = `tensor ${quoted(name)} is of ${dtype}`;
    throw new SyntaxError(
      `its tensors are of unknown types, or have names longer than a reader takes: ${fault}`,
    );
  }
  const start = tensorCount > 0 ? roundUp(cursor.at, alignment) : cursor.at;
  // A header alone is a file too, from which nothing but the header can be had.
  if (start + data > cursor.fileSize && cursor.fileSize > start) {
    throw new SyntaxError(
      `it has been cut short: its tensors end at byte ${start + data}, the file at ${cursor.fileSize}`,
    );
  }
  if (unknown) unknown.end = Math.max(0, cursor.fileSize - start - unknown.begin);
  for (const entry of tensors.values()) {
    entry.begin += start;
    entry.end += entry.begin;
  }
  return { tensors, metadata };
}

function requireFew(things: string, count: number, most: number): void {
  if (count > most) throw new SyntaxError(`it has ${count} ${things}, more than ${most}`);
}

function readKey(cursor: Cursor, metadata: Map<string, GgufValue>, wanted: readonly string[]): void {
  const key = cursor.string();
  if (key === '') throw new SyntaxError('it has an empty key');
  if (metadata.has(key)) throw new SyntaxError(`it has key ${quoted(key)} twice`);
  const type = cursor.uint32();
  const value = readValue(cursor, type, key, wanted.includes(key));
  if (key === 'general.alignment') {
    // One bit set: a power of two.
    if (type !== UINT32 || typeof value !== 'number' || value === 0 || (value & (value - 1)) !== 0) {
      throw new SyntaxError(`its general.alignment is no uint32 that is a power of two`);
    }
  }
  metadata.set(key, value);
}

function readValue(cursor: Cursor, type: number, key: string, wanted: boolean): GgufValue {
  if (type === STRING) return cursor.string();
  if (type !== ARRAY) {
    if (!VALUE_BYTES.has(type)) throw new SyntaxError(`key ${quoted(key)} is of the unknown type ${type}`);
    return cursor.number(type);
  }
  const elements = cursor.uint32();
  if (elements === STRING) {
    const length = cursor.count(`length of ${quoted(key)}`, 8);
    if (wanted)
      return { length, unpadded: length, strings: Array.from({ length }, () => cursor.stringBytes()) };
    let unpadded = 0;
    for (let i = 0; i < length; i++) {
      if (!cursor.skipString(`[PAD${i}]`)) unpadded = i + 1;
    }
    return { length, unpadded };
  }
  const bytes = VALUE_BYTES.get(elements);
  if (bytes === undefined)
    throw new SyntaxError(`key ${quoted(key)} is an array of the unknown type ${elements}`);
  const length = cursor.count(`length of ${quoted(key)}`, bytes);
  if (wanted) {
    const numbers = Array.from({ length }, () => Number(cursor.number(elements)));
    return { length, unpadded: length, numbers };
  }
  cursor.skip(length * bytes);
  return { length, unpadded: length };
}

/**
 * One tensor; `entry.begin` still counts from the start of the data, and `entry.end` is its number of bytes, or −1.
 * @returns `known`: ggml itself would read it
 */
function readTensor(cursor: Cursor): { name: string; offset: number; entry: TensorEntry; known: boolean } {
  const name = cursor.string(LONGEST_NAME);
  const tensor = `tensor ${quoted(name)}`;
  const dimensions = cursor.uint32();
  if (dimensions > MOST_DIMENSIONS) throw new SyntaxError(`${tensor} has ${dimensions} dimensions`);
  const shape: number[] = [];
  for (let i = 0; i < dimensions; i++) shape.unshift(cursor.size(`a dimension of ${tensor}`));
  const type = cursor.uint32();
  const format = TYPES.get(type);
  const offset = cursor.size(`the offset of ${tensor}`);
  if (!format) {
    return { name, offset, entry: { dtype: `type ${type}`, shape, begin: offset, end: -1 }, known: false };
  }
  const [dtype, elements, blockBytes] = format;
  // Neither the number of elements nor that of bytes may pass what a double counts, even where a 0 hides it.
  const rowLength = shape.at(-1) ?? 1;
  if (rowLength % elements !== 0) {
    throw new SyntaxError(
      `${tensor} has rows of ${rowLength} elements, no multiple of ${dtype}'s ${elements}`,
    );
  }
  const count = countOf(shape, Number.MAX_SAFE_INTEGER / Math.max(1, blockBytes / elements));
  if (count === undefined) throw new SyntaxError(`${tensor} of ${shapeText(shape)} is too large to be`);
  const end = (count / elements) * blockBytes;
  const known = Buffer.byteLength(name) <= LONGEST_TENSOR_NAME;
  return { name, offset, entry: { dtype, shape, begin: offset, end }, known };
}

function roundUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

function malformed(name: string, what: string, cause?: unknown): LMHeadError {
  return new LMHeadError('FORMAT', `${name}: ${what}; want a well-formed .gguf file`, { cause });
}

/** Reads numbers and strings one after another from the beginning of a file, of which only so much is there. */
class Cursor {
  at = 0;
  /** Thrown where the bytes at hand do not suffice. */
  readonly shortage = new RangeError('more bytes are needed');
  readonly fileSize: number;
  readonly #bytes: Buffer;

  constructor(bytes: Uint8Array<ArrayBuffer>, fileSize: number) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.fileSize = fileSize;
  }

  uint32(): number {
    return this.#bytes.readUInt32LE(this.#advance(4));
  }

  /** An integer of 64 bits that a double can hold. */
  size(what: string): number {
    const start = this.#advance(8);
    const high = this.#bytes.readUInt32LE(start + 4);
    if (high >= 2 ** 21) throw new SyntaxError(`${what} is 2^53 or more, which cannot be`);
    return high * 2 ** 32 + this.#bytes.readUInt32LE(start);
  }

  /** How many things follow, each of so many bytes at least: no more than the file has room for. */
  count(what: string, bytes: number): number {
    const count = this.size(`its ${what}`);
    if (count * bytes > this.fileSize - this.at) {
      throw new SyntaxError(`its ${what} is ${count}, more than the file has room for`);
    }
    return count;
  }

  string(longest = Infinity): string {
    const length = this.count('length of a string', 1);
    if (length > longest) throw new SyntaxError(`it has a name of ${length} bytes, more than ${longest}`);
    const start = this.#advance(length);
    return this.#bytes.toString('utf8', start, start + length);
  }

  /** A copy of a string's bytes. */
  stringBytes(): Uint8Array {
    const length = this.count('length of a string', 1);
    const start = this.#advance(length);
    return Uint8Array.from(this.#bytes.subarray(start, start + length));
  }

  skip(length: number): void {
    this.#advance(length);
  }

  /** Reads over a string; is it `filler`? */
  skipString(filler: string): boolean {
    const length = this.count('length of a string', 1);
    const start = this.#advance(length);
    return (
      length === filler.length &&
      this.#bytes[start] === filler.charCodeAt(0) &&
      this.#bytes.toString('latin1', start, start + length) === filler
    );
  }

  /** A value of the metadata's type `type`. */
  number(type: number): number | bigint | boolean {
    const start = this.#advance(VALUE_BYTES.get(type)!);
    const bytes = this.#bytes;
    switch (type) {
      case 0:
        return bytes.readUInt8(start);
      case 1:
        return bytes.readInt8(start);
      case 2:
        return bytes.readUInt16LE(start);
      case 3:
        return bytes.readInt16LE(start);
      case UINT32:
        return bytes.readUInt32LE(start);
      case 5:
        return bytes.readInt32LE(start);
      case 6:
        return bytes.readFloatLE(start);
      case 7:
        return bytes.readUInt8(start) !== 0;
      case 10:
        return bytes.readBigUInt64LE(start);
      case 11:
        return bytes.readBigInt64LE(start);
      default:
        return bytes.readDoubleLE(start);
    }
  }

  #advance(length: number): number {
    const start = this.at;
    if (length > this.#bytes.length - start) throw this.shortage;
    this.at += length;
    return start;
  }
}
