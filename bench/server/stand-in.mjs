/**
 * A model for a server under load: its body is a line of arithmetic, so that what a token takes is its head, its draw, and the server.
 * The next hidden state is half of the last one and the new token's embedding.
 */
import { LMHead, sampleFrom } from '../../dist/index.mjs';
import { Graph } from '../../examples/onnxruntime/onnx.mjs';
import { require } from '../peers/installed.mjs';
import { randomWeights } from '../random-head.mjs';

export const SHAPE = { vocabSize: 151936, hiddenSize: 896 };
const LENGTH = 256;
const { vocabSize, hiddenSize } = SHAPE;
/** Makes of embeddings hidden states whose logits lie around ±4. */
const SCALE = 8;
/** Every text of a seed draws as servers do. */
const DRAW = { topK: 40, topP: 0.95 };

/** A text that has a state [d], and draws by it. */
class Text {
  #length = 0;

  get full() {
    return this.#length === LENGTH;
  }

  count() {
    this.#length++;
  }
}

const common = {
  encode: text => Array.from(text, character => character.charCodeAt(0)),
  decode: id => ` ${id}`,
  end: -1,
};

/** @param {boolean} coalesce */
export function byHead(coalesce) {
  const head = LMHead.from(randomWeights(vocabSize, hiddenSize), { ...SHAPE, backend: 'native', coalesce });
  return {
    ...common,
    begin() {
      const state = new Float32Array(hiddenSize);
      return Object.assign(new Text(), {
        read(id) {
          const embedding = head.embed([Math.max(id, 0)]);
          for (let i = 0; i < hiddenSize; i++) state[i] = state[i] / 2 + SCALE * embedding[i];
          this.count();
        },
        async draw(options) {
          const { ids, logProbs } = await head.sample(state, { ...DRAW, ...options });
          return { id: ids[0], logProb: logProbs[0] };
        },
      });
    },
    close: () => head[Symbol.asyncDispose](),
  };
}

/** The whole graph in onnxruntime: from a token and the state before it to the state after it, and logits. */
export async function byOnnxruntime() {
  const { InferenceSession, Tensor } = require('onnxruntime-node');
  const graph = new Graph();
  const before = graph.floatInput('before', [1, hiddenSize]);
  const ids = graph.input('input_ids', 1);
  const embedding = graph.floats(randomWeights(vocabSize, hiddenSize), [vocabSize, hiddenSize]);
  const number = value => graph.floats(Float32Array.of(value), []);
  const half = graph.node('Mul', [before, number(0.5)]);
  const scaled = graph.node('Mul', [graph.node('Gather', [embedding, ids]), number(SCALE)]);
  const after = graph.node('Add', [half, scaled], {}, 'after');
  graph.output(after, [1, hiddenSize]);
  graph.output(graph.node('Gemm', [after, embedding], { transB: 1 }, 'logits'), [1, vocabSize]);
  const session = await InferenceSession.create(graph.model(), {
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
  return {
    ...common,
    begin() {
      let state = new Tensor('float32', new Float32Array(hiddenSize), [1, hiddenSize]);
      let pending = [];
      return Object.assign(new Text(), {
        read(id) {
          pending.push(Math.max(id, 0));
          this.count();
        },
        async draw({ signal, ...options }) {
          let logits;
          for (const id of pending) {
            signal.throwIfAborted();
            const input_ids = new Tensor('int64', BigInt64Array.of(BigInt(id)), [1]);
            const result = await session.run({ before: state, input_ids });
            state = result.after;
            logits = result.logits.data;
          }
          pending = [];
          const { ids, logProbs } = sampleFrom(logits, vocabSize, { ...DRAW, ...options });
          return { id: ids[0], logProb: logProbs[0] };
        },
      });
    },
    close: () => session.release(),
  };
}
