/** Rows of a .npy array, a block at a time: an array may be larger than memory. */
import { type FileHandle, open } from 'node:fs/promises';
import { basename } from 'node:path';
import { outOfMemory } from '../arguments/arrays';
import { LMHeadError } from '../errors';
import { readNpy } from '../formats/npy';
import { follow, look, notAFile, type Plan, within } from '../formats/read-plan';
import { toFloats } from '../formats/stored-values';
import { shapeText, type TensorEntry } from '../formats/tensor-table';
import { Interrupted, type Terminal } from './streams';

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

/** What stands for the standard input in the place of a path. */
const STDIN = '-';

/** Where an array's bytes come from. */
interface ByteSource {
  readonly name: string;
  /** Reads all of `into`, from that position of the file. Of a pipe positions only grow. */
  read(into: Uint8Array, position: number): Promise<void>;
  close(): Promise<void>;
}

/** [n, d] values, or [d] as one row. To be closed. */
export class HiddenFile {
  readonly count: number;
  /** Without d: [n]; for `layers` [layers] or [layers, n]. */
  readonly shape: readonly number[];
  readonly #size: number;
  readonly #source: ByteSource;
  readonly #entry: TensorEntry;

  private constructor(source: ByteSource, entry: TensorEntry, shape: readonly number[], size: number) {
    this.#source = source;
    this.#entry = entry;
    this.shape = shape;
    this.count = shape.reduce((product, each) => product * each, 1);
    this.#size = size;
  }

  /**
   * @param path of a file; - is the standard input
   * @param hiddenSize d, which the array has to have
   * @param layers may there be several of [n, d]?
   * @throws LMHeadError IO, FORMAT, DTYPE for no floats, SHAPE
   */
  static async open(
    path: string,
    hiddenSize: number,
    { stdin, signal }: Pick<Terminal, 'stdin' | 'signal'>,
    layers = false,
  ): Promise<HiddenFile> {
    const pipe = path === STDIN ? new PipeSource(stdin, signal) : undefined;
    const name = pipe?.name ?? basename(path);
    try {
      const entry = await (pipe ? pipe.header() : follow(describe(path, 'hidden')));
      const shape = rowsOf(entry, name, hiddenSize, layers);
      const source = pipe ?? new FileSource(await open(path), name);
      return new HiddenFile(source, entry, shape, hiddenSize);
    } catch (error) {
      await pipe?.close();
      throw error;
    }
  }

  /** Can rows be read in their order alone? */
  get isPipe(): boolean {
    return this.#source instanceof PipeSource;
  }

