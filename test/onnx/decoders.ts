/** Small decoders with heads of every kind, as exporters write them. */

import { unpack } from '../../lib/dtypes/half';
import type { Folder } from '../support/folders';
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

type Options = Partial<Omit<Made, 'bytes'>> & {
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
    'tied by a copy, as a folded Transpose leaves it': decoder(
      (graph, hidden) =>
        graph.node('MatMul', [
          hidden,
          graph.tensor('onnx::MatMul_7', 'f32', [D, V], turned(EMBEDDING, V, D)),
        ]),
      { tied: true, mapped: true },
    ),
    'all but tied': decoder(
      (graph, hidden) => {
        const other = EMBEDDING.slice();
        other[V * D - 1] += 1;
        return graph.node('MatMul', [
          hidden,
          graph.tensor('onnx::MatMul_7', 'f32', [D, V], turned(other, V, D)),
        ]);
      },
      { weight: exact(EMBEDDING).map((x, i) => (i === V * D - 1 ? x + 1 : x)), mapped: false },
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
      { ...untied, dtype: 'f16', mapped: false },
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

/** Of a matrix [V,D] of integers, all that its graph has to have: (q − zero)·scale, for groups of a row. */
interface Levels {
  bits: number;
  group: number;
  scales: Float32Array;
  zeros: Uint8Array;
  q: Uint8Array;
  weight: Float64Array;
}

/** @param scaleOf from a number of [-1,1) @param zeroOf likewise; default half the range */
export function levels(
  bits: number,
  group: number,
  scaleOf: (x: number) => number,
  zeroOf: (x: number) => number = () => 2 ** (bits - 1),
): Levels {
  const groups = Math.ceil(D / group);
  const scales = Float32Array.from(someNumbers(V * groups, 21), scaleOf);
  const zeros = Uint8Array.from(someNumbers(V * groups, 22), zeroOf);
  const q = Uint8Array.from(someNumbers(V * D, 23), x => ((x + 1) / 2) * 2 ** bits);
  const weight = Float64Array.from(q, (level, i) => {
    const at = Math.floor(i / D) * groups + Math.floor((i % D) / group);
    return (level - zeros[at]) * scales[at];
  });
  return { bits, group, scales, zeros, q, weight };
}

/** Rows of `width` integers, each row from a byte of its own on, as many as make `columns`. */
function packed(q: Uint8Array, bits: number, width: number, columns = width): Uint8Array {
  const rows = q.length / width;
  const each = Math.ceil((columns * bits) / 8);
  const bytes = new Uint8Array(rows * each);
  q.forEach((level, i) => {
    const bit = (i % width) * bits;
    bytes[Math.floor(i / width) * each + (bit >> 3)] |= level << (bit & 7);
  });
  return bytes;
}

/** Scales that halves hold exactly, and such that they don't. */
const half = (x: number) => (Math.round(x * 64) || 1) / 512;
const single = (x: number) => (x + 1.5) / 97;

/** com.microsoft.MatMulNBits */
function nBits(
  { bits, group, scales, zeros, q, weight }: Levels,
  options: Options & {
    withZeros?: boolean;
    attributes?: Record<string, number>;
    after?: Parameters<typeof decoder>[0];
  } = {},
): Made {
  const { withZeros = false, attributes, after, ...rest } = options;
  const blocks = Math.ceil(D / group);
  return decoder(
    (graph, hidden) => {
      const { type = 'f32' } = rest;
      const inputs = [
        graph.tensor('B', 'u8', [V, blocks, (group * bits) / 8], packed(q, bits, D, blocks * group)),
        graph.tensor('scales', type, [V * blocks], type === 'f16' ? as('f16', scales) : scales),
      ];
      if (withZeros) {
        const bytes = packed(zeros, bits, blocks);
        inputs.push(graph.tensor('zeros', 'u8', [bytes.length], bytes));
      }
      const made = graph.node('com.microsoft.MatMulNBits', [hidden, ...inputs], {
        ...{ K: D, N: V, bits, block_size: group, ...attributes },
      });
      return after ? after(graph, made) : made;
    },
    { weight, pattern: 'com.microsoft.MatMulNBits', dtype: 'q4_0', mapped: false, ...rest },
  );
}

/**
 * Signed weights that onnxruntime multiplies exactly on every CPU: on x86 without VNNI it adds two products of unsigned and signed bytes
 * in 16 bits, which saturate where weights are beyond ±64.
 */
export const sevenBits = () => Int8Array.from(someNumbers(V * D, 31), x => Math.floor((x + 1) * 64) - 64);

/** DynamicQuantizeLinear, MatMulInteger and what follows; weights [d,V], or of rows behind a Transpose. */
function matMulInteger(
  type: 'u8' | 'i8',
  {
    q,
    zero,
    scales,
    rows = false,
    tied = false,
    dtype,
  }: { q: Int16Array; zero: number; scales: Float32Array; rows?: boolean; tied?: boolean; dtype: string },
): Made {
  const bytes = Int8Array.from(q);
  const weight = Float64Array.from(
    q,
    (level, i) => (level - zero) * scales[scales.length === 1 ? 0 : Math.floor(i / D)],
  );
  const store = (graph: Graph) => {
    if (rows || tied) graph.tensor('Wq', type, [V, D], bytes);
    else {
      const across = Int8Array.from(bytes, (_, i) => bytes[(i % V) * D + Math.floor(i / V)]);
      graph.tensor('Wq', type, [D, V], across);
    }
    graph.tensor('wzp', type, [], Int8Array.of(zero));
    graph.tensor('ws', 'f32', scales.length === 1 ? [] : [V], scales);
  };
  return decoder(
    (graph, hidden) => {
      if (!tied) store(graph);
      const outputs = ['hq', 'hs', 'hzp'];
      graph.node('DynamicQuantizeLinear', [hidden], { outputs });
      const by = rows || tied ? graph.node('Transpose', ['Wq'], { perm: [1, 0] }) : 'Wq';
      const product = graph.node('MatMulInteger', ['hq', by, 'hzp', 'wzp']);
      const factor = graph.node('Mul', ['hs', 'ws']);
      return graph.node('Mul', [graph.node('Cast', [product], { to: 1 }), factor]);
    },
    {
      ...{ weight, dtype, tied, mapped: false, pattern: 'MatMulInteger', tolerance: 0.05 },
      ...(tied && {
        embedding: weight,
        embed: (graph: Graph) => {
          store(graph);
          return graph.node('DequantizeLinear', [graph.node('Gather', ['Wq', 'input_ids']), 'ws', 'wzp']);
        },
      }),
    },
  );
}

/** MatMul of DequantizeLinear's numbers, stored [d,V], or as rows behind a Transpose. */
function qdq(type: 'i4' | 'u4' | 'i8' | 'u8', block: number, rows: boolean, options: Options): Made {
  const bits = type.endsWith('4') ? 4 : 8;
  const { q, scales, zeros } = levels(bits, block || D, half, x =>
    type.startsWith('i') ? 2 ** (bits - 1) : 2 ** (bits - 1) + 3 * x,
  );
  const offset = type.startsWith('i') ? 2 ** (bits - 1) : 0;
  const groups = D / (block || D);
  const zeroAt = (v: number, g: number) => zeros[v * groups + g] - offset;
  const weight = Float64Array.from(q, (level, i) => {
    const [v, g] = [Math.floor(i / D), Math.floor((i % D) / (block || D))];
    return (level - offset - zeroAt(v, g)) * scales[v * groups + g];
  });
  const across = <T extends Float32Array | Uint8Array>(list: T, columns: number): T =>
    (rows ? list : list.map((_, i) => list[(i % V) * columns + Math.floor(i / V)])) as T;
  return decoder(
    (graph, hidden) => {
      const integers = across(
        q.map(level => (level - offset) & (2 ** bits - 1)),
        D,
      );
      const dims = rows ? [V, D] : [D, V];
      graph.tensor('Wq', type, dims, bits === 8 ? integers : packed(integers, 4, integers.length));
      const shape = block === 0 ? [V] : rows ? [V, groups] : [groups, V];
      graph.tensor('ws', 'f32', shape, across(scales, groups));
      const zero = across(
        zeros.map(each => (each - offset) & (2 ** bits - 1)),
        groups,
      );
      graph.tensor('wzp', type, shape, bits === 8 ? zero : packed(zero, 4, zero.length));
      const axis = (block === 0) === rows ? 0 : 1;
      const attributes: Record<string, number> =
        block === 0 ? { axis } : { axis: rows ? 1 : 0, block_size: block };
      const numbers = graph.node('DequantizeLinear', ['Wq', 'ws', 'wzp'], attributes);
      return graph.node('MatMul', [
        hidden,
        rows ? graph.node('Transpose', [numbers], { perm: [1, 0] }) : numbers,
      ]);
    },
    { weight, mapped: false, pattern: 'MatMul of DequantizeLinear', ...options },
  );
}

/** Weights of integers. */
export function quantizedDecoders(): Record<string, Made> {
  const q4 = levels(4, 32, half);
  const tied = levels(4, 32, half, x => 8 + 4 * x);
  const unsigned = () => Int16Array.from(someNumbers(V * D, 31), x => Math.floor((x + 1) * 128));
  const bias = someNumbers(V, 7);
  const perRow = Float32Array.from(someNumbers(V, 8), single);
  return {
    'MatMulNBits of 4 bits': nBits(q4),
    'with scales that halves don’t hold': nBits(levels(4, 32, single), {
      maxWeightError: 8 * 2 ** -17,
      tolerance: 1e-3,
    }),
    'in f16': nBits(q4, {
      ...{ type: 'f16', tolerance: 1e-3, embed: halfEmbedding },
      after: (graph, made) => graph.node('Cast', [made], { to: 1 }),
    }),
    'blocks of 64': nBits(levels(4, 64, half)),
    'blocks of 128, longer than a row': nBits(levels(4, 128, half)),
    'blocks of 16': nBits(levels(4, 16, half), { dtype: 'f32' }),
    'with zero points': nBits(
      levels(4, 32, half, x => 8 + 4 * x),
      { withZeros: true, dtype: 'q4_1' },
    ),
    'with zero points, and scales of 11 bits': nBits(
      levels(
        4,
        32,
        x => (1024 + Math.round(x * 500)) / 2 ** 17,
        x => 8 + 4 * x,
      ),
      { withZeros: true, dtype: 'q8_0' },
    ),
    'with zero points, and scales that halves don’t hold': nBits(
      levels(4, 32, single, x => 8 + 4 * x),
      {
        ...{ withZeros: true, dtype: 'q4_1', maxWeightError: 2 ** -12, tolerance: 1e-3 },
      },
    ),
    'of 8 bits': nBits(levels(8, 32, half), { dtype: 'q8_0' }),
    'of 8 bits, a block a row, with a bias': nBits(levels(8, 64, single), {
      dtype: 'i8',
      after: (graph, made) => graph.node('Add', [made, graph.tensor('b', 'f32', [V], bias)]),
      ...{ of: (x, id) => x + bias[id], pattern: 'com.microsoft.MatMulNBits + bias' },
    }),
    'of 8 bits, with zero points': nBits(
      levels(8, 32, half, x => 128 + 20 * x),
      { withZeros: true, dtype: 'f32' },
    ),
    'accuracy level 4': nBits(q4, { attributes: { accuracy_level: 4 }, tolerance: 0.05 }),
    'tied by GatherBlockQuantized': nBits(tied, {
      ...{ withZeros: true, dtype: 'q4_1', tied: true, embedding: tied.weight },
      embed: graph => {
        const rows = graph.node('Reshape', ['B', graph.ints(V, D / 2)]);
        const sides = ['scales', 'zeros'].map(name => graph.node('Reshape', [name, graph.ints(V, -1)]));
        return graph.node('com.microsoft.GatherBlockQuantized', [rows, 'input_ids', ...sides], {
          ...{ bits: 4, block_size: 32, gather_axis: 0, quantize_axis: 1 },
        });
      },
    }),
    'MatMulInteger, i8': matMulInteger('i8', {
      q: Int16Array.from(sevenBits()),
      zero: 0,
      scales: Float32Array.of(0.0117),
      dtype: 'i8',
    }),
    'MatMulInteger, u8 about its middle': matMulInteger('u8', {
      q: unsigned(),
      zero: 128,
      scales: Float32Array.of(0.0117),
      dtype: 'i8',
    }),
    'MatMulInteger, u8': matMulInteger('u8', {
      q: unsigned(),
      zero: 113,
      scales: Float32Array.of(0.0117),
      dtype: 'bf16',
    }),
    'MatMulInteger, a scale a token': matMulInteger('i8', {
      q: Int16Array.from(sevenBits()),
      zero: 0,
      scales: perRow,
      rows: true,
      dtype: 'i8',
    }),
    'MatMulInteger, tied': matMulInteger('u8', {
      q: unsigned(),
      zero: 113,
      scales: Float32Array.of(0.0117),
      tied: true,
      dtype: 'bf16',
    }),
    'DequantizeLinear, blocks of 4 bits': qdq('i4', 32, false, { dtype: 'q4_0', tolerance: 0.05 }),
    'DequantizeLinear, blocks of 4 bits with zero points, rows': qdq('u4', 32, true, {
      dtype: 'q4_1',
      tolerance: 0.05,
    }),
    'DequantizeLinear, 8 bits': qdq('i8', 0, false, { dtype: 'i8', tolerance: 0.05 }),
    'DequantizeLinear, 8 bits of rows': qdq('i8', 0, true, { dtype: 'i8', tolerance: 0.05 }),
  };
}

function halfEmbedding(graph: Graph): string {
  graph.tensor('embed', 'f16', [V, D], as('f16', EMBEDDING));
  return graph.node('Gather', ['embed', 'input_ids']);
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

/** Of every kind, by name. */
export function everyDecoder(): Record<string, Made> {
  return { ...floatDecoders(), ...quantizedDecoders(), 'a merged decoder': mergedDecoder() };
}

/** Writes one into a folder of its own name there. @returns the path of its graph */
export function writeDecoder(folder: Folder, name: string, { bytes, beside }: Made): string {
  const own = name.replace(/\W+/g, '-');
  for (const [file, contents] of Object.entries(beside)) folder.file(`${own}/${file}`, contents);
  return folder.file(`${own}/model.onnx`, bytes);
}
