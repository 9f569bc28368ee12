/** A small ONNX decoder with a cache, around whatever head a test gives it. */
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
  /** Is the weight used in place? */
  mapped?: boolean;
  /** Largest error of a weight. */
  maxWeightError?: number;
  /** Of a comparison with onnxruntime. */
  tolerance: number;
  /** Of the body's values. */
  type?: TypeName;
}

export const [V, D] = [96, 64];

export type Options = Partial<Omit<Made, 'bytes'>> & {
  embed?: (graph: Graph) => string;
};

/**
 * A body with a cache: hidden = tanh(embedding + the cache's sum), and `present` is the cache with the embedding behind it.
 * @param head from the hidden states to the logits' value
 */
export function decoder(head: (graph: Graph, hidden: string) => string, options: Options = {}): Made {
  const graph = new Graph();
  const { type = 'f32', embed = plainEmbedding, d = D, ...rest } = options;
  graph.input('input_ids', 'i64', ['batch', 'seq']);
  graph.input('past_key_values.0.key', type, ['batch', 'past', d]);
  body(graph, embed(graph), hidden => graph.node('Identity', [head(graph, hidden)], { outputs: ['logits'] }));
  graph.output('logits', 'f32', ['batch', 'seq', V]);
  graph.output('present.0.key', type, ['batch', 'total', d]);
  const embedding = rest.embedding ?? Float64Array.from(EMBEDDING);
  return {
    ...{ bytes: graph.model(), beside: {}, V, d, weight: embedding, embedding, tied: false },
    ...{ of: (x: number) => x, dtype: 'f32', pattern: 'MatMul', tolerance: 2e-6 },
    ...rest,
    type,
  };
}

/** @param then what is made of the hidden states */
function body(graph: Graph, embedded: string, then: (hidden: string) => void): void {
  graph.node('Concat', ['past_key_values.0.key', embedded], { outputs: ['present.0.key'], axis: 1 });
  const axes = graph.ints(1);
  const sum = graph.node('ReduceSum', ['present.0.key', axes], { keepdims: 1 });
  const hidden = graph.node('Tanh', [graph.node('Add', [embedded, sum])]);
  then(hidden);
}

/** Numbers that halves hold. */
export const EMBEDDING = unpack(narrow(someNumbers(V * D, 5), 'f16') as Uint16Array, 'f16');
export const WEIGHT = unpack(narrow(someNumbers(V * D, 6), 'f16') as Uint16Array, 'f16');

export function turned(numbers: Float32Array, rows: number, columns: number): Float32Array {
  return Float32Array.from(numbers, (_, i) => numbers[(i % rows) * columns + Math.floor(i / rows)]);
}

export function plainEmbedding(graph: Graph): string {
  graph.tensor('embed', 'f32', [V, D], EMBEDDING);
  return graph.node('Gather', ['embed', 'input_ids']);
}

export const as = (type: 'f32' | 'f16' | 'bf16', numbers: Float32Array) => narrow(numbers, type);
export const exact = (numbers: Float32Array) => Float64Array.from(numbers);
export const weightDV = (graph: Graph, type: 'f32' | 'f16' = 'f32') =>
  graph.tensor('lm_head.weight', type, [D, V], as(type, turned(WEIGHT, V, D)));
