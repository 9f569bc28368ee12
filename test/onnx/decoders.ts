/** Small decoders with heads of every kind, as exporters write them. */

import { unpack } from '../../lib/dtypes/half';
import { narrow } from '../support/half';
import { someNumbers } from '../support/numbers';
import { Graph, type TypeName } from '../support/onnx';

export interface Made {
  bytes: Buffer;
  /** Files beside it. */
  beside: Record<string, Uint8Array>;
  V: number;
  d: number;
  /** What the head's weight stands for, [V,d], and the embedding's. */
  weight: Float64Array;
  embedding?: Float64Array;
  tied: boolean;
  /** logits = of(product, id) */
  of: (product: number, id: number) => number;
  dtype: string;
  pattern: string;
  /** Is the weight used where it lies? */
  mapped?: boolean;
  /** Largest error of a weight. */
  maxWeightError?: number;
  /** Of a comparison with onnxruntime. */
  tolerance: number;
}

export const [V, D] = [96, 64];

type Options = Partial<Omit<Made, 'bytes'>> & {
  /** Of the body's values. */
  type?: TypeName;
  embed?: (graph: Graph) => string;
  logits?: TypeName;
  rank2?: boolean;
};

/**
 * A body with a cache: hidden = tanh(embedding + the cache's sum), and `present` is the cache with the embedding behind it.
 * @param head from the hidden states to the logits' value
 */
export function decoder(head: (graph: Graph, hidden: string) => string, options: Options = {}): Made {
  const graph = new Graph();
  const { type = 'f32', embed = plainEmbedding, logits = 'f32', ...rest } = options;
  graph.input('input_ids', 'i64', ['batch', 'seq']);
  graph.input('past_key_values.0.key', type, ['batch', 'past', D]);
  body(graph, embed(graph), type, hidden =>
    graph.node('Identity', [head(graph, hidden)], { outputs: ['logits'] }),
  );
  graph.output('logits', logits, ['batch', 'seq', V]);
  graph.output('present.0.key', type, ['batch', 'total', D]);
  const embedding = rest.embedding ?? Float64Array.from(EMBEDDING);
  return {
    ...{ bytes: graph.model(), beside: {}, V, d: D, weight: embedding, embedding, tied: false },
    ...{ of: (x: number) => x, dtype: 'f32', pattern: 'MatMul', tolerance: 2e-6 },
    ...rest,
  };
}

/** @param then what is made of the hidden states */
export function body(graph: Graph, embedded: string, type: TypeName, then: (hidden: string) => void): void {
  graph.node('Concat', ['past_key_values.0.key', embedded], { outputs: ['present.0.key'], axis: 1 });
  const axes = graph.ints(1);
  const sum = graph.node('ReduceSum', ['present.0.key', axes], { keepdims: 1 });
  const hidden = graph.node('Tanh', [graph.node('Add', [embedded, sum])]);
  void type;
  then(hidden);
}

/** Numbers that halves hold. */
export const EMBEDDING = unpack(narrow(someNumbers(V * D, 5), 'f16') as Uint16Array, 'f16');
export const WEIGHT = unpack(narrow(someNumbers(V * D, 6), 'f16') as Uint16Array, 'f16');

export function turned(numbers: Float32Array, rows: number, columns: number): Float32Array {
  return Float32Array.from(numbers, (_, i) => numbers[(i % rows) * columns + Math.floor(i / rows)]);
}

function plainEmbedding(graph: Graph): string {
  graph.tensor('embed', 'f32', [V, D], EMBEDDING);
  return graph.node('Gather', ['embed', 'input_ids']);
}

const as = (type: 'f32' | 'f16' | 'bf16', numbers: Float32Array) => narrow(numbers, type);
const exact = (numbers: Float32Array) => Float64Array.from(numbers);
const weightDV = (graph: Graph, type: 'f32' | 'f16' = 'f32') =>
  graph.tensor('lm_head.weight', type, [D, V], as(type, turned(WEIGHT, V, D)));

