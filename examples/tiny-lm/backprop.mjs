/**
 * Training's reader: the loss of a batch of stories, and how it changes with every number of the model.
 *
 * All stories of a batch lie one behind another as rows [n,d], so that everything but attention treats them alike. In the
 * names, dX is how the loss changes with X.
 */
import { LMHead } from '../../dist/index.mjs';
import { attention, attentionGradients } from './attention.mjs';
import { times, timesTransposed, transposedTimes } from './matrix.mjs';
import { EMBEDDING, FINAL_NORM, finalNorm, inverseRms, layerNames, POSITIONS, rmsNorm } from './model.mjs';

/**
 * @typedef {import('./model.mjs').Model} Model
 */

/**
 * @param {Model} model
 * @param {Uint32Array[]} stories each as `Tokenizer.encodeStory` made it
 * @returns {{ loss: number, count: number }} mean loss in nats per token, and how many tokens were predicted
 */
export function lossOf(model, stories) {
  const batch = joined(stories, model.config);
  const head = headOf(model);
  const { nll, count } = head.scoreSync(forward(model, head, batch).hidden, batch.targets, { norm: true });
  head.close();
  return { loss: nll, count };
}

/**
 * @param {Model} model
 * @param {Uint32Array[]} stories each as `Tokenizer.encodeStory` made it
 * @returns {{ loss: number, count: number, gradients: Record<string, Float32Array> }} as `lossOf`, and the gradients of the
 *   mean loss by the names of the tensors
 */
export function lossAndGradients(model, stories) {
  const { config, tensors } = model;
  const batch = joined(stories, config);
  const head = headOf(model);
  const { hidden, passes } = forward(model, head, batch);
  const { logProbs, score } = head.runSync(hidden, { norm: true, logProbs: true, targets: batch.targets });
  head.close();

  /** @type {Record<string, Float32Array>} */
  const gradients = {};
  const dLogits = logitGradient(logProbs, batch.targets, config.vocabSize);
  const normed = rmsNorm(hidden, tensors[FINAL_NORM].values, config.eps);
  const dEmbedding = transposedTimes(dLogits, normed, score.count);
  const dNormed = times(dLogits, tensors[EMBEDDING].values, config.vocabSize);
  let dHidden = normGradient(dNormed, hidden, FINAL_NORM, model, gradients);
  for (let i = config.layers - 1; i >= 0; i--) {
    dHidden = layerGradient(dHidden, passes[i], layerNames(i), model, batch, gradients);
  }
  // E serves at both ends, so its gradient has two parts.
  gradients[EMBEDDING] = addToRows(dEmbedding, batch.ids, dHidden);
  gradients[POSITIONS] = addToRows(
    new Float32Array(tensors[POSITIONS].values.length),
    batch.positions,
    dHidden,
  );
  return { loss: score.nll, count: score.count, gradients };
}

/** The last layer, over E as it is now. */
function headOf(model) {
  const { vocabSize, hiddenSize } = model.config;
  return LMHead.from(model.tensors[EMBEDDING].values, { vocabSize, hiddenSize, norm: finalNorm(model) });
}

/** What is read and what should follow it, of all stories; the position of each row in its story. */
function joined(stories, { heads, hiddenSize: d }) {
  const starts = [0];
  for (const story of stories) starts.push(starts.at(-1) + story.length - 1);
  const n = starts.at(-1);
  const ids = new Uint32Array(n);
  const targets = new Uint32Array(n);
  const positions = new Uint32Array(n);
  stories.forEach((story, i) => {
    ids.set(story.subarray(0, -1), starts[i]);
    targets.set(story.subarray(1), starts[i]);
    for (let row = starts[i]; row < starts[i + 1]; row++) positions[row] = row - starts[i];
  });
  return { ids, targets, positions, layout: { starts, heads, d } };
}

/** The hidden states before the final norm [n,d], and from each layer what its gradient needs. */
function forward(model, head, { ids, positions, layout }) {
  const { config, tensors } = model;
  let hidden = head.embed(ids);
  const places = tensors[POSITIONS].values;
  const d = config.hiddenSize;
  positions.forEach((position, i) => {
    for (let k = 0; k < d; k++) hidden[i * d + k] += places[position * d + k];
  });
  const passes = [];
  for (let i = 0; i < config.layers; i++) {
    const pass = layerForward(hidden, layerNames(i), model, layout);
    passes.push(pass);
    hidden = pass.output;
  }
  return { hidden, passes };
}