  /** Rows [first, first + rows). */
  async read(first: number, rows: number): Promise<Float32Array> {
    const rowBytes = FLOAT_BYTES.get(this.#entry.dtype)! * this.#size;
    let bytes: Uint8Array<ArrayBuffer>;
    try {
      bytes = new Uint8Array(new ArrayBuffer(rows * rowBytes));
    } catch (cause) {
      throw outOfMemory(rows * this.#size, 'hidden', cause);
    }
    await this.#source.read(bytes, this.#entry.begin + first * rowBytes);
    return toFloats(bytes, this.#entry, `hidden: ${this.#source.name}`);
  }

  close(): Promise<void> {
    return this.#source.close();
  }
}

/** The shape without its last dimension. @throws LMHeadError DTYPE, SHAPE, FORMAT */
function rowsOf(entry: TensorEntry, name: string, hiddenSize: number, layers: boolean): number[] {
  const { dtype, shape } = entry;
  if (!FLOAT_BYTES.has(dtype))
    throw new LMHeadError('DTYPE', `hidden: ${name} is ${dtype}; want float32, float16 or float64`);
  const rows = shape.slice(0, -1);
  const most = layers ? 2 : 1;
  // Models return batches, of one here: [1, n, d]; and of layers, stacked, [layers, 1, n, d].
  if (layers && rows.length === 3 && rows[1] === 1) rows.splice(1, 1);
  while (rows.length > most && rows[0] === 1) rows.shift();
  if (shape.length < 1 || rows.length > most || shape.at(-1) !== hiddenSize) {
    const want = layers
      ? `[layers,${hiddenSize}] or [layers,n,${hiddenSize}]`
      : `[n,${hiddenSize}] or [1,n,${hiddenSize}]`;
    throw new LMHeadError('SHAPE', `hidden: ${name} is ${shapeText(shape)}; want ${want}`);
  }
  if (entry.columnMajor)
    throw new LMHeadError(
      'FORMAT',
      `hidden: ${name} lies column by column; want rows (numpy.ascontiguousarray)`,
    );
  return rows;
}

class FileSource implements ByteSource {
  readonly name: string;
  readonly #file: FileHandle;

  constructor(file: FileHandle, name: string) {
    this.#file = file;
    this.name = name;
  }

  read(into: Uint8Array, position: number): Promise<void> {
    return readFully(this.#file, into, position, this.name);
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** The standard input. */
class PipeSource implements ByteSource {
  readonly name = 'the standard input';
  readonly #chunks: AsyncIterator<Buffer>;
  readonly #aborted: Promise<never>;
  /** Read, but not yet taken. */
  #rest: Buffer = Buffer.alloc(0);
  #at = 0;

  constructor(stdin: Terminal['stdin'], signal: AbortSignal) {
    if (!stdin || stdin.isTTY)
      throw new LMHeadError('IO', 'hidden: the standard input is a terminal; want a .npy file from a pipe');
    this.#chunks = stdin[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    this.#aborted = new Promise((_, reject) => {
      const stop = () => reject(new Interrupted());
      if (signal.aborted) stop();
      else signal.addEventListener('abort', stop, { once: true });
    });
    this.#aborted.catch(() => {});
  }

  /** How long the file is does not show. */
  async header(): Promise<TensorEntry> {
    const plan = readNpy(this.name, Number.MAX_SAFE_INTEGER);
    let start = Buffer.alloc(0);
    let step = plan.next();
    while (!step.done) {
      const { offset, length } = step.value;
      const more = Buffer.alloc(Math.max(0, offset + length - start.length));
      await this.read(more, this.#at);
      start = Buffer.concat([start, more]);
      step = plan.next(Uint8Array.from(start.subarray(offset, offset + length)));
    }
    return step.value;
  }

  async read(into: Uint8Array, position: number): Promise<void> {
    // What lies before is nothing that was asked for.
    await this.#consume(position - this.#at);
    await this.#consume(into.length, into);
  }

  async #consume(count: number, into?: Uint8Array): Promise<void> {
    for (let at = 0; at < count; ) {
      if (this.#rest.length === 0) {
        const { done, value } = await Promise.race([this.#chunks.next(), this.#aborted]);
        if (done)
          throw new LMHeadError(
            'IO',
            `hidden: ${this.name} ended after ${this.#at} bytes; want a whole .npy file`,
          );
        this.#rest = value;
        continue;
      }
      const part = this.#rest.subarray(0, count - at);
      into?.set(part, at);
      this.#rest = this.#rest.subarray(part.length);
      at += part.length;
      this.#at += part.length;
    }
  }

  async close(): Promise<void> {
    // What is still on its way holds neither this nor the writer.
    void this.#chunks.return?.();
  }
}

/** [n] token ids. To be closed. */
export class TargetFile {
  readonly count: number;
  readonly #file: FileHandle;
  readonly #entry: TensorEntry;
  readonly #name: string;

  private constructor(file: FileHandle, entry: TensorEntry, name: string, count: number) {
    this.count = count;
    this.#file = file;
    this.#entry = entry;
    this.#name = name;
  }

  /**
   * @param count n, which the array has to have; undefined: any
   * @throws LMHeadError IO, FORMAT, DTYPE for no integers, SHAPE
   */
  static async open(path: string, count: number | undefined, option = 'targets'): Promise<TargetFile> {
    const entry = await follow(describe(path, option));
    const name = basename(path);
    if (!INTEGERS.has(entry.dtype))
      throw new LMHeadError('DTYPE', `${option}: ${name} is ${entry.dtype}; want integers`);
    const length = entry.shape.reduce((product, size) => product * size, 1);
    // [1, n] and [n, 1] are what tokenizers and loaders leave.
    if ((count ?? length) !== length || entry.shape.filter(size => size !== 1).length > 1)
      throw new LMHeadError(
        'SHAPE',
        `${option}: ${name} is ${shapeText(entry.shape)}; want ${count === undefined ? 'one dimension' : `[${count}], one per hidden state`}`,
      );
    return new TargetFile(await open(path), entry, name, length);
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
