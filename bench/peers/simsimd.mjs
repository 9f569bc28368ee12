/** simsimd: its dot product in a JavaScript loop over the rows. Logits alone. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

export async function load() {
  const { dot } = require('simsimd');
  dot(Float32Array.of(1), Float32Array.of(1)); // a missing binary shows here
  const { version } = JSON.parse(readFileSync(require.resolve('simsimd/package.json'), 'utf8'));
  return {
    name: `simsimd ${version}`,
    async prepare(weights, vocabSize, d) {
      const rows = Array.from({ length: vocabSize }, (_, id) => weights.subarray(id * d, (id + 1) * d));
      const logits = new Float32Array(vocabSize);
      return {
        mostRows: 1,
        logProbs(hidden) {
          for (let id = 0; id < vocabSize; id++) logits[id] = dot(hidden, rows[id]);
        },
      };
    },
  };
}
