/**
 * Writes decoders of the widths of real ones, with random weights and few layers: rotary grouped attention, a gated feed-forward, RMS norms, and a head
 * tied to the input embedding. The layers are of 4 bits in each; what differs is the head.
 */
import { Graph } from './graph.mjs';

/** Blocks of com.microsoft's operators of a few bits. */
const BLOCK = 32;
const MOST_TOKENS = 4096;

/**
 * @typedef {object} Widths
 * @property {number} vocabSize
 * @property {number} hiddenSize
 * @property {number} heads
 * @property {number} keyHeads
 * @property {number} feedForward
 * @property {number} layers
 *
 * @param {string} path of the .onnx file
 * @param {Widths} widths
 * @param {{ type: 'f32' | 'q8' | 'q4', accuracy?: number }} head q8: as transformers.js quantizes, behind a rounding of the states; q4: MatMulNBits
 */
export function writeDecoder(path, widths, head) {
  const { vocabSize, hiddenSize: d, heads, keyHeads, feedForward, layers } = widths;
  const size = d / heads;
  const graph = new Graph(path);
  const ids = graph.input('input_ids', 'int64', ['batch', 'T']);
  const mask = graph.input('attention_mask', 'int64', ['batch', 'total']);
  const ones = graph.tensor('float', [d], new Float32Array(d).fill(1));
  const norm = x =>
    graph.node('SimplifiedLayerNormalization', [x, ones], { axis: -1, epsilon: { float: 1e-5 } });
  const linear = (x, from, to) => nibbleProduct(graph, x, nibbles(graph, to, from, 1), from, to, 4);
  const int32 = x => graph.node('Cast', [x], { to: 6 });
  const before = int32(
    graph.node('Sub', [graph.node('ReduceSum', [mask, graph.ints([1])], { keepdims: 0 }), graph.ints([1])]),
  );
  const total = int32(graph.node('Gather', [graph.node('Shape', [mask]), graph.ints([1], [])]));
  const rotary = [Math.cos, Math.sin].map(of =>
    graph.tensor(
      'float',
      [MOST_TOKENS, size / 2],
      Float32Array.from({ length: (MOST_TOKENS * size) / 2 }, (_, i) => {
        const [place, pair] = [Math.floor(i / (size / 2)), i % (size / 2)];
        return of(place / 1e6 ** ((2 * pair) / size));
      }),
    ),
  );
  const attention = (x, layer) => {
    const wide = keyHeads * size;
    const caches = ['key', 'value'].map(kind => {
      const past = `past_key_values.${layer}.${kind}`;
      graph.output(`present.${layer}.${kind}`, 'float', ['batch', keyHeads, 'total', size]);
      return graph.input(past, 'float', ['batch', keyHeads, 'past', size]);
    });
    const taken = [linear(x, d, d), linear(x, d, wide), linear(x, d, wide), ...caches, before, total];
    const mixed = graph.node(
      'com.microsoft/GroupQueryAttention',
      [...taken, ...rotary],
      { num_heads: heads, kv_num_heads: keyHeads, do_rotary: 1 },
      [`mixed.${layer}`, `present.${layer}.key`, `present.${layer}.value`],
    );
    return linear(mixed, d, d);
  };

  const { embedded, logitsOf } = ends[head.type](graph, ids, vocabSize, d, head.accuracy);
  let hidden = embedded;
  for (let i = 0; i < layers; i++) {
    hidden = graph.node('Add', [hidden, attention(norm(hidden), i)]);
    const x = norm(hidden);
    const gate = linear(x, d, feedForward);
    const gated = graph.node('Mul', [gate, graph.node('Sigmoid', [gate])]);
    const active = graph.node('Mul', [gated, linear(x, d, feedForward)]);
    hidden = graph.node('Add', [hidden, linear(active, feedForward, d)]);
  }
  logitsOf(norm(hidden));
  graph.output('logits', 'float', ['batch', 'T', vocabSize]);
  graph.close();
}

/** Random weights of 4 bits in blocks. @param {number} spread of what they make of numbers of spread 1 */
function nibbles(graph, rows, columns, spread) {
  const blocks = columns / BLOCK;
  const scale = 2 ** Math.round(Math.log2(spread / (4.6 * Math.sqrt(columns))));
  return [
    graph.random('uint8', [rows, blocks, BLOCK / 2], integer => integer >> 24),
    // Such as halves hold exactly.
    graph.random('float', [rows * blocks], integer => scale * (1 + (integer >>> 28) / 64)),
  ];
}

function nibbleProduct(graph, x, weights, from, to, accuracy, outputs = undefined) {
  const attributes = { K: from, N: to, bits: 4, block_size: BLOCK, accuracy_level: accuracy };
  return graph.node('com.microsoft/MatMulNBits', [x, ...weights], attributes, outputs);
}

/** Both ends of a decoder: the rows of its tokens, and its logits. Logits have a spread of 2 or so. */
const ends = {
  f32(graph, ids, V, d) {
    const scale = Math.sqrt(12 / d) / 2 ** 31;
    const matrix = graph.random('float', [V, d], integer => integer * scale);
    return {
      embedded: graph.node('Gather', [matrix, ids]),
      logitsOf: hidden =>
        graph.node('MatMul', [hidden, graph.node('Transpose', [matrix], { perm: [1, 0] })], {}, ['logits']),
    };
  },

  q8(graph, ids, V, d) {
    const matrix = graph.random('uint8', [V, d], integer => integer >>> 24);
    const scale = graph.float(2 / (74 * Math.sqrt(d)));
    const zero = graph.tensor('uint8', [], Uint8Array.of(128));
    return {
      embedded: graph.node('DequantizeLinear', [graph.node('Gather', [matrix, ids]), scale, zero]),
      logitsOf(hidden) {
        const [rounded, its, zeroOf] = ['rounded', 'its', 'zeroOf'];
        graph.node('DynamicQuantizeLinear', [hidden], {}, [rounded, its, zeroOf]);
        const turned = graph.node('Transpose', [matrix], { perm: [1, 0] });
        const product = graph.node('MatMulInteger', [rounded, turned, zeroOf, zero]);
        const both = graph.node('Mul', [its, scale]);
        graph.node('Mul', [graph.node('Cast', [product], { to: 1 }), both], {}, ['logits']);
      },
    };
  },

  q4(graph, ids, V, d, accuracy) {
    const [matrix, scales] = nibbles(graph, V, d, 2);
    const rows = graph.node('Reshape', [matrix, graph.ints([V, d / 2])]);
    const scaleRows = graph.node('Reshape', [scales, graph.ints([V, d / BLOCK])]);
    const attributes = { bits: 4, block_size: BLOCK, gather_axis: 0, quantize_axis: 1 };
    return {
      embedded: graph.node('com.microsoft/GatherBlockQuantized', [rows, ids, scaleRows], attributes),
      logitsOf: hidden => nibbleProduct(graph, hidden, [matrix, scales], d, V, accuracy, ['logits']),
    };
  },
};
