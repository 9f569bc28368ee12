/**
 * `npm run bench -- --summary`: the figures of the README, as Markdown. They are the best of some rounds in which all that is
 * compared takes its turn: a machine can only make a thing slower than it is.
 */
import { LMHead } from '../dist/index.mjs';
import limits from '../dist/limits.js';
import { measureCallCost } from './call-cost.mjs';
import { prepared } from './passes.mjs';
import { PureJsHead } from './pure-js.mjs';
import { randomHidden, randomWeights, truncated } from './random-head.mjs';
import { smallHead } from './small-head.mjs';
import { duration, interleaved } from './timing.mjs';

const V = 50257;
const D = 768;
const DTYPES = ['f32', 'f16', 'bf16'];
const ROUNDS = 31;
const SAMPLING = { temperature: 0.8, topK: 40, topP: 0.95, seed: 1 };

const fastest = seconds => Math.min(...seconds);

/**
 * @param {{peakFlops: number, isa: string, threads: number, cpu: string, node: string}} machine
 * @param {import('./peers/index.mjs').Peer[]} peers
 */
export async function printSummary(machine, peers) {
  const { cpu, isa, threads, node, peakFlops } = machine;
  console.log(`\n${cpu}, ${isa}, ${threads} threads, Node.js ${node.slice(1)}.`);
  await printPeers(peers);
  await printRates(peakFlops);
  await printSmallHead();
}

async function printPeers(peers) {
  const weights = randomWeights(V, D);
  const head = LMHead.from(weights, { vocabSize: V, hiddenSize: D, backend: 'native' });
  const hidden = randomHidden(1, D);
  const out = new Float32Array(V);
  const pure = new PureJsHead(weights, V, D);
  const rivals = await prepared(peers, weights, head);
  const ours = 'lmhead, `logProbsSync`';
  const times = await interleaved(
    {
      'reading the weights once': limits.readTimer(head),
      [ours]: () => head.logProbsSync(hidden, { out }),
      ...Object.fromEntries(
        rivals.map(({ name, result, run }) => [
          result === 'logits' ? `${name}, logits alone` : name,
          () => run(hidden, 1),
        ]),
      ),
      'pure JavaScript, eight sums a loop': () => pure.logProbs(hidden),
    },
    ROUNDS,
  );
  for (const { close } of rivals) await close?.();
  head.close();
  markdown(
    [`log-probabilities of one hidden state, ${V} × ${D}, f32`, 'time', 'against lmhead'],
    Object.entries(times).map(([name, seconds]) => [
      name,
      duration(fastest(seconds)),
      `${(fastest(seconds) / fastest(times[ours])).toFixed(2)} ×`,
    ]),
  );
}

async function printRates(peakFlops) {
  const floats = randomWeights(V, D);
  const columns = [];
  for (const dtype of DTYPES) {
    const weight = truncated(floats, dtype);
    const head = LMHead.from(weight, { vocabSize: V, hiddenSize: D, dtype, backend: 'native' });
    const hidden = randomHidden(128, D);
    const out = new Float32Array(V);
    const score = n => {
      const [some, targets] = [hidden.subarray(0, n * D), new Uint32Array(n).fill(1000)];
      return () => head.scoreSync(some, targets);
    };
    const one = hidden.subarray(0, D);
    const methods = {
      logProbs: () => head.logProbsSync(one, { out }),
      'topK, k = 50': () => head.topKSync(one, 50),
      'sample, top-k 40, top-p 0.95': () => head.sampleSync(one, SAMPLING),
    };
    const { read, ...times } = await interleaved({ read: limits.readTimer(head), ...methods }, ROUNDS);
    const cells = Object.entries(times).map(([name, seconds]) => [
      `\`${name}\`, n = 1: time, of the rate of reading`,
      `${duration(fastest(seconds))}, ${((100 * fastest(read)) / fastest(seconds)).toFixed(0)} %`,
    ]);
    for (const n of [16, 128]) {
      const { run } = await interleaved({ run: score(n) }, 9);
      const flops = (2 * n * V * D) / fastest(run);
      cells.push([
        `\`score\`, n = ${n}: GFLOP/s, of the peak`,
        `${(flops / 1e9).toFixed(0)}, ${((100 * flops) / peakFlops).toFixed(0)} %`,
      ]);
    }
    head.close();
    columns.push(cells);
  }
  markdown(
    [`${V} × ${D}`, ...DTYPES],
    columns[0].map(([name], row) => [name, ...columns.map(cells => cells[row][1])]),
  );
}

async function printSmallHead() {
  const { sync, promise } = await measureCallCost();
  markdown(
    ['one call, 512 × 64, f32', 'time'],
    [
      ...smallHead().map(([name, time]) => [`\`${name}\`, synchronous`, time]),
      ['`argmax`, what a promise adds', duration(fastest(promise) - fastest(sync))],
    ],
  );
}

function markdown(head, rows) {
  const widths = head.map((_, i) => Math.max(...[head, ...rows].map(row => row[i].length)));
  const line = cells => `| ${cells.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
  console.log(['', line(head), line(widths.map(width => '-'.repeat(width))), ...rows.map(line)].join('\n'));
}