/** Plain and tied weights, and what may follow them. */
export function floatDecoders(): Record<string, Made> {
  const bias = someNumbers(V, 7);
  const tiedEmbedding = (type: 'f32' | 'f16') => (graph: Graph) => {
    graph.tensor('embed', type, [V, D], as(type, EMBEDDING));
    return graph.node('Gather', ['embed', 'input_ids']);
  };
  const untied = { weight: exact(WEIGHT) };
  const external = Buffer.concat(
    [Buffer.alloc(64), as('f32', EMBEDDING) as unknown as Uint8Array].map(part =>
      Buffer.from(part.buffer, part.byteOffset, part.byteLength),
    ),
  );
  return {
    'MatMul of [d,V]': decoder((graph, hidden) => graph.node('MatMul', [hidden, weightDV(graph)]), {
      ...untied,
      mapped: false,
    }),
    'Gemm of rows, with a bias and factors': decoder(
      (graph, hidden) => {
        const rows = graph.node('Reshape', [hidden, graph.ints(-1, D)]);
        graph.says(hidden, 'f32', ['batch', 'seq', D]);
        graph.tensor('lm_head.weight', 'f32', [V, D], WEIGHT);
        graph.tensor('lm_head.bias', 'f32', [V], bias);
        const made = graph.node('Gemm', [rows, 'lm_head.weight', 'lm_head.bias'], {
          ...{ transB: 1, alpha: { float: 0.5 }, beta: { float: 2 } },
        });
        const shape = graph.node('Shape', ['input_ids']);
        return graph.node('Reshape', [made, graph.node('Concat', [shape, graph.ints(V)], { axis: 0 })]);
      },
      { ...untied, of: (x, id) => x / 2 + 2 * bias[id], mapped: true, pattern: 'Gemm + bias + scale' },
    ),
    'tied through Transpose': decoder(
      (graph, hidden) => graph.node('MatMul', [hidden, graph.node('Transpose', ['embed'], { perm: [1, 0] })]),
      { tied: true, mapped: true },
    ),
    'tied the other way: Gather of a Transpose': decoder(
      (graph, hidden) => graph.node('MatMul', [hidden, 'lm_head.MatMul.weight']),
      {
        embed: graph => {
          graph.tensor('lm_head.MatMul.weight', 'f32', [D, V], turned(EMBEDDING, V, D));
          return graph.node('Gather', [graph.node('Transpose', ['lm_head.MatMul.weight']), 'input_ids']);
        },
        tied: true,
        mapped: false,
      },
    ),
    'f16 with a Cast behind it': decoder(
      (graph, hidden) =>
        graph.node('Cast', [graph.node('MatMul', [hidden, graph.node('Transpose', ['embed'])])], { to: 1 }),
      { type: 'f16', embed: tiedEmbedding('f16'), tied: true, dtype: 'f16', mapped: true, tolerance: 1e-3 },
    ),
    'weights in f16, cast to f32': decoder(
      (graph, hidden) => {
        const half = graph.tensor('half', 'f16', [V, D], as('f16', WEIGHT));
        return graph.node('MatMul', [
          hidden,
          graph.node('Transpose', [graph.node('Cast', [half], { to: 1 })]),
        ]);
      },
      { ...untied, dtype: 'f16', mapped: true },
    ),
    'numbers in fields of their own, and a Reshape': decoder(
      (graph, hidden) => {
        graph.tensor('flat', 'f32', [V * D], WEIGHT, 'floats');
        const shaped = graph.node('Reshape', ['flat', graph.ints(V, -1)]);
        return graph.node('MatMul', [hidden, graph.node('Transpose', [graph.node('Identity', [shaped])])]);
      },
      { ...untied, mapped: true },
    ),
    'halves as integers': decoder(
      (graph, hidden) => {
        graph.tensor('half', 'f16', [V, D], as('f16', WEIGHT), 'integers');
        return graph.node('MatMul', [
          hidden,
          graph.node('Transpose', [graph.node('Cast', ['half'], { to: 1 })]),
        ]);
      },
      { ...untied, mapped: false },
    ),
    'external data': decoder(
      (graph, hidden) => graph.node('MatMul', [hidden, graph.node('Transpose', ['embed'])]),
      {
        embed: graph => {
          const place = { location: 'model.onnx_data', offset: 64, length: V * D * 4 };
          graph.tensor('embed', 'f32', [V, D], new Uint8Array(), place);
          return graph.node('Gather', ['embed', 'input_ids']);
        },
        ...{ beside: { 'model.onnx_data': external }, tied: true, mapped: true },
      },
    ),
    'bias, scale, mask, soft-cap': decoder(
      (graph, hidden) => {
        let at = graph.node('MatMul', [hidden, weightDV(graph)]);
        at = graph.node('Add', [at, graph.tensor('b', 'f32', [V], bias)]);
        at = graph.node('Mul', [graph.floats([], 0.25), at]);
        const mask = graph.tensor(
          'mask',
          'bool',
          [V],
          Uint8Array.from(bias, (_, i) => Number(i % 7 === 3)),
        );
        at = graph.node('Where', [mask, graph.floats([1], -1e30), at]);
        const cap = graph.floats([1], 5);
        return graph.node('Mul', [graph.node('Tanh', [graph.node('Div', [at, cap])]), cap]);
      },
      {
        ...untied,
        of: (x, id) => 5 * Math.tanh((id % 7 === 3 ? -1e30 : 0.25 * (x + bias[id])) / 5),
        pattern: 'MatMul + bias + mask + soft-cap + scale',
      },
    ),
    'an embedding that is scaled': decoder(
      (graph, hidden) =>
        graph.node('com.microsoft.FusedMatMul', [hidden, 'embed'], { transB: 1, alpha: { float: 2 } }),
      {
        embed: graph => {
          graph.tensor('embed', 'f32', [V, D], EMBEDDING);
          const rows = graph.node('Gather', ['embed', graph.node('Cast', ['input_ids'], { to: 6 })]);
          return graph.node('Mul', [rows, graph.floats([], 8)]);
        },
        ...{
          tied: true,
          mapped: true,
          embedding: exact(EMBEDDING).map(x => x * 8),
          weight: exact(EMBEDDING),
        },
        ...{ of: x => 2 * x, pattern: 'com.microsoft.FusedMatMul + scale' },
      },
    ),
    'the last position alone': decoder((graph, hidden) => {
      const last = graph.node('Gather', [hidden, graph.tensor('last', 'i64', [], BigInt64Array.of(-1n))], {
        axis: 1,
      });
      return graph.node('MatMul', [graph.node('Unsqueeze', [last, graph.ints(1)]), weightDV(graph)]);
    }, untied),
  };
}

