/** A model in onnxruntime that reads tokens, and gives a row (a hidden state, or logits) of each. */

import { narrow } from '../dtypes/half';
import { isSystemError, LMHeadError } from '../errors';
import { type DecoderInterface, interfaceOf, type Role, type Value } from './interface';
import { firstLine, type Runtime, type Session, type Tensor } from './runtime';

/** Rows of what the model gives, in a form that heads take. */
export interface Rows {
  readonly data: ArrayBufferView & { readonly length: number };
  readonly type: string;
  /** [n, size] */
  readonly dims: readonly [number, number];
}

/** What a model remembers of a text. Never changed: several continuations may begin at one. */
export interface Memory {
  /** Tokens that it has read. */
  readonly length: number;
  /** By input. */
  readonly tensors: Readonly<Record<string, Tensor>>;
  /** Of a model without caches, which reads all of them again. */
  readonly ids: Uint32Array;
}

export type Embed = (ids: Uint32Array) => Float32Array | Promise<Float32Array>;

interface FloatList {
  readonly length: number;
  slice(start: number, end?: number): Rows['data'];
  subarray(start: number, end?: number): FloatList & ArrayBufferView;
  set(from: ArrayLike<number>, at?: number): void;
}

/** What it says of an error is thrown, and needs not stand on stderr too. */
const QUIET = { logSeverityLevel: 4 };
/** Workers that wait in a loop for the next run would take the head's cores. */
const SESSION = { ...QUIET, extra: { session: { intra_op: { allow_spinning: '0' } } } };

export class Body {
  readonly #runtime: Runtime;
  readonly #session: Session;
  readonly #fetches: string[];
  readonly facts: DecoderInterface;
  embed: Embed | undefined;

  private constructor(runtime: Runtime, session: Session, facts: DecoderInterface) {
    this.#runtime = runtime;
    this.#session = session;
    this.facts = facts;
    this.#fetches = [facts.output.name, ...facts.caches.map(({ output }) => output)];
  }

  /**
   * @param hasHead is there one for hidden states?
   * @throws LMHeadError IO, FORMAT for a file that onnxruntime cannot open; TENSOR, DTYPE for what is no decoder
   */
  static async open(
    runtime: Runtime,
    path: string,
    options: object,
    hasHead: boolean,
    output?: string,
  ): Promise<Body> {
    let session: Session;
    try {
      session = await runtime.InferenceSession.create(path, merged(SESSION, options));
    } catch (cause) {
      const problem = firstLine(cause);
      const kind =
        isSystemError(cause) || /doesn't exist|not exist|No such file|cannot open|open file/i.test(problem)
          ? 'IO'
          : 'FORMAT';
      throw new LMHeadError(kind, `model: onnxruntime cannot open ${path} (${problem})`, { cause });
    }
    try {
      return new Body(runtime, session, interfaceOf(session, hasHead, output));
    } catch (error) {
      await session.release();
      throw error;
    }
  }

  /** Can what it remembers be cut short? */
  get rewinds(): boolean {
    return this.facts.caches.every(({ axis }) => axis !== undefined);
  }

  get hasCaches(): boolean {
    return this.facts.caches.length > 0;
  }

  /**
   * Reads tokens.
   * @param memory of what came before them; undefined at the beginning of a text
   * @param keep of how many of the last ones rows are wanted
   */
  async read(
    ids: Uint32Array,
    memory: Memory | undefined,
    keep: number,
  ): Promise<{ rows: Rows; memory: Memory }> {
    const { caches, output } = this.facts;
    const all = this.hasCaches || !memory ? ids : joined(memory.ids, ids);
    const past = this.hasCaches ? (memory?.length ?? 0) : 0;
    const feeds = await this.#feeds(all, past, memory, keep);
    let results: Record<string, Tensor>;
    try {
      results = await this.#session.run(feeds, this.#fetches, QUIET);
    } catch (cause) {
      throw new LMHeadError(
        'RANGE',
        `model: onnxruntime failed at the tokens from ${past} to ${past + all.length - 1} (${firstLine(cause)}); want a text that the model has positions for`,
        { cause },
      );
    }
    const tensors: Record<string, Tensor> = {};
    for (const cache of caches) tensors[cache.input] = results[cache.output];
    return {
      rows: lastRows(results[output.name], keep, output.name),
      memory: { length: past + all.length, tensors, ids: this.hasCaches ? NO_IDS : all },
    };
  }

  /** What it remembered when the text had so many tokens. */
  rewound(memory: Memory, length: number): Memory {
    if (!this.hasCaches) return { ...memory, length, ids: memory.ids.subarray(0, length) };
    const tensors: Record<string, Tensor> = {};
    for (const { input, axis } of this.facts.caches) {
      tensors[input] = this.#shortened(memory.tensors[input], axis!, memory.length - length);
    }
    return { ...memory, length, tensors };
  }

  async release(): Promise<void> {
    await this.#session.release();
  }

