/** The small language model of examples/tiny-lm as an ONNX model, with its head or without. */
import { EMBEDDING, FINAL_NORM, layerNames, POSITIONS } from '../tiny-lm/model.mjs';
import { Graph } from './onnx.mjs';

/**
 * @param {import('../tiny-lm/model.mjs').Model} model
 * @param {boolean} withHead
 * @returns {Buffer} a model from `input_ids` [T] to `logits` [T,V], or without its head to `last_hidden_state` [T,d]
 */
export function decoder({ config, tensors }, withHead) {
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
  const linear = (x, name) => graph.node('Gemm', [x, tensor(name)], { transB: 1 });

  const embedding = tensor(EMBEDDING);
  const ids = graph.input('input_ids', 'T');
  const length = graph.node('Squeeze', [graph.node('Shape', [ids])]);
  const places = graph.node('Range', [graph.ints([0], []), length, graph.ints([1], [])]);
  /** [T,T]: 0 where a position may look, and −∞ at what comes after it. */
  const later = graph.node('Greater', [
    graph.node('Unsqueeze', [places, graph.ints([0])]),
    graph.node('Unsqueeze', [places, graph.ints([1])]),
  ]);
  const mask = graph.node('Where', [later, number(Number.NEGATIVE_INFINITY), number(0)]);

  /** [T,d] to [heads, T, d/heads], or its axes in another order. */
  const split = (x, perm) =>
    graph.node('Transpose', [graph.node('Reshape', [x, graph.ints([-1, heads, d / heads])])], { perm });
  const attention = (x, names) => {
    const query = split(linear(x, names.query), [1, 0, 2]);
    const key = split(linear(x, names.key), [1, 2, 0]);
    const value = split(linear(x, names.value), [1, 0, 2]);
    const scores = graph.node('Mul', [graph.node('MatMul', [query, key]), number(1 / Math.sqrt(d / heads))]);
    const weights = graph.node('Softmax', [graph.node('Add', [scores, mask])], { axis: -1 });
    const mixed = graph.node('Transpose', [graph.node('MatMul', [weights, value])], { perm: [1, 0, 2] });
    return linear(graph.node('Reshape', [mixed, graph.ints([-1, d])]), names.output);
  };

  let hidden = graph.node('Add', [
    graph.node('Gather', [embedding, ids]),
    graph.node('Gather', [tensor(POSITIONS), places]),
  ]);
  for (let i = 0; i < layers; i++) {
    const names = layerNames(i);
    hidden = graph.node('Add', [hidden, attention(norm(hidden, names.attentionNorm), names)]);
    const active = graph.node('Relu', [linear(norm(hidden, names.feedForwardNorm), names.up)]);
    hidden = graph.node('Add', [hidden, linear(active, names.down)]);
  }
  if (withHead) {
    graph.node('Gemm', [norm(hidden, FINAL_NORM), embedding], { transB: 1 }, 'logits');
    graph.output('logits', ['T', vocabSize]);
  } else {
    norm(hidden, FINAL_NORM, 'last_hidden_state');
    graph.output('last_hidden_state', ['T', d]);
  }
  return graph.model();
}
