/**
 * What choosing the next token costs beside the logits alone, on a large vocabulary; part of `npm run bench`, and alone:
 *
 *   node bench/sampling.mjs [ROUNDS]
 *
 * Everything runs in turn, so trust the ratios more than the times.
 */
import { pathToFileURL } from 'node:url';
import { capabilities, LMHead } from '../dist/index.mjs';
import { randomHidden, randomWeights, truncated } from './random-head.mjs';
import { duration, interleaved, median, ratio, table } from './timing.mjs';

const V = 262144;
const D = 640;
/** What a hidden state is multiplied by, and what the distribution then looks like. */
const KINDS = { plain: 1, peaked: 4, flat: 0.002 };
const HISTORY = Uint32Array.from({ length: 4096 }, (_, i) => (i * 2654435761) % V);
const METHODS = {
  greedy: { temperature: 0 },
  temperature: { temperature: 0.8 },
  'top-k 40, top-p 0.95, min-p 0.05': { topK: 40, topP: 0.95, minP: 0.05, temperature: 0.8 },
  'top-p 0.9': { topP: 0.9 },
  'top-p 0.9, T = 0.8': { topP: 0.9, temperature: 0.8 },
  'penalties over 4096 tokens': {
    history: HISTORY,
    repetitionPenalty: 1.1,
    frequencyPenalty: 0.1,
    presencePenalty: 0.1,
    temperature: 0.8,
  },
  'penalties, top-p 0.9': { history: HISTORY, repetitionPenalty: 1.1, topP: 0.9 },
  'min-p 0.05': { minP: 0.05 },
  'typical 0.9': { typicalP: 0.9 },
  'p-less': { pLess: true },
  'top-n-sigma 1': { topNSigma: 1 },
  'XTC 0.5': { xtcProbability: 0.5, xtcThreshold: 0.1 },
  'mirostat (surprisal 5)': { maxSurprisal: 5 },
};

/** As it is mostly done in JavaScript: the logits, all of them sorted, a softmax, top-p, a draw. */
function sortedTopP(logits, topP) {
  const ids = Uint32Array.from(logits, (_, id) => id).sort((a, b) => logits[b] - logits[a] || a - b);
  const probs = Float64Array.from(ids, id => Math.exp(logits[id] - logits[ids[0]]));
  const total = probs.reduce((a, b) => a + b);
  let kept = 0;
  let mass = 0;
  while (mass < topP * total) mass += probs[kept++];
  let left = Math.random() * mass;
  for (let i = 0; i < kept; i++) {
    left -= probs[i];
    if (left < 0) return ids[i];
  }
  return ids[kept - 1];
}

/** @param {number} rounds */
export async function sampling(rounds) {
  const weights = truncated(randomWeights(V, D), 'bf16');
  const head = LMHead.from(weights, {
    vocabSize: V,
    hiddenSize: D,
    dtype: 'bf16',
    backend: 'native',
  });
  const out = new Float32Array(V);
  const kinds = Object.entries(KINDS).map(([kind, scale]) => [kind, randomHidden(1, D).map(x => x * scale)]);

  const rows = Object.keys(METHODS).map(name => [name]);
  const sorted = ['in JS: logits, sort, softmax, top-p 0.9'];
  let logitsTime = '';
  for (const [, hidden] of kinds) {
    const logits = () => head.logitsSync(hidden, { out });
    const draws = Object.entries(METHODS).map(([name, options], seed) => [
      name,
      () => head.sampleSync(hidden, { ...options, seed }),
    ]);
    const times = await interleaved({ logits, ...Object.fromEntries(draws) }, rounds);
    for (const row of rows)
      row.push(duration(median(times[row[0]])), ratio(times[row[0]], times.logits).toFixed(2));
    const js = await interleaved({ logits, js: () => sortedTopP(head.logitsSync(hidden, { out }), 0.9) }, 3);
    sorted.push(duration(median(js.js)), ratio(js.js, js.logits).toFixed(1));
    logitsTime ||= duration(median(times.logits));
  }
  head.close();

  console.log(
    `\nThe next token out of ${V}, hidden size ${D}, bf16, ${head.threads} threads: time, and times that of the logits alone (${logitsTime}); medians of ${rounds}.\n`,
  );
  table(['', ...kinds.flatMap(([kind]) => [`${kind} row`, '×'])], [...rows, sorted]);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { isa, threads, version } = capabilities();
  console.log(`lmhead ${version}, ${isa}, ${threads} threads; Node ${process.version}`);
  await sampling(Number(process.argv[2] ?? 21));
}
