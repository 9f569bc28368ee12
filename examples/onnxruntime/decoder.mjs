/**
 * The small language model of examples/tiny-lm as an ONNX model, with its head or without. As exporters make decoders, it has a cache: it
 * reads the tokens that are new, and takes the keys and values of those before them, which it has given.
 */
import { EMBEDDING, FINAL_NORM, layerNames, POSITIONS } from '../tiny-lm/model.mjs';
import { Graph } from './onnx.mjs';

const NONE = Number.NEGATIVE_INFINITY;

/**
 * @param {import('../tiny-lm/model.mjs').Model} model
 * @param {boolean} withHead
 * @param {Float32Array} [bias] [V], added to the logits
 * @returns {Buffer} a model from `input_ids` and `position_ids` [batch,T], `attention_mask` [batch,past+T] and, for each layer i,
 *   `past_key_values.i.key` and `.value` [batch,heads,past,d/heads], to `logits` [batch,T,V], or without its head to
 *   `last_hidden_state` [batch,T,d], and to `present.i.key` and `.value` [batch,heads,past+T,d/heads]
 */
export function decoder({ config, tensors }, withHead, bias) {
  const { hiddenSize: d, layers, heads, eps, vocabSize } = config;
  const graph = new Graph();
  const tensor = name => graph.floats(tensors[name].values, tensors[name].shape);
  const number = value => graph.floats(Float32Array.of(value), []);
  const epsilon = number(eps);

  /** x/√(mean(x²) + eps)·weight */
  const norm = (x, name, output) => {
    const square = graph.node('Mul', [x, x]);
    const mean = graph.node('ReduceMean', [square], { axes: [-1], keepdims: 1 });
    const root = graph.node('Sqrt', [graph.node('Add', [mean, epsilon])]);
    return graph.node('Mul', [graph.node('Div', [x, root]), tensor(name)], {}, output);
  };
  /** x·Wᵀ with W [outputs, inputs] */
  const product = (x, weight, output) =>
    graph.node('MatMul', [x, graph.node('Transpose', [weight], { perm: [1, 0] })], {}, output);
  const linear = (x, name) => product(x, tensor(name));

  const embedding = tensor(EMBEDDING);
  const ids = graph.input('input_ids', ['batch', 'T']);
  const mask = graph.input('attention_mask', ['batch', 'past + T']);
  const positions = graph.input('position_ids', ['batch', 'T']);
  const sizeOf = (x, axis) => graph.node('Gather', [graph.node('Shape', [x]), graph.ints([axis], [])]);
  const [zero, one] = [graph.ints([0], []), graph.ints([1], [])];
  const all = sizeOf(mask, 1);
  const places = graph.node('Range', [zero, all, one]);
  const own = graph.node('Range', [graph.node('Sub', [all, sizeOf(ids, 1)]), all, one]);
  /** [T, past + T]: 0 where a position may look, and −∞ at what comes after it. */
  const later = graph.node('Greater', [
    graph.node('Unsqueeze', [places, graph.ints([0])]),
    graph.node('Unsqueeze', [own, graph.ints([1])]),
  ]);
  const causal = graph.node('Where', [later, number(NONE), number(0)]);
  /** [batch, 1, 1, past + T]: the same for padding. */
  const padding = graph.node('Unsqueeze', [
    graph.node('Where', [graph.node('Equal', [mask, zero]), number(NONE), number(0)]),
    graph.ints([1, 2]),
  ]);
  const looks = graph.node('Add', [padding, causal]);

  /** [batch, T, d] to [batch, heads, T, d/heads] */
  const split = x =>
    graph.node('Transpose', [graph.node('Reshape', [x, graph.ints([0, 0, heads, d / heads])])], {
      perm: [0, 2, 1, 3],
    });
  /** What was there before, and what is new behind it: the next token's past. */
  const grown = (x, layer, kind) => {
    const past = graph.floatInput(`past_key_values.${layer}.${kind}`, ['batch', heads, 'past', d / heads]);
    const present = `present.${layer}.${kind}`;
    graph.node('Concat', [past, split(x)], { axis: 2 }, present);
    graph.output(present, ['batch', heads, 'past + T', d / heads]);
    return present;
  };
  const attention = (x, names, layer) => {
    const query = split(linear(x, names.query));
    const key = grown(linear(x, names.key), layer, 'key');
    const value = grown(linear(x, names.value), layer, 'value');
    const turned = graph.node('Transpose', [key], { perm: [0, 1, 3, 2] });
    const scores = graph.node('Mul', [
      graph.node('MatMul', [query, turned]),
      number(1 / Math.sqrt(d / heads)),
    ]);
    const weights = graph.node('Softmax', [graph.node('Add', [scores, looks])], { axis: -1 });
    const mixed = graph.node('Transpose', [graph.node('MatMul', [weights, value])], { perm: [0, 2, 1, 3] });
    return linear(graph.node('Reshape', [mixed, graph.ints([0, 0, d])]), names.output);
  };

  let hidden = graph.node('Add', [
    graph.node('Gather', [embedding, ids]),
    graph.node('Gather', [tensor(POSITIONS), positions]),
  ]);
  for (let i = 0; i < layers; i++) {
    const names = layerNames(i);
    hidden = graph.node('Add', [hidden, attention(norm(hidden, names.attentionNorm), names, i)]);
    const active = graph.node('Relu', [linear(norm(hidden, names.feedForwardNorm), names.up)]);
    hidden = graph.node('Add', [hidden, linear(active, names.down)]);
  }
  if (withHead) {
    const logits = product(norm(hidden, FINAL_NORM), embedding, bias ? undefined : 'logits');
    if (bias) graph.node('Add', [logits, graph.floats(bias, [vocabSize])], {}, 'logits');
    graph.output('logits', ['batch', 'T', vocabSize]);
  } else {
    norm(hidden, FINAL_NORM, 'last_hidden_state');
    graph.output('last_hidden_state', ['batch', 'T', d]);
  }
  return graph.model();
}
