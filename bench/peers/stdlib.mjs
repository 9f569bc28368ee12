/** @stdlib's sgemv in JavaScript. */
import { require, versionOf } from './installed.mjs';

export async function load() {
  const sgemv = require('@stdlib/blas-base-sgemv');
  return {
    name: `@stdlib ${versionOf('@stdlib/blas-base-sgemv')}`,
    result: 'logits',
    async prepare(weights, vocabSize, d) {
      const logits = new Float32Array(vocabSize);
      return {
        mostRows: 1,
        run: hidden =>
          sgemv('row-major', 'no-transpose', vocabSize, d, 1, weights, d, hidden, 1, 0, logits, 1),
      };
    },
  };
}
