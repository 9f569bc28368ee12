/** Decoders with caches, and what whole graphs say without any of the library's own decoding. */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { sampleFrom } from '../../lib';
import type { OnnxRuntime, RuntimeSession, RuntimeTensor } from './onnxruntime';

const examples = resolve(__dirname, '../../examples');
export const ASSET = resolve(__dirname, '../../assets/tiny-lm.safetensors');

export interface TinyModel {
  config: { vocabSize: number; hiddenSize: number; positions: number; layers: number };
  tokenizer: {
    encode(text: string): Uint32Array;
    decode(ids: ArrayLike<number>): string;
    vocabulary: string[];
  };
}

/** The small model of the examples, and its graph. */
export async function tinyDecoder(): Promise<{
  model: TinyModel;
  graph: (withHead: boolean) => Buffer;
  tokenizerJson: (words: string[]) => string;
}> {
  const load = (name: string) => import(pathToFileURL(resolve(examples, name)).href);
  const { loadModel } = await load('tiny-lm/model.mjs');
  const { decoder } = await load('onnxruntime/decoder.mjs');
  const { tokenizerJson } = await load('onnxruntime/tokenizer-json.mjs');
  const model = loadModel(ASSET);
  return { model, tokenizerJson, graph: withHead => decoder(model, withHead) };
}

/** A whole graph, run token by token over its caches by the plainest code: logits of the last token. */
export class WholeGraph {
  readonly #runtime: OnnxRuntime;
  readonly #session: RuntimeSession;
  #caches: Record<string, RuntimeTensor> = {};
  #length = 0;

  private constructor(runtime: OnnxRuntime, session: RuntimeSession) {
    this.#runtime = runtime;
    this.#session = session;
  }

  static async open(runtime: OnnxRuntime, model: string | Uint8Array): Promise<WholeGraph> {
    return new WholeGraph(runtime, await runtime.InferenceSession.create(model));
  }

  begin(): void {
    this.#caches = {};
    this.#length = 0;
  }

  async read(ids: readonly number[]): Promise<Float32Array> {
    const { Tensor } = this.#runtime;
    const feeds: Record<string, RuntimeTensor> = {};
    const total = this.#length + ids.length;
    for (const { name, type, shape } of this.#session.inputMetadata) {
      const ints = (values: number[], dims: number[]) =>
        new Tensor(
          type,
          type === 'int64' ? BigInt64Array.from(values, BigInt) : Int32Array.from(values),
          dims,
        );
      if (name === 'input_ids') feeds[name] = ints([...ids], [1, ids.length]);
      else if (name === 'attention_mask') feeds[name] = ints(Array(total).fill(1), [1, total]);
      else if (name === 'position_ids')
        feeds[name] = ints(
          Array.from(ids, (_, i) => this.#length + i),
          [1, ids.length],
        );
      else if (this.#caches[name]) feeds[name] = this.#caches[name];
      else {
        const dims = shape.map(size => (typeof size === 'number' ? size : size.startsWith('batch') ? 1 : 0));
        const count = dims.reduce((product, size) => product * size, 1);
        const array = type === 'float16' ? Uint16Array : Float32Array;
        feeds[name] = new Tensor(type, new array(count), dims);
      }
    }
    const results = await this.#session.run(feeds);
    for (const [name, tensor] of Object.entries(results)) {
      if (name.startsWith('present')) {
        this.#caches[name.replace('present', 'past')] = tensor;
        this.#caches[name.replace('present', 'past_key_values')] = tensor;
      }
    }
    this.#length = total;
    const { data, dims } = results.logits;
    return data.slice(-dims.at(-1)!);
  }

  /** Tokens by `sampleFrom`, at step 0, 1, … */
  async continued(prompt: readonly number[], count: number, options: object): Promise<number[]> {
    this.begin();
    const ids: number[] = [];
    let logits = await this.read(prompt);
    for (let step = 0; step < count; step++) {
      const [id] = sampleFrom(logits, logits.length, { ...options, step } as never).ids;
      ids.push(id);
      if (ids.length < count) logits = await this.read([id]);
    }
    return ids;
  }

  async close(): Promise<void> {
    await this.#session.release();
  }
}

/** The ids that an iterator gives. */
export async function idsOf(tokens: AsyncIterable<{ id: number }>): Promise<number[]> {
  const ids: number[] = [];
  for await (const { id } of tokens) ids.push(id);
  return ids;
}
