/** What a call costs where there is little to compute. */
import { LMHead } from '../dist/index.mjs';
import { randomHidden, randomWeights } from './random-head.mjs';
import { duration, secondsPerCall } from './timing.mjs';

/** @returns {[method: string, time: string][]} */
export function smallHead() {
  const [vocabSize, d] = [512, 64];
  const head = LMHead.from(randomWeights(vocabSize, d), { vocabSize, hiddenSize: d, backend: 'native' });
  const hidden = randomHidden(1, d);
  const out = new Float32Array(vocabSize);
  const calls = {
    logits: () => head.logitsSync(hidden, { out }),
    logProbs: () => head.logProbsSync(hidden, { out }),
    'topK, k = 10': () => head.topKSync(hidden, 10),
    argmax: () => head.argmaxSync(hidden),
    sample: () => head.sampleSync(hidden, { temperature: 0.8, seed: 1 }),
    score: () => head.scoreSync(hidden, [100]),
  };
  const rows = Object.entries(calls).map(([name, call]) => [name, duration(secondsPerCall(call))]);
  head.close();
  return rows;
}