  async #feeds(
    ids: Uint32Array,
    past: number,
    memory: Memory | undefined,
    keep: number,
  ): Promise<Record<string, Tensor>> {
    const feeds: Record<string, Tensor> = {};
    for (const input of this.facts.inputs) feeds[input.name] = await this.#feed(input, ids, past, keep);
    for (const { input, type, first } of this.facts.caches) {
      feeds[input] = memory?.tensors[input] ?? this.#zeros(type, first, input);
    }
    return feeds;
  }

  async #feed(input: Value & { role: Role }, ids: Uint32Array, past: number, keep: number): Promise<Tensor> {
    const { name, type, shape, role } = input;
    const { length } = ids;
    switch (role) {
      case 'ids':
        return this.#numbers(type, ids, [...ones(shape.length - 1), length]);
      case 'embeddings':
        return this.#embedded(type, ids);
      case 'mask':
        return this.#numbers(type, ones(past + length), [...ones(shape.length - 1), past + length]);
      case 'positions': {
        const positions = Array.from(ids, (_, i) => past + i);
        // Three of them, of time, height and width, are the same for text.
        if (shape.length !== 3) return this.#numbers(type, positions, [...ones(shape.length - 1), length]);
        const axes = typeof shape[0] === 'number' ? shape[0] : 3;
        return this.#numbers(
          type,
          ones(axes).flatMap(() => positions),
          [axes, 1, length],
        );
      }
      case 'cachePositions':
        return this.#numbers(
          type,
          Array.from(ids, (_, i) => past + i),
          [length],
        );
      case 'keep':
        return this.#numbers(type, [keep], ones(shape.length));
      case 'useCache':
        return this.#numbers(type, [past > 0 ? 1 : 0], ones(Math.max(shape.length, 1)));
      case 'zeros':
        return this.#zeros(type, [...ones(shape.length - 1), length], name);
    }
  }

  async #embedded(type: string, ids: Uint32Array): Promise<Tensor> {
    if (!this.embed) {
      throw new LMHeadError(
        'ARGUMENT',
        'embed: got none for a model that takes inputs_embeds; want a head that has the input embedding, or the option embed',
      );
    }
    const rows = await this.embed(ids);
    const data = type === 'float16' ? narrow(rows, 'f16') : rows;
    return new this.#runtime.Tensor(type, data, [1, ids.length, rows.length / ids.length]);
  }

  #numbers(type: string, values: ArrayLike<number>, dims: number[]): Tensor {
    const data = newArray(type, values.length, 'model');
    for (let i = 0; i < values.length; i++) {
      if (type === 'int64') (data as BigInt64Array)[i] = BigInt(values[i]);
      else (data as Float32Array)[i] = values[i];
    }
    return new this.#runtime.Tensor(type, data, dims);
  }

  #zeros(type: string, dims: readonly number[], name: string): Tensor {
    const count = dims.reduce((product, size) => product * size, 1);
    return new this.#runtime.Tensor(type, newArray(type, count, name), dims);
  }

  /** Without the last of what lies along an axis. */
  #shortened({ data, type, dims }: Tensor, axis: number, by: number): Tensor {
    const inner = dims.slice(axis + 1).reduce((product, size) => product * size, 1);
    const outer = dims.slice(0, axis).reduce((product, size) => product * size, 1);
    const [from, to] = [dims[axis] * inner, (dims[axis] - by) * inner];
    const list = data as unknown as FloatList & { constructor: new (length: number) => FloatList };
    const kept = new list.constructor(outer * to);
    for (let i = 0; i < outer; i++) {
      kept.set(list.subarray(i * from, i * from + to) as unknown as ArrayLike<number>, i * to);
    }
    const sizes = dims.map((size, i) => (i === axis ? size - by : size));
    return new this.#runtime.Tensor(type, kept as unknown as ArrayBufferView, sizes);
  }
}

const NO_IDS = new Uint32Array(0);

const ones = (count: number): number[] => new Array(Math.max(count, 0)).fill(1);

export function joined(a: Uint32Array, b: Uint32Array): Uint32Array {
  const all = new Uint32Array(a.length + b.length);
  all.set(a);
  all.set(b, a.length);
  return all;
}

const ARRAYS: Record<string, new (length: number) => ArrayBufferView & { readonly length: number }> = {
  __proto__: null as never,
  float32: Float32Array,
  float16: Uint16Array,
  float64: Float64Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
};

function newArray(type: string, length: number, name: string): ArrayBufferView & { readonly length: number } {
  const array = ARRAYS[type];
  if (!array) {
    throw new LMHeadError(
      'DTYPE',
      `model: got ${type} in its input ${name}; want ${Object.keys(ARRAYS).join(', ')}`,
    );
  }
  return new array(length);
}

/** The last rows of [1, n, size] or [n, size], in memory of their own where there are more. */
function lastRows({ data, type, dims }: Tensor, keep: number, name: string): Rows {
  const size = dims.at(-1) ?? 0;
  const n = size > 0 ? data.length / size : 0;
  if (n < keep) {
    throw new LMHeadError(
      'SHAPE',
      `model: got ${n} rows in ${name} for ${keep} tokens; want one of each, which this model does not give`,
    );
  }
  const list = data as unknown as FloatList;
  return { data: n > keep ? list.slice((n - keep) * size) : data, type, dims: [keep, size] };
}

/** Of rows of one size and type, all in one. */
export function stacked(rows: readonly Rows[]): Rows {
  if (rows.length === 1) return rows[0];
  const [{ data, type, dims }] = rows;
  const n = rows.reduce((sum, each) => sum + each.dims[0], 0);
  const list = data as unknown as { constructor: new (length: number) => FloatList };
  const all = new list.constructor(n * dims[1]);
  let at = 0;
  for (const each of rows) {
    all.set(each.data as unknown as ArrayLike<number>, at);
    at += each.data.length;
  }
  return { data: all as unknown as Rows['data'], type, dims: [n, dims[1]] };
}

/** Options over the library's own: objects within them are merged too. */
function merged(own: object, given: object): object {
  const all: Record<string, unknown> = { ...own };
  for (const [name, value] of Object.entries(given)) {
    const before = all[name];
    all[name] = isPlain(before) && isPlain(value) ? merged(before, value) : value;
  }
  return all;
}

function isPlain(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
