/** onnxruntime-node: Gemm and LogSoftmax over a constant E, on as many threads as it likes. */
import { Graph } from '../../examples/onnxruntime/onnx.mjs';
import { require, versionOf } from './installed.mjs';

export async function load() {
  const { InferenceSession, Tensor } = require('onnxruntime-node');
  return {
    name: `onnxruntime ${versionOf('onnxruntime-node')}`,
    result: 'logProbs',
    async prepare(weights, vocabSize, d) {
      const graph = new Graph();
      const hidden = graph.floatInput('hidden', ['n', d]);
      const logits = graph.node('Gemm', [hidden, graph.floats(weights, [vocabSize, d])], { transB: 1 });
      graph.output(graph.node('LogSoftmax', [logits], { axis: 1 }, 'logProbs'), ['n', vocabSize]);
      const session = await InferenceSession.create(graph.model());
      return {
        run: async (h, n) => (await session.run({ hidden: new Tensor('float32', h, [n, d]) })).logProbs.data,
        close: () => session.release(),
      };
    },
  };
}
