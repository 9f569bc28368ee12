/** What a call that returns a promise takes more than one that does not, where there is little to compute. */
import { LMHead } from '../dist/index.mjs';
import { randomHidden, randomWeights } from './random-head.mjs';

const CALLS = 500;
const ROUNDS = 40;

/** @returns {Promise<{sync: number[], promise: number[]}>} seconds a call, in each round, of `argmax` over 512 × 64 */
export async function measureCallCost() {
  const [V, d] = [512, 64];
  const head = LMHead.from(randomWeights(V, d), { vocabSize: V, hiddenSize: d, backend: 'native' });
  const hidden = randomHidden(1, d);
  const times = { sync: [], promise: [] };
  for (let round = 0; round < ROUNDS; round++) {
    let start = performance.now();
    for (let i = 0; i < CALLS; i++) head.argmaxSync(hidden);
    times.sync.push((performance.now() - start) / CALLS / 1000);
    start = performance.now();
    for (let i = 0; i < CALLS; i++) await head.argmax(hidden);
    times.promise.push((performance.now() - start) / CALLS / 1000);
  }
  head.close();
  return times;
}
