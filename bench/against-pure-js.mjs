/** Native against pure JS on a head of GPT-2's size. `npm start` ends with it, `npm run bench` has it too. */
import { LMHead } from '../dist/index.mjs';
import { PureJsHead } from './pure-js.mjs';
import { randomHidden, randomWeights } from './random-head.mjs';
import { duration, interleaved, median, ratio, table } from './timing.mjs';

const V = 50257;
const D = 768;
const POSITIONS = 16;
const K = 50;
const SAMPLING = { temperature: 0.8, topK: 40, topP: 0.95 };

/**
 * Both have the same weights, and their results are compared before anything is timed.
 * @param {number} rounds
 */
export async function againstPureJs(rounds) {
  const weights = randomWeights(V, D);
  const text = randomHidden(POSITIONS, D);
  const hidden = text.subarray(0, D);
  const targets = Uint32Array.from({ length: POSITIONS }, (_, i) => i * 3000);
  const pure = new PureJsHead(weights, V, D);
  const one = LMHead.from(weights, { vocabSize: V, hiddenSize: D, backend: 'native', threads: 1 });
  const head = LMHead.from(weights, { vocabSize: V, hiddenSize: D, backend: 'native' });
  const difference = requireAgreement(pure, head, { text, hidden, targets });

  const methods = {
    logits: [() => pure.logits(hidden), native => native.logitsSync(hidden)],
    logProbs: [() => pure.logProbs(hidden), native => native.logProbsSync(hidden)],
    [`topK, k = ${K}`]: [() => pure.topK(hidden, K), native => native.topKSync(hidden, K)],
    sample: [() => pure.sample(hidden, SAMPLING, Math.random), native => native.sampleSync(hidden, SAMPLING)],
    [`score, n = ${POSITIONS}`]: [() => pure.score(text, targets), native => native.scoreSync(text, targets)],
  };
  const ms = seconds => duration(median(seconds));
  const rows = [];
  for (const [name, [js, native]] of Object.entries(methods)) {
    const times = await interleaved({ js, one: () => native(one), all: () => native(head) }, rounds);
    const { js: pureTimes, one: oneTimes, all: allTimes } = times;
    const times1 = `${ratio(pureTimes, oneTimes).toFixed(1)} ×`;
    const timesAll = `${ratio(pureTimes, allTimes).toFixed(1)} ×`;
    rows.push([name, ms(pureTimes), ms(oneTimes), times1, ms(allTimes), timesAll]);
  }
  head.close();
  one.close();

  console.log(
    `A head of GPT-2's size, ${V} × ${D}, f32; one hidden state, or n where it says so; medians of ${rounds}:\n`,
  );
  const threads = head.threads === 1 ? '1 thread' : `${head.threads} threads`;
  table(['', 'pure JS', 'native, 1 thread', 'faster', `native, ${threads}`, 'faster'], rows);
  console.log(
    `\nLog-probabilities of the two differ by ${difference.toExponential(1)} at most, and the ids not at all.`,
  );
}

/** @returns {number} the largest difference between log-probabilities */
function requireAgreement(pure, head, { text, hidden, targets }) {
  const difference = (a, b) => a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0);
  const top = [pure.topK(hidden, K), head.topKSync(hidden, K)];
  const scores = [pure.score(text, targets), head.scoreSync(text, targets)];
  const differences = [
    difference(pure.logProbs(hidden), head.logProbsSync(hidden)),
    difference(top[0].logProbs, top[1].logProbs),
    difference(scores[0].logProbs, scores[1].logProbs),
  ];
  const most = Math.max(...differences);
  const sameIds = top[0].ids.every((id, i) => id === top[1].ids[i]);
  const sameRanks = scores[0].ranks.every((rank, i) => rank === scores[1].ranks[i]);
  if (!sameIds || !sameRanks || !(most < 1e-4)) throw new Error('native and pure JS disagree');
  return most;
}
