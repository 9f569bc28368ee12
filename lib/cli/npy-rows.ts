/** Rows of a .npy array, a block at a time: an array may be larger than memory. */
import { type FileHandle, open } from 'node:fs/promises';
import { basename } from 'node:path';
import { LMHeadError } from '../errors';
import { readNpy } from '../formats/npy';
import { follow, look, notAFile, type Plan, within } from '../formats/read-plan';
import { toFloats } from '../formats/stored-numbers';
import { shapeText, type TensorEntry } from '../formats/tensor-table';

const FLOAT_BYTES = new Map([
  ['F16', 2],
  ['F32', 4],
  ['F64', 8],
]);
/** Bytes of an integer, and how it is read. */
const INTEGERS = new Map<
  string,
  [bytes: number, get: (view: DataView, at: number, little: boolean) => bigint]
>([
  ['I8', [1, (view, at) => BigInt(view.getInt8(at))]],
  ['U8', [1, (view, at) => BigInt(view.getUint8(at))]],
  ['I16', [2, (view, at, little) => BigInt(view.getInt16(at, little))]],
  ['U16', [2, (view, at, little) => BigInt(view.getUint16(at, little))]],
  ['I32', [4, (view, at, little) => BigInt(view.getInt32(at, little))]],
  ['U32', [4, (view, at, little) => BigInt(view.getUint32(at, little))]],
  ['I64', [8, (view, at, little) => view.getBigInt64(at, little)]],
  ['U64', [8, (view, at, little) => view.getBigUint64(at, little)]],
]);

/** @param option that gave the path */
function* describe(path: string, option: string): Plan<TensorEntry> {
  const found = yield* look(path);
  if (found.kind !== 'file') throw notAFile(path, found, option, 'a .npy file');
  return yield* within(path, found.size, size => readNpy(basename(path), size));
}

/** [n, d] numbers, or [d] as one row. To be closed. */
export class HiddenFile {
  readonly count: number;
  readonly #size: number;
  readonly #file: FileHandle;
  readonly #entry: TensorEntry;
  readonly #name: string;

  private constructor(file: FileHandle, entry: TensorEntry, name: string, count: number, size: number) {
    this.#file = file;
    this.#entry = entry;
    this.#name = name;
    this.count = count;
    this.#size = size;
  }

  /**
   * @param hiddenSize d, which the array has to have
   * @throws LMHeadError IO, FORMAT, DTYPE for no floats, SHAPE
   */
  static async open(path: string, hiddenSize: number): Promise<HiddenFile> {
    const entry = await follow(describe(path, 'hidden'));
    const name = basename(path);
    const { dtype, shape } = entry;
    if (!FLOAT_BYTES.has(dtype))
      throw new LMHeadError('DTYPE', `hidden: ${name} is ${dtype}; want float32, float16 or float64`);
    const [n, d] = shape.length === 1 ? [1, shape[0]] : shape;
    if (shape.length < 1 || shape.length > 2 || d !== hiddenSize)
      throw new LMHeadError('SHAPE', `hidden: ${name} is ${shapeText(shape)}; want [n,${hiddenSize}]`);
    if (entry.columnMajor)
      throw new LMHeadError(
        'FORMAT',
        `hidden: ${name} lies column by column; want rows (numpy.ascontiguousarray)`,
      );
    return new HiddenFile(await open(path), entry, name, n, d);
  }

  /** Rows [first, first + rows). */
  async read(first: number, rows: number): Promise<Float32Array> {
    const rowBytes = FLOAT_BYTES.get(this.#entry.dtype)! * this.#size;
    const bytes = new Uint8Array(new ArrayBuffer(rows * rowBytes));
    await readFully(this.#file, bytes, this.#entry.begin + first * rowBytes, this.#name);
    return toFloats(bytes, this.#entry, `hidden: ${this.#name}`);
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** [n] token ids. To be closed. */
export class TargetFile {
  readonly #file: FileHandle;
  readonly #entry: TensorEntry;
  readonly #name: string;

  private constructor(file: FileHandle, entry: TensorEntry, name: string) {
    this.#file = file;
    this.#entry = entry;
    this.#name = name;
  }

  /**
   * @param count n, which the array has to have
   * @throws LMHeadError IO, FORMAT, DTYPE for no integers, SHAPE
   */
  static async open(path: string, count: number): Promise<TargetFile> {
    const entry = await follow(describe(path, 'targets'));
    const name = basename(path);
    if (!INTEGERS.has(entry.dtype))
      throw new LMHeadError('DTYPE', `targets: ${name} is ${entry.dtype}; want integers`);
    const length = entry.shape.reduce((product, size) => product * size, 1);
    // [1, n] and [n, 1] are what tokenizers and loaders leave.
    if (length !== count || entry.shape.filter(size => size !== 1).length > 1)
      throw new LMHeadError(
        'SHAPE',
        `targets: ${name} is ${shapeText(entry.shape)}; want [${count}], one per hidden state`,
      );
    return new TargetFile(await open(path), entry, name);
  }

  /** Those of [first, first + count). */
  async read(first: number, count: number): Promise<BigInt64Array> {
    const [each, get] = INTEGERS.get(this.#entry.dtype)!;
    const view = new DataView(new ArrayBuffer(count * each));
    await readFully(this.#file, new Uint8Array(view.buffer), this.#entry.begin + first * each, this.#name);
    const little = !this.#entry.bigEndian;
    return BigInt64Array.from({ length: count }, (_, i) => get(view, i * each, little));
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

async function readFully(file: FileHandle, into: Uint8Array, position: number, name: string): Promise<void> {
  for (let at = 0; at < into.byteLength; ) {
    const { bytesRead } = await file.read(into, at, Math.min(into.byteLength - at, 2 ** 30), position + at);
    if (bytesRead === 0) throw new LMHeadError('IO', `${name} became shorter while it was read`);
    at += bytesRead;
  }
}