function layerForward(input, names, { config, tensors }, layout) {
  const norm = (x, name) => rmsNorm(x, tensors[name].values, config.eps);
  /** y = x·Wᵀ with W [outputs, inputs] */
  const linear = (x, name) => timesTransposed(x, tensors[name].values, tensors[name].shape[1]);

  const attentionInput = norm(input, names.attentionNorm);
  const query = linear(attentionInput, names.query);
  const key = linear(attentionInput, names.key);
  const value = linear(attentionInput, names.value);
  const { mixed, weights } = attention(query, key, value, layout);
  const middle = add(linear(mixed, names.output), input);

  const feedForwardInput = norm(middle, names.feedForwardNorm);
  const active = relu(linear(feedForwardInput, names.up));
  const output = add(linear(active, names.down), middle);
  return {
    input,
    attentionInput,
    query,
    key,
    value,
    weights,
    mixed,
    middle,
    feedForwardInput,
    active,
    output,
  };
}

/** From how the loss changes with a layer's output to how it changes with its input; fills in the layer's gradients. */
function layerGradient(dOutput, pass, names, model, { layout }, gradients) {
  const { tensors } = model;
  /** Backwards through y = x·Wᵀ. */
  const throughLinear = (dy, x, name) => {
    const { shape, values } = tensors[name];
    gradients[name] = transposedTimes(dy, x, x.length / shape[1]);
    return times(dy, values, shape[0]);
  };

  const dActive = throughLinear(dOutput, pass.active, names.down);
  const dUp = reluGradient(dActive, pass.active);
  const dFeedForwardInput = throughLinear(dUp, pass.feedForwardInput, names.up);
  const dMiddle = add(
    normGradient(dFeedForwardInput, pass.middle, names.feedForwardNorm, model, gradients),
    dOutput,
  );

  const dMixed = throughLinear(dMiddle, pass.mixed, names.output);
  const { dQuery, dKey, dValue } = attentionGradients(dMixed, pass, layout);
  const dAttentionInput = throughLinear(dQuery, pass.attentionInput, names.query);
  add(dAttentionInput, throughLinear(dKey, pass.attentionInput, names.key));
  add(dAttentionInput, throughLinear(dValue, pass.attentionInput, names.value));
  return add(normGradient(dAttentionInput, pass.input, names.attentionNorm, model, gradients), dMiddle);
}

/** Backwards through y = x·s·w with s = 1/√(mean(x²) + eps); fills in the gradient of w. */
function normGradient(dy, x, name, { config, tensors }, gradients) {
  const weight = tensors[name].values;
  const d = weight.length;
  const dx = new Float32Array(x.length);
  const dWeight = new Float32Array(d);
  for (let row = 0; row < x.length; row += d) {
    const scale = inverseRms(x, row, d, config.eps);
    let dot = 0;
    for (let k = 0; k < d; k++) {
      dot += dy[row + k] * weight[k] * x[row + k];
      dWeight[k] += dy[row + k] * x[row + k] * scale;
    }
    const share = (dot * scale ** 3) / d;
    for (let k = 0; k < d; k++) dx[row + k] = dy[row + k] * weight[k] * scale - x[row + k] * share;
  }
  gradients[name] = dWeight;
  return dx;
}

/** Of the mean of −log p(target): p, less 1 at the target, over n. In the memory of `logProbs`. */
function logitGradient(logProbs, targets, vocabSize) {
  const n = targets.length;
  for (let i = 0; i < logProbs.length; i++) logProbs[i] = Math.exp(logProbs[i]) / n;
  targets.forEach((target, i) => {
    logProbs[i * vocabSize + target] -= 1 / n;
  });
  return logProbs;
}

/** In place. */
function relu(x) {
  for (let i = 0; i < x.length; i++) x[i] = Math.max(0, x[i]);
  return x;
}

/** Backwards through relu, in place: where it has let nothing through, nothing comes back. */
function reluGradient(dActive, active) {
  for (let i = 0; i < active.length; i++) {
    if (active[i] === 0) dActive[i] = 0;
  }
  return dActive;
}

/** Adds y to x. */
function add(x, y) {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
  return x;
}

/** Adds row i of `rows` to row indices[i] of `matrix`. */
function addToRows(matrix, indices, rows) {
  const d = rows.length / indices.length;
  indices.forEach((index, i) => {
    for (let k = 0; k < d; k++) matrix[index * d + k] += rows[i * d + k];
  });
  return matrix;
}