/** Half of a merged decoder: the branches have names of their own, and share the weight outside. */
export function mergedDecoder(separate = false): Made {
  const graph = new Graph();
  graph.input('input_ids', 'i64', ['batch', 'seq']);
  graph.input('past_key_values.0.key', 'f32', ['batch', 'past', D]);
  graph.input('use_cache_branch', 'bool', [1]);
  graph.tensor('embed', 'f32', [V, D], EMBEDDING);
  graph.tensor('half', 'f32', [], Float32Array.of(0.5));
  const branch = (name: string, past: boolean) => {
    const inner = new Graph();
    const embedded = inner.node('Gather', ['embed', 'input_ids']);
    if (past)
      inner.node('Concat', ['past_key_values.0.key', embedded], { outputs: [`${name}_present`], axis: 1 });
    else inner.node('Identity', [embedded], { outputs: [`${name}_present`] });
    const sum = inner.node('ReduceSum', [`${name}_present`, inner.ints(1)], { keepdims: 1 });
    const hidden = inner.node('Tanh', [inner.node('Add', [embedded, sum])]);
    const weight = separate && past ? inner.tensor('own', 'f32', [V, D], WEIGHT) : 'embed';
    const product = inner.node('MatMul', [hidden, inner.node('Transpose', [weight])]);
    inner.node('Mul', [product, 'half'], { outputs: [`${name}_logits`] });
    inner.output(`${name}_logits`, 'f32', ['batch', 'seq', V]);
    inner.output(`${name}_present`, 'f32', ['batch', 'total', D]);
    return inner;
  };
  graph.node('If', ['use_cache_branch'], {
    outputs: ['logits', 'present.0.key'],
    ...{ then_branch: branch('then', true), else_branch: branch('else', false) },
  });
  graph.output('logits', 'f32', ['batch', 'seq', V]);
  graph.output('present.0.key', 'f32', ['batch', 'total', D]);
  return {
    ...{ bytes: graph.model(), beside: {}, V, d: D, weight: exact(EMBEDDING), embedding: exact(EMBEDDING) },
    ...{
      tied: true,
      of: x => x / 2,
      dtype: 'f32',
      pattern: 'If of MatMul + scale',
      mapped: true,
      tolerance: 2e-6,
    },
  };
}
