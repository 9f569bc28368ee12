/** TensorFlow.js on WebAssembly: matMul and logSoftmax, on one thread (Node has no workers for it). */
import { dirname, join } from 'node:path';
import { require } from './installed.mjs';

export async function load() {
  const tf = require('@tensorflow/tfjs-core');
  const wasm = require('@tensorflow/tfjs-backend-wasm');
  wasm.setWasmPaths(join(dirname(require.resolve('@tensorflow/tfjs-backend-wasm')), '/'));
  if (!(await tf.setBackend('wasm'))) throw new Error('its WebAssembly does not start');
  return {
    name: `tfjs-wasm ${tf.version_core}`,
    result: 'logProbs',
    async prepare(weights, vocabSize, d) {
      const e = tf.tensor2d(weights, [vocabSize, d]);
      return {
        mostRows: 16,
        run: (hidden, n) =>
          tf.tidy(() => tf.logSoftmax(tf.matMul(tf.tensor2d(hidden, [n, d]), e, false, true)).dataSync()),
        close: () => e.dispose(),
      };
    },
  };
}
