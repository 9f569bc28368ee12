/** Where an ONNX tensor's bytes are, in the model or in another file beside it, and its values. */
import { basename, dirname, join } from 'node:path';
import { floats, unpack } from '../../dtypes/half';
import { LMHeadError } from '../../errors';
import { look, notAFile, type Plan, readBytes } from '../read-plan';
import { countOf, quoted, shapeText } from '../tensor-table';
import type { OnnxTensor, Span } from './model';

/** TensorProto.DataType */
export const TYPE = {
  float: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  double: 11,
  uint32: 12,
  uint64: 13,
  bfloat16: 16,
  uint4: 21,
  int4: 22,
  uint2: 25,
  int2: 26,
} as const;

/** Names as safetensors has them, and bits of each. */
const TYPES = new Map<number, readonly [name: string, bits: number]>([
  [TYPE.float, ['F32', 32]],
  [TYPE.uint8, ['U8', 8]],
  [TYPE.int8, ['I8', 8]],
  [TYPE.uint16, ['U16', 16]],
  [TYPE.int16, ['I16', 16]],
  [TYPE.int32, ['I32', 32]],
  [TYPE.int64, ['I64', 64]],
  [TYPE.bool, ['BOOL', 8]],
  [TYPE.float16, ['F16', 16]],
  [TYPE.double, ['F64', 64]],
  [TYPE.uint32, ['U32', 32]],
  [TYPE.uint64, ['U64', 64]],
  [TYPE.bfloat16, ['BF16', 16]],
  [17, ['F8_E4M3FN', 8]],
  [18, ['F8_E4M3FNUZ', 8]],
  [19, ['F8_E5M2', 8]],
  [20, ['F8_E5M2FNUZ', 8]],
  [TYPE.uint4, ['U4', 4]],
  [TYPE.int4, ['I4', 4]],
  [23, ['F4_E2M1', 4]],
  [24, ['F8_E8M0', 8]],
  [TYPE.uint2, ['U2', 2]],
  [TYPE.int2, ['I2', 2]],
]);

export function typeName(type: number): string {
  return TYPES.get(type)?.[0] ?? `type ${type}`;
}

export function bitsOf(type: number): number | undefined {
  return TYPES.get(type)?.[1];
}

export function isFloating(type: number): boolean {
  return [TYPE.float, TYPE.float16, TYPE.bfloat16, TYPE.double].includes(type as 1);
}

/** Bytes of a file. */
export interface Located extends Span {
  path: string;
}

/** Reads tensors of one model's file. */
export class TensorReader {
  readonly path: string;
  /** The file's name, for messages. */
  readonly file: string;
  /** Names of files beside it that were used. */
  readonly beside = new Set<string>();
  readonly #sizes = new Map<string, number>();

  constructor(path: string, size: number) {
    this.path = path;
    this.file = basename(path);
    this.#sizes.set(path, size);
  }

