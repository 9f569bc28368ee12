/**
 * Reads a text one token at a time. What later tokens want to know of earlier ones, their keys and values in every layer, is
 * kept, so each token costs one pass through the layers.
 */
import { softmax } from './attention.mjs';
import { layerNames, POSITIONS, rmsNorm } from './model.mjs';

/**
 * @typedef {import('./model.mjs').Model} Model
 */

export class Reader {
  #model;
  #head;
  #position = 0;
  /** Keys and values of what has been read [positions, d], by layer. */
  #keys;
  #values;

  /**
   * @param {Model} model
   * @param {import('../../dist/index.mjs').LMHead} head over the model's embedding matrix
   */
  constructor(model, head) {
    const { layers, positions, hiddenSize } = model.config;
    const perLayer = () => Array.from({ length: layers }, () => new Float32Array(positions * hiddenSize));
    this.#model = model;
    this.#head = head;
    this.#keys = perLayer();
    this.#values = perLayer();
  }

  /** Has the model no position left? */
  get full() {
    return this.#position === this.#model.config.positions;
  }

  /**
   * @param {number} id the next token of the text
   * @returns {Float32Array} [d], the hidden state before the final norm: from it the head tells what may follow
   */
  read(id) {
    const { config, tensors } = this.#model;
    const d = config.hiddenSize;
    const position = this.#position++;
    const hidden = this.#head.embed([id]);
    addTo(hidden, tensors[POSITIONS].values.subarray(position * d, (position + 1) * d));
    for (let i = 0; i < config.layers; i++) this.#layer(i, hidden, position);
    return hidden;
  }

  /** Takes the hidden state through a layer, in place. */
  #layer(i, hidden, position) {
    const { config, tensors } = this.#model;
    const d = config.hiddenSize;
    const names = layerNames(i);

    const attentionInput = rmsNorm(hidden, tensors[names.attentionNorm].values, config.eps);
    const query = timesVector(tensors[names.query].values, attentionInput);
    this.#keys[i].set(timesVector(tensors[names.key].values, attentionInput), position * d);
    this.#values[i].set(timesVector(tensors[names.value].values, attentionInput), position * d);
    const mixed = attend(query, this.#keys[i], this.#values[i], position + 1, config.heads);
    addTo(hidden, timesVector(tensors[names.output].values, mixed));

    const feedForwardInput = rmsNorm(hidden, tensors[names.feedForwardNorm].values, config.eps);
    const active = timesVector(tensors[names.up].values, feedForwardInput).map(x => Math.max(0, x));
    addTo(hidden, timesVector(tensors[names.down].values, active));
  }
}

/** For each head the mean of `count` values, weighted by how well their keys fit the query. */
function attend(query, keys, values, count, heads) {
  const d = query.length;
  const size = d / heads;
  const mixed = new Float32Array(d);
  const weights = new Float32Array(count);
  for (let first = 0; first < d; first += size) {
    for (let j = 0; j < count; j++) {
      weights[j] = 0;
      for (let c = first; c < first + size; c++) weights[j] += query[c] * keys[j * d + c];
    }
    softmax(weights, 1 / Math.sqrt(size));
    for (let j = 0; j < count; j++) {
      for (let c = first; c < first + size; c++) mixed[c] += weights[j] * values[j * d + c];
    }
  }
  return mixed;
}

/** W·x with W [outputs, inputs] */
function timesVector(weight, x) {
  const inputs = x.length;
  const result = new Float32Array(weight.length / inputs);
  for (let i = 0; i < result.length; i++) {
    let sum = 0;
    for (let k = 0; k < inputs; k++) sum += weight[i * inputs + k] * x[k];
    result[i] = sum;
  }
  return result;
}

function addTo(x, y) {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
}
