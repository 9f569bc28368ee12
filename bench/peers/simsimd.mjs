/** simsimd: its dot product in a JavaScript loop over the rows. It warns where it has no binary and falls back to JavaScript. */
import { require, versionOf } from './installed.mjs';

export async function load() {
  const { dot } = require('simsimd');
  return {
    name: `simsimd ${versionOf('simsimd')}`,
    result: 'logits',
    async prepare(weights, vocabSize, d) {
      const rows = Array.from({ length: vocabSize }, (_, id) => weights.subarray(id * d, (id + 1) * d));
      const logits = new Float32Array(vocabSize);
      return {
        mostRows: 1,
        run(hidden) {
          for (let id = 0; id < vocabSize; id++) logits[id] = dot(hidden, rows[id]);
          return logits;
        },
      };
    },
  };
}