  /**
   * Where a tensor's bytes are, as many as its type and shape want.
   * @throws LMHeadError FORMAT, IO (no such file), DTYPE
   */
  *locate(tensor: OnnxTensor): Plan<Located> {
    const what = `${this.file}: ${quoted(tensor.name)} (${typeName(tensor.type)} ${shapeText(tensor.dims)})`;
    if (tensor.encoding !== 'bytes') {
      throw new LMHeadError(
        'FORMAT',
        `${what} has its elements one by one; want raw data, as exporters write`,
      );
    }
    const bytes = this.bytesOf(tensor);
    const { begin, end } = tensor.external ? yield* this.#external(tensor, bytes, what) : tensor;
    if (end - begin !== bytes) {
      throw new LMHeadError('FORMAT', `${what} has ${end - begin} bytes; want ${bytes}, as its shape says`);
    }
    return { path: tensor.external ? this.#besidePath(tensor) : this.path, begin, end };
  }

  /** @throws LMHeadError FORMAT, DTYPE */
  bytesOf({ name, type, dims }: OnnxTensor): number {
    const bits = bitsOf(type);
    if (bits === undefined) {
      throw new LMHeadError(
        'DTYPE',
        `tensor: ${quoted(name)} in ${this.file} is of ${typeName(type)}; want one of ONNX's`,
      );
    }
    const count = countOf(dims, 2 ** 50);
    if (count !== undefined) return Math.ceil((count * bits) / 8);
    throw new LMHeadError(
      'FORMAT',
      `${this.file}: ${quoted(name)} is ${shapeText(dims)}; want fewer than 2^50 elements`,
    );
  }

  /** All of a tensor's values, exactly but for integers beyond 2^53. @param most for what is meant to be small */
  *values(tensor: OnnxTensor, most = Number.POSITIVE_INFINITY): Plan<Float32Array | Float64Array> {
    const count = (this.bytesOf(tensor) * 8) / bitsOf(tensor.type)!;
    if (count > most) {
      throw new LMHeadError(
        'SHAPE',
        `${this.file}: ${quoted(tensor.name)} is ${shapeText(tensor.dims)}; want ${most} elements at most`,
      );
    }
    if (tensor.encoding === 'varints') return yield* this.#varints(tensor);
    const at = yield* this.locate(tensor);
    const bytes = yield* readBytes(at.path, { offset: at.begin, length: at.end - at.begin });
    return numbersOf(bytes, tensor, countOf(tensor.dims)!);
  }

  /** Elements that are stored as integers of varying length. */
  *#varints(tensor: OnnxTensor): Plan<Float64Array | Float32Array> {
    const { type, dims } = tensor;
    const words = yield* this.stored(tensor);
    if (bitsOf(type)! < 8) return numbersOf(Uint8Array.from(words), tensor, countOf(dims)!);
    if (type !== TYPE.float16 && type !== TYPE.bfloat16) return words;
    return unpack(Uint16Array.from(words), type === TYPE.float16 ? 'f16' : 'bf16');
  }

  /** What is computed by a tensor's shape may have no more than the file has. @throws LMHeadError as `locate` does */
  *requireHeld(tensor: OnnxTensor): Plan<void> {
    if (tensor.encoding !== 'varints') yield* this.locate(tensor);
    else if (this.bytesOf(tensor) > 8 * (tensor.end - tensor.begin)) throw this.#wrongCount(tensor);
  }

  /** A tensor of 'varints' as its bytes would lie. */
  *whole(tensor: OnnxTensor): Plan<ArrayBufferView<ArrayBuffer>> {
    const words = yield* this.stored(tensor);
    const bits = bitsOf(tensor.type)!;
    return bits === 16
      ? Uint16Array.from(words)
      : bits === 32
        ? Uint32Array.from(words)
        : Uint8Array.from(words);
  }

  /** The integers of a tensor of 'varints': of 16-bit floats they are the bits, of less than 8 bits several values. */
  *stored(tensor: OnnxTensor): Plan<Float64Array> {
    this.bytesOf(tensor);
    const count = countOf(tensor.dims)!;
    const { begin, end, type } = tensor;
    const packed = bitsOf(type)! < 8;
    const stored = packed ? Math.ceil((count * bitsOf(type)!) / 8) : count;
    // Each takes a byte at least.
    if (stored > end - begin) throw this.#wrongCount(tensor);
    const bytes = yield* readBytes(this.path, { offset: begin, length: end - begin });
    const words = new Float64Array(stored);
    let at = 0;
    for (let i = 0; i < stored; i++) {
      let value = 0n;
      for (let shift = 0n; ; shift += 7n) {
        if (at >= bytes.length || shift > 63n) throw this.#wrongCount(tensor);
        const byte = bytes[at++];
        value |= BigInt(byte & 127) << shift;
        if (byte < 128) break;
      }
      words[i] = Number(BigInt.asIntN(64, value));
    }
    if (at !== bytes.length) throw this.#wrongCount(tensor);
    return words;
  }

