/** Heads that exporters write less often: other places of numbers, odd sizes, what is left out. */
import { narrow } from '../support/half';
import { someNumbers } from '../support/numbers';
import { type Graph, type TypeName, tensor } from '../support/onnx';
import { D, decoder, type Made, turned, V, WEIGHT } from './decoder-graph';
import { sevenBits } from './quantized-decoders';

type Ending = Parameters<typeof decoder>[0];
type Options = NonNullable<Parameters<typeof decoder>[1]>;

const exact = (numbers: Float32Array) => Float64Array.from(numbers);
const weightVD = (graph: Graph) => graph.tensor('lm_head.weight', 'f32', [V, D], WEIGHT);
const timesRows = (graph: Graph, hidden: string, rows: string) =>
  graph.node('MatMul', [hidden, graph.node('Transpose', [rows], { perm: [1, 0] })]);
const untied = (ending: Ending, options: Options = {}) =>
  decoder(ending, { weight: exact(WEIGHT), mapped: false, ...options });

/** Of rows [V,d] in blocks: integers, scales that halves hold, zero points; and what they stand for. */
function blocks(bits: number, block: number, d: number, zeroOf: (x: number) => number) {
  const groups = Math.ceil(d / block);
  const scales = Float32Array.from(someNumbers(V * groups, 41), x => (Math.round(x * 64) || 1) / 512);
  const zeros = Float32Array.from(someNumbers(V * groups, 42), zeroOf);
  const q = Uint8Array.from(someNumbers(V * d, 43), x => ((x + 1) / 2) * 2 ** bits);
  const weight = Float64Array.from(q, (level, i) => {
    const at = Math.floor(i / d) * groups + Math.floor((i % d) / block);
    return (level - zeros[at]) * scales[at];
  });
  return { bits, block, d, groups, scales, zeros, q, weight };
}
type Blocks = ReturnType<typeof blocks>;

/** Rows of integers, each in bytes of its own. */
function packed(q: ArrayLike<number>, bits: number, width: number, padded = width): Uint8Array {
  const each = Math.ceil((padded * bits) / 8);
  const bytes = new Uint8Array((q.length / width) * each);
  for (let i = 0; i < q.length; i++) {
    const bit = (i % width) * bits;
    bytes[Math.floor(i / width) * each + (bit >> 3)] |= q[i] << (bit & 7);
  }
  return bytes;
}

const middle = (bits: number) => () => 2 ** (bits - 1);

function nBits(
  { bits, block, d, groups, scales, zeros, q, weight }: Blocks,
  zeroType: 'none' | 'packed' | 'numbers',
  options: Options & { bias?: Float32Array } = {},
): Made {
  const { bias, ...rest } = options;
  const embedding = someNumbers(V * d, 44);
  return decoder(
    (graph, hidden) => {
      const inputs = [
        hidden,
        graph.tensor('B', 'u8', [V, groups, (block * bits) / 8], packed(q, bits, d, groups * block)),
        graph.tensor('scales', 'f32', [V, groups], scales),
      ];
      if (zeroType === 'packed') {
        const bytes = packed(zeros, bits, groups);
        inputs.push(graph.tensor('zeros', 'u8', [V, bytes.length / V], bytes));
      } else if (zeroType === 'numbers') inputs.push(graph.tensor('zeros', 'f32', [V, groups], zeros));
      if (bias) {
        while (inputs.length < 5) inputs.push('');
        inputs.push(graph.tensor('bias', 'f32', [V], bias));
      }
      return graph.node('com.microsoft.MatMulNBits', inputs, { K: d, N: V, bits, block_size: block });
    },
    {
      ...{ d, weight, embedding: exact(embedding), mapped: false, pattern: 'com.microsoft.MatMulNBits' },
      embed: graph => {
        graph.tensor('embed', 'f32', [V, d], embedding);
        return graph.node('Gather', ['embed', 'input_ids']);
      },
      ...rest,
    },
  );
}

/** An embedding in blocks, of a head that is another. */
function gathered(
  type: TypeName,
  { bits, block, groups, scales, zeros, q, weight }: Blocks,
  withZeros: boolean,
): Made {
  const integers = Uint8Array.from(q, level => (type === 'i4' ? level - 8 : level) & (2 ** bits - 1));
  const bytes = bits === 8 ? integers : packed(integers, bits, D);
  return untied((graph, hidden) => timesRows(graph, hidden, weightVD(graph)), {
    ...{ mapped: true, embedding: weight },
    embed: graph => {
      const width = type === 'u8' ? (D * bits) / 8 : D;
      const inputs = [
        graph.tensor('table', type, [V, width], bytes),
        'input_ids',
        graph.tensor('table_scales', 'f32', [V, groups], scales),
      ];
      if (withZeros) {
        const dims = type === 'u8' ? [V, Math.ceil((groups * bits) / 8)] : [V, groups];
        const signed = Uint8Array.from(zeros, zero => (type === 'i4' ? zero - 8 : zero) & (2 ** bits - 1));
        inputs.push(graph.tensor('table_zeros', type, dims, packed(signed, bits, groups)));
      }
      return graph.node('com.microsoft.GatherBlockQuantized', inputs, {
        ...{ block_size: block, gather_axis: 0, quantize_axis: 1, ...(type === 'u8' && { bits }) },
      });
    },
  });
}

