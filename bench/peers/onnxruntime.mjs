/** onnxruntime-node: Gemm and LogSoftmax over a constant E, on as many threads as it likes. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Graph } from '../../examples/onnxruntime/onnx.mjs';

const require = createRequire(import.meta.url);

export async function load() {
  const { InferenceSession, Tensor } = require('onnxruntime-node');
  const { version } = JSON.parse(readFileSync(require.resolve('onnxruntime-node/package.json'), 'utf8'));
  return {
    name: `onnxruntime ${version}`,
    async prepare(weights, vocabSize, d) {
      const graph = new Graph();
      const hidden = graph.floatInput('hidden', ['n', d]);
      const logits = graph.node('Gemm', [hidden, graph.floats(weights, [vocabSize, d])], { transB: 1 });
      graph.output(graph.node('LogSoftmax', [logits], { axis: 1 }, 'logProbs'), ['n', vocabSize]);
      const session = await InferenceSession.create(graph.model());
      return {
        logProbs: async (h, n) => (await session.run({ hidden: new Tensor('float32', h, [n, d]) })).logProbs,
        close: () => session.release(),
      };
    },
  };
}