  #wrongCount({ name, dims }: OnnxTensor): LMHeadError {
    return new LMHeadError(
      'FORMAT',
      `${this.file}: ${quoted(name)} has not as many elements as its shape ${shapeText(dims)}; want a whole file`,
    );
  }

  #besidePath({ external }: OnnxTensor): string {
    return join(dirname(this.path), external!.location!);
  }

  *#external(tensor: OnnxTensor, bytes: number, what: string): Plan<Span> {
    const { location, offset = '0', length } = tensor.external!;
    if (location === undefined || !isBareName(location)) {
      throw new LMHeadError(
        'FORMAT',
        `${what} is in the file ${quoted(location ?? '')}; want the name of one beside the model`,
      );
    }
    const path = this.#besidePath(tensor);
    let size = this.#sizes.get(path);
    if (size === undefined) {
      const found = yield* look(path);
      if (found.kind !== 'file') {
        throw notAFile(
          path,
          found,
          'path',
          `${quoted(location)}, which has ${quoted(tensor.name)}, beside ${this.file}`,
        );
      }
      size = found.size;
      this.#sizes.set(path, size);
      this.beside.add(location);
    }
    const begin = wholeNumber(offset);
    const said = length === undefined ? bytes : wholeNumber(length);
    if (begin === undefined || said === undefined) {
      throw new LMHeadError(
        'FORMAT',
        `${what} is at ${quoted(offset)} in ${location}, ${quoted(length ?? '')} long; want integers, in bytes`,
      );
    }
    if (begin + said > size) {
      throw new LMHeadError(
        'FORMAT',
        `${what} ends at byte ${begin + said} of ${location}, which has ${size}; want a whole file`,
      );
    }
    return { begin, end: begin + said };
  }
}

/** A name of a file in the same folder, on any system. */
function isBareName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && name.length <= 255 && !/[/\\:\0]/.test(name);
}

function wholeNumber(text: string): number | undefined {
  const number = Number(text);
  return /^\d{1,16}$/.test(text) && Number.isSafeInteger(number) ? number : undefined;
}

/** Bytes as ONNX has them: little-endian, of less than 8 bits from the lowest on. */
function numbersOf(
  { buffer, byteOffset, byteLength }: Uint8Array<ArrayBuffer>,
  { type }: OnnxTensor,
  count: number,
): Float32Array | Float64Array {
  switch (type) {
    case TYPE.float:
      return new Float32Array(buffer, byteOffset, count);
    case TYPE.float16:
    case TYPE.bfloat16:
      return floats(new Uint16Array(buffer, byteOffset, count), type === TYPE.float16 ? 'f16' : 'bf16');
    case TYPE.double:
      return new Float64Array(buffer, byteOffset, count);
    case TYPE.int8:
      return Float64Array.from(new Int8Array(buffer, byteOffset, count));
    case TYPE.uint8:
    case TYPE.bool:
      return Float64Array.from(new Uint8Array(buffer, byteOffset, count));
    case TYPE.int16:
      return Float64Array.from(new Int16Array(buffer, byteOffset, count));
    case TYPE.uint16:
      return Float64Array.from(new Uint16Array(buffer, byteOffset, count));
    case TYPE.int32:
      return Float64Array.from(new Int32Array(buffer, byteOffset, count));
    case TYPE.uint32:
      return Float64Array.from(new Uint32Array(buffer, byteOffset, count));
    case TYPE.int64:
      return Float64Array.from(new BigInt64Array(buffer, byteOffset, count), Number);
    case TYPE.uint64:
      return Float64Array.from(new BigUint64Array(buffer, byteOffset, count), Number);
    default:
      return smallIntegers(
        new Uint8Array(buffer, byteOffset, byteLength),
        0,
        bitsOf(type)!,
        isSigned(type),
        count,
      );
  }
}

export function isSigned(type: number): boolean {
  return type === TYPE.int8 || type === TYPE.int4 || type === TYPE.int2;
}

/** Integers of 2, 4 or 8 bits, from the lowest of a byte on. @param first how many of them come before */
export function smallIntegers(
  bytes: Uint8Array,
  first: number,
  bits: number,
  signed: boolean,
  count: number,
): Float64Array {
  const out = new Float64Array(count);
  const perByte = 8 / bits;
  const mask = 2 ** bits - 1;
  const half = signed ? 2 ** (bits - 1) : 2 ** bits;
  for (let i = 0; i < count; i++) {
    const at = first + i;
    const q = (bytes[Math.floor(at / perByte)] >> ((at % perByte) * bits)) & mask;
    out[i] = q >= half ? q - 2 ** bits : q;
  }
  return out;
}
