/** @stdlib's sgemv in JavaScript. Logits alone. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

export async function load() {
  const sgemv = require('@stdlib/blas-base-sgemv');
  const { version } = JSON.parse(
    readFileSync(require.resolve('@stdlib/blas-base-sgemv/package.json'), 'utf8'),
  );
  return {
    name: `@stdlib ${version}`,
    async prepare(weights, vocabSize, d) {
      const logits = new Float32Array(vocabSize);
      return {
        mostRows: 1,
        logProbs: hidden =>
          sgemv('row-major', 'no-transpose', vocabSize, d, 1, weights, d, hidden, 1, 0, logits, 1),
      };
    },
  };
}
