/**
 * Causal attention for training (Vaswani et al. 2017, arXiv:1706.03762): each position of a story takes a mean of the values
 * up to itself, weighted by how well their keys fit its query. Every head works on d/heads columns of its own:
 *
 *     scores = query·keyᵀ/√size     weights = softmax(scores)     mixed = weights·value
 */
import { times, timesTransposed, transposedTimes } from './matrix.mjs';

/**
 * @typedef {object} Layout how the rows of several stories lie one behind another
 * @property {number[]} starts first row of each story, and at the end the number of rows
 * @property {number} heads
 * @property {number} d
 */

/**
 * @param {Float32Array} query [n,d]
 * @param {Float32Array} key [n,d]
 * @param {Float32Array} value [n,d]
 * @param {Layout} layout
 * @returns {{ mixed: Float32Array, weights: Float32Array[] }} the means [n,d]; the weights of each block
 */
export function attention(query, key, value, layout) {
  const mixed = new Float32Array(query.length);
  const weights = blocks(layout).map(block => {
    const { size } = block;
    const ofBlock = timesTransposed(cut(query, block), cut(key, block), size);
    causalSoftmax(ofBlock, block.length, 1 / Math.sqrt(size));
    paste(mixed, times(ofBlock, cut(value, block), block.length), block);
    return ofBlock;
  });
  return { mixed, weights };
}

/**
 * How the loss changes with query, key and value, given how it changes with `mixed`.
 * @param {Float32Array} dMixed [n,d]
 * @param {{ query: Float32Array, key: Float32Array, value: Float32Array, weights: Float32Array[] }} pass of `attention`
 * @param {Layout} layout
 */
export function attentionGradients(dMixed, { query, key, value, weights }, layout) {
  const dQuery = new Float32Array(query.length);
  const dKey = new Float32Array(query.length);
  const dValue = new Float32Array(query.length);
  blocks(layout).forEach((block, i) => {
    const { length, size } = block;
    const dBlock = cut(dMixed, block);
    const dWeights = timesTransposed(dBlock, cut(value, block), size);
    paste(dValue, transposedTimes(weights[i], dBlock, length), block);
    const dScores = softmaxGradient(dWeights, weights[i], length, 1 / Math.sqrt(size));
    paste(dQuery, times(dScores, cut(key, block), length), block);
    paste(dKey, transposedTimes(dScores, cut(query, block), length), block);
  });
  return { dQuery, dKey, dValue };
}

/** The part of a matrix that one head has of one story: `length` rows of `size` columns; `at` is its first number. */
function blocks({ starts, heads, d }) {
  const size = d / heads;
  return starts.slice(1).flatMap((end, story) => {
    const start = starts[story];
    return Array.from({ length: heads }, (_, head) => ({
      at: start * d + head * size,
      length: end - start,
      size,
      d,
    }));
  });
}

/** A copy of a block. */
function cut(matrix, { at, length, size, d }) {
  const result = new Float32Array(length * size);
  for (let i = 0; i < length; i++) {
    for (let c = 0; c < size; c++) result[i * size + c] = matrix[at + i * d + c];
  }
  return result;
}

/** Puts a block in its place. */
function paste(matrix, part, { at, length, size, d }) {
  for (let i = 0; i < length; i++) {
    for (let c = 0; c < size; c++) matrix[at + i * d + c] = part[i * size + c];
  }
}

/** In place: row i becomes the softmax of its first i + 1 numbers times `scale`, and 0 behind them. */
function causalSoftmax(scores, length, scale) {
  for (let i = 0; i < length; i++) {
    const row = scores.subarray(i * length, (i + 1) * length);
    softmax(row.subarray(0, i + 1), scale);
    row.fill(0, i + 1);
  }
}

/**
 * Softmax of numbers times `scale`, in place.
 * @param {Float32Array} numbers
 * @param {number} scale
 */
export function softmax(numbers, scale) {
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < numbers.length; i++) max = Math.max(max, numbers[i]);
  let sum = 0;
  for (let i = 0; i < numbers.length; i++) {
    numbers[i] = Math.exp((numbers[i] - max) * scale);
    sum += numbers[i];
  }
  for (let i = 0; i < numbers.length; i++) numbers[i] /= sum;
}

/** Backwards through causalSoftmax, in place: a score matters as far as its weight's effect differs from the mean effect. */
function softmaxGradient(dWeights, weights, length, scale) {
  for (let row = 0; row < weights.length; row += length) {
    let mean = 0;
    for (let j = row; j < row + length; j++) mean += weights[j] * dWeights[j];
    for (let j = row; j < row + length; j++) dWeights[j] = weights[j] * (dWeights[j] - mean) * scale;
  }
  return dWeights;
}
