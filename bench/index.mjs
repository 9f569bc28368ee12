/**
 * `npm run bench`: the passes against what this machine can do at most, and against pure JS. What is compared runs in turn,
 * so trust the ratios more than the times.
 */
import { cpus } from 'node:os';
import { capabilities, LMHead } from '../dist/index.mjs';
import limits from '../dist/limits.js';
import { againstPureJs } from './against-pure-js.mjs';
import { headers } from './headers.mjs';
import { randomHidden, randomWeights, truncatedToBf16 } from './random-head.mjs';
import { duration, interleaved, median, ratio, secondsPerCall, table } from './timing.mjs';

const ROUNDS = 41;
const V = 50257;
const D = 768;

const { isa, threads, version } = capabilities();

function title(text) {
  console.log(`\n${text}\n`);
}

/** One hidden state needs all of E once: no pass can take less time than to read it. */
function oneHiddenState(dtype, weight) {
  const spec = {
    vocabSize: V,
    hiddenSize: D,
    output: { kind: 'memory', data: weight, dtype, copy: true, layout: 'vd' },
    epilogue: { logitScale: 1, softCap: 0, capOrder: 'scale-then-cap', validVocabSize: V },
  };
  const head = LMHead.from(weight, { vocabSize: V, hiddenSize: D, dtype, backend: 'native' });
  const hidden = randomHidden(1, D);
  const out = new Float32Array(V);
  const filters = { temperature: 0.8, topK: 40, topP: 0.95, seed: 1 };
  const times = interleaved(
    {
      read: limits.readTimer(spec, threads),
      logits: () => head.logitsSync(hidden, { out }),
      logProbs: () => head.logProbsSync(hidden, { out }),
      'topK, k = 50': () => head.topKSync(hidden, 50),
      argmax: () => head.argmaxSync(hidden),
      'sample, T = 0.8': () => head.sampleSync(hidden, { temperature: 0.8, seed: 1 }),
      'sample, T = 0.8, top-k 40, top-p 0.95': () => head.sampleSync(hidden, filters),
      score: () => head.scoreSync(hidden, [1000]),
    },
    ROUNDS,
  );
  head.close();
  const { read, ...methods } = times;
  const bandwidth = (weight.byteLength / median(read) / 1e9).toFixed(1);
  title(
    `One hidden state, ${V} × ${D} ${dtype}. Reading the weights: ${duration(median(read))}, ${bandwidth} GB/s.`,
  );
  table(
    ['', 'time', 'of reading', 'best'],
    Object.entries(methods).map(([name, seconds]) => [
      name,
      duration(median(seconds)),
      `${ratio(seconds, read).toFixed(2)} ×`,
      `${(Math.min(...seconds) / Math.min(...read)).toFixed(2)} ×`,
    ]),
  );
}

/** Many need arithmetic: two operations a weight and hidden state. */
function manyHiddenStates(weight) {
  const peak = () => limits.multiplyAddRate(threads) * 2;
  const head = LMHead.from(weight, { vocabSize: V, hiddenSize: D, backend: 'native' });
  const peaks = [];
  const rows = [16, 128].map(n => {
    const hidden = randomHidden(n, D);
    const targets = new Uint32Array(n).fill(1000);
    const { score } = interleaved(
      { peak: () => peaks.push(peak()), score: () => head.scoreSync(hidden, targets) },
      15,
    );
    const rate = (2 * V * D * n) / median(score);
    return [`score, n = ${n}`, duration(median(score)), (rate / 1e9).toFixed(0), rate];
  });
  head.close();
  title(
    `Many hidden states, ${V} × ${D} f32. Multiply-adds in registers: ${(median(peaks) / 1e9).toFixed(0)} GFLOP/s.`,
  );
  table(
    ['', 'time', 'GFLOP/s', 'of the peak'],
    rows.map(([name, time, rate, exact]) => [
      name,
      time,
      rate,
      `${((100 * exact) / median(peaks)).toFixed(0)} %`,
    ]),
  );
}

/** What a call costs where there is little to compute. */
function smallHead() {
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
  title(`A small head, ${vocabSize} × ${d}: a synchronous call.`);
  table(
    ['', 'time'],
    Object.entries(calls).map(([name, call]) => [name, duration(secondsPerCall(call))]),
  );
  head.close();
}

console.log(`lmhead ${version}, ${isa}, ${threads} threads; Node ${process.version}; ${cpus()[0].model}`);
const weights = randomWeights(V, D);
oneHiddenState('f32', weights);
oneHiddenState('bf16', truncatedToBf16(weights));
manyHiddenStates(weights);
smallHead();
headers();
title('Against pure JS.');
againstPureJs(21);
