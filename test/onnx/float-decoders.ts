/** Decoders whose heads are plain or tied floats, and what may follow the product. */
import { someNumbers } from '../support/numbers';
import type { Graph } from '../support/onnx';

import { as, D, decoder, EMBEDDING, exact, type Made, turned, V, WEIGHT, weightDV } from './decoder-graph';

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
