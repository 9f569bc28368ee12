/**
 * The matrix products of training. A head computes u = h·Eᵀ for any matrix E, so heads compute all of them, some twenty
 * times faster than loops in JavaScript. `shared` is the length of the dimension that is summed over.
 */
import { LMHead } from '../../dist/index.mjs';

/**
 * a·bᵀ
 * @param {Float32Array} a [n, shared]
 * @param {Float32Array} b [m, shared]
 * @param {number} shared
 * @returns {Float32Array} [n, m]
 */
export function timesTransposed(a, b, shared) {
  return product(a, b, { vocabSize: b.length / shared, hiddenSize: shared });
}

/**
 * a·b
 * @param {Float32Array} a [n, shared]
 * @param {Float32Array} b [shared, m]
 * @param {number} shared
 * @returns {Float32Array} [n, m]
 */
export function times(a, b, shared) {
  return product(a, b, { vocabSize: b.length / shared, hiddenSize: shared, layout: 'dv' });
}

/**
 * aᵀ·b
 * @param {Float32Array} a [shared, n]
 * @param {Float32Array} b [shared, m]
 * @param {number} shared
 * @returns {Float32Array} [n, m]
 */
export function transposedTimes(a, b, shared) {
  return times(transpose(a, shared), b, shared);
}

function product(rows, matrix, options) {
  const head = LMHead.from(matrix, options);
  const result = head.logitsSync(rows);
  head.close();
  return result;
}

function transpose(matrix, rows) {
  const columns = matrix.length / rows;
  const result = new Float32Array(matrix.length);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) result[j * rows + i] = matrix[i * columns + j];
  }
  return result;
}