const integers = sevenBits();
const perRow = Float32Array.from(someNumbers(V, 8), x => (x + 1.5) / 97);
const integerWeight = Float64Array.from(integers, (level, i) => level * perRow[Math.floor(i / D)]);
const acrossInteger = (graph: Graph) =>
  graph.tensor(
    'Wq',
    'i8',
    [D, V],
    Int8Array.from(integers, (_, i) => integers[(i % V) * D + Math.floor(i / V)]),
  );

export function oddDecoders(): Record<string, Made> {
  const bias = someNumbers(V, 7);
  return {
    'operators of ai.onnx by its name': untied(
      (graph, hidden) => {
        const rows = graph.node('ai.onnx.Transpose', [weightVD(graph)], { perm: [1, 0] });
        return graph.node('ai.onnx.Identity', [graph.node('ai.onnx.MatMul', [hidden, rows])]);
      },
      { mapped: true },
    ),
    'bf16, cast to f32': untied(
      (graph, hidden) => {
        const words = narrow(WEIGHT, 'bf16');
        return timesRows(
          graph,
          hidden,
          graph.node('Cast', [graph.tensor('W', 'bf16', [V, D], words)], { to: 1 }),
        );
      },
      {
        weight: Float64Array.from(narrow(WEIGHT, 'bf16'), word => {
          const numbers = new Float32Array(Uint32Array.of(word << 16).buffer);
          return numbers[0];
        }),
        ...{ mapped: true, dtype: 'bf16' },
      },
    ),
    'f64, cast to f32': untied((graph, hidden) =>
      timesRows(
        graph,
        hidden,
        graph.node('Cast', [graph.tensor('W', 'f64', [V, D], exact(WEIGHT))], { to: 1 }),
      ),
    ),
    'a Constant, and a bias of another': untied(
      (graph, hidden) => {
        const rows = graph.node('Constant', [], { value: { tensor: tensor('', 'f32', [V, D], WEIGHT) } });
        const its = graph.node('Constant', [], { value: { tensor: tensor('', 'f32', [1, 1, V], bias) } });
        return graph.node('Add', [its, timesRows(graph, hidden, rows)]);
      },
      { mapped: true, of: (x, id) => x + bias[id], pattern: 'MatMul + bias' },
    ),
    'Gemm of [d,V], with a bias of [1,V]': untied(
      (graph, hidden) => {
        const rows = graph.node('Reshape', [hidden, graph.ints(-1, D)]);
        graph.says(hidden, 'f32', ['batch', 'seq', D]);
        const inputs = [
          rows,
          graph.tensor('W', 'f32', [D, V], turned(WEIGHT, V, D)),
          graph.tensor('b', 'f32', [1, V], bias),
        ];
        const shape = graph.node('Concat', [graph.node('Shape', ['input_ids']), graph.ints(V)], { axis: 0 });
        return graph.node('Reshape', [graph.node('Gemm', inputs), shape]);
      },
      { of: (x, id) => x + bias[id], pattern: 'Gemm + bias' },
    ),
    'masked by no number below': untied(
      (graph, hidden) => {
        const mask = graph.tensor(
          'mask',
          'bool',
          [V],
          Uint8Array.from(bias, (_, i) => Number(i % 7 !== 3)),
        );
        const logits = timesRows(graph, hidden, weightVD(graph));
        return graph.node('Where', [mask, logits, graph.floats([], Number.NEGATIVE_INFINITY)]);
      },
      {
        ...{ mapped: true, pattern: 'MatMul + mask' },
        of: (x, id) => (id % 7 === 3 ? Number.NEGATIVE_INFINITY : x),
      },
    ),
    'rows that end within a block': nBits(blocks(4, 32, 80, middle(4)), 'none'),
    'an odd number of blocks, with zero points': nBits(
      blocks(4, 32, 96, x => Math.round(8 + 4 * x)),
      'packed',
      { dtype: 'q4_1' },
    ),
    'zero points that are numbers': nBits(
      blocks(4, 32, 64, x => Math.round(8 + 4 * x)),
      'numbers',
      { dtype: 'q4_1' },
    ),
    'zero points between integers': nBits(
      blocks(4, 32, 64, x => 8 + Math.round(16 * x) / 4),
      'numbers',
    ),
    'with a bias of its own': nBits(blocks(4, 32, 64, middle(4)), 'none', {
      ...{ bias, dtype: 'q4_0', of: (x, id) => x + bias[id], pattern: 'com.microsoft.MatMulNBits + bias' },
    }),
    'tied, by DequantizeLinear': decoder((graph, hidden) => timesRows(graph, hidden, 'table'), {
      embed: graph => {
        const { q, scales } = rowScaled;
        const inputs = [
          graph.tensor('Wq', 'u8', [V, D], q),
          graph.tensor('ws', 'f32', [V], scales),
          graph.tensor('wzp', 'u8', [V], new Uint8Array(V).fill(128)),
        ];
        graph.node('DequantizeLinear', inputs, { axis: 0, outputs: ['table'] });
        return graph.node('Gather', ['table', 'input_ids']);
      },
      ...{ weight: rowScaled.weight, embedding: rowScaled.weight, tied: true, dtype: 'i8', mapped: false },
      ...{ pattern: 'MatMul of DequantizeLinear', tolerance: 0.05 },
    }),
    'an embedding of 4 bits': gathered('u8', blocks(4, 32, D, middle(4)), false),
    'an embedding of 4 bits, with zero points': gathered(
      'u8',
      blocks(4, 32, D, x => Math.round(8 + 4 * x)),
      true,
    ),
    'an embedding of i4': gathered('i4', blocks(4, 32, D, middle(4)), false),
    'an embedding of u4': gathered(
      'u4',
      blocks(4, 32, D, () => 0),
      false,
    ),
    'an embedding of u4, with zero points': gathered(
      'u4',
      blocks(4, 32, D, x => Math.round(8 + 4 * x)),
      true,
    ),
    'an embedding of 8 bits': gathered('u8', blocks(8, 32, D, middle(8)), false),
    MatMulIntegerToFloat: untied(
      (graph, hidden) => {
        graph.node('DynamicQuantizeLinear', [hidden], { outputs: ['hq', 'hs', 'hzp'] });
        const weight = [acrossInteger(graph), 'hs', graph.tensor('ws', 'f32', [V], perRow), 'hzp', ''];
        const its = graph.tensor('b', 'f32', [V], bias);
        return graph.node('com.microsoft.MatMulIntegerToFloat', ['hq', ...weight, its]);
      },
      {
        ...{ weight: integerWeight, dtype: 'i8', tolerance: 0.05, of: (x, id) => x + bias[id] },
        pattern: 'com.microsoft.MatMulIntegerToFloat + bias',
      },
    ),
    DynamicQuantizeMatMul: untied(
      (graph, hidden) => {
        const inputs = [hidden, acrossInteger(graph), graph.tensor('ws', 'f32', [V], perRow)];
        return graph.node('com.microsoft.DynamicQuantizeMatMul', inputs);
      },
      {
        ...{ weight: integerWeight, dtype: 'i8', tolerance: 0.05 },
        pattern: 'com.microsoft.DynamicQuantizeMatMul',
      },
    ),
    'integers in a field of their own': untied(
      (graph, hidden) => {
        const signed = Array.from(integers);
        graph.tensor('Wq', 'i8', [V, D], Int32Array.from(signed) as never, 'integers');
        graph.tensor('ws', 'f32', [], Float32Array.of(0.0117));
        graph.node('DynamicQuantizeLinear', [hidden], { outputs: ['hq', 'hs', 'hzp'] });
        const product = graph.node('MatMulInteger', ['hq', graph.node('Transpose', ['Wq']), 'hzp']);
        const factor = graph.node('Mul', ['hs', 'ws']);
        return graph.node('Mul', [factor, graph.node('Cast', [product], { to: 1 })]);
      },
      {
        weight: Float64Array.from(integers, level => level * Math.fround(0.0117)),
        ...{ dtype: 'i8', tolerance: 0.05, pattern: 'MatMulInteger' },
      },
    ),
  };
}

/** What the format has and onnxruntime-node 1.30 does not run on every CPU, or ends the process at. */
export function unrunDecoders(): Record<string, Made> {
  return {
    'of 2 bits': nBits(blocks(2, 32, 64, middle(2)), 'none', { dtype: 'q4_0' }),
    'of 8 bits, zero points that are numbers': nBits(blocks(8, 32, 64, middle(8)), 'numbers', {
      dtype: 'q8_0',
    }),
  };
}

const rowScaled = (() => {
  const { q } = blocks(8, D, D, middle(8));
  const weight = Float64Array.from(q, (level, i) => (level - 128) * perRow[Math.floor(i / D)]);
  return { q, scales: perRow, weight };
})();
