/** Decoders whose heads are of integers, as quantizers write them. */
import { someNumbers } from '../support/numbers';
import type { Graph } from '../support/onnx';

import { as, D, decoder, EMBEDDING, type Made, type Options, V } from './decoder-graph';

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
