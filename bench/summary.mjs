/**
 * `npm run bench -- --summary`: the figures of the README, as Markdown: shares of what the machine does at most of reading and of
 * multiply-adds of each kind of number. They are the best of some rounds in which all that is
 * compared takes its turn: a machine can only make a thing slower than it is.
 */

import limits from '../dist/backend/roofline.js';
import { LMHead } from '../dist/index.mjs';
import { measureCallCost } from './call-cost.mjs';
import { prepared } from './passes.mjs';
import { PureJsHead } from './pure-js.mjs';
import { randomHidden, randomWeights, truncated } from './random-head.mjs';
import { smallHead } from './small-head.mjs';
import { duration, interleaved } from './timing.mjs';

/** Of GPT-2's size, and of Llama 3.2's: larger than any cache. */
const SMALL = { vocabSize: 50257, hiddenSize: 768 };
const LARGE = { vocabSize: 128256, hiddenSize: 2048 };
const DTYPES = ['f32', 'f16', 'bf16'];
const ROUNDS = 31;
const SAMPLING = { temperature: 0.8, topK: 40, topP: 0.95, seed: 1 };

const fastest = seconds => Math.min(...seconds);

/**
 * @param {{isa: string, threads: number, cpu: string, node: string}} machine
 * @param {import('./peers/index.mjs').Peer[]} peers
 */
export async function printSummary(machine, peers) {
  const { cpu, isa, threads, node } = machine;
  console.log(`\n${cpu}, ${isa}, ${threads} threads, Node.js ${node.slice(1)}.`);
  await printPeers(peers);
  await printRates(threads);
  await printNarrowRates(threads);
  await printSmallHead();
}

async function printPeers(peers) {
  const { vocabSize, hiddenSize } = SMALL;
  const weights = randomWeights(vocabSize, hiddenSize);
  const head = LMHead.from(weights, { ...SMALL, backend: 'native' });
  const hidden = randomHidden(1, hiddenSize);
  const out = new Float32Array(vocabSize);
  const pure = new PureJsHead(weights, vocabSize, hiddenSize);
  const rivals = await prepared(peers, weights, head);
  const ours = '**lmhead**, `logProbsSync`';
  const times = await interleaved(
    {
      // Between the two that read the same bytes come others, so that neither finds them in a cache.
      [ours]: () => head.logProbsSync(hidden, { out }),
      ...Object.fromEntries(
        rivals.map(({ name, result, run }) => [
          result === 'logits' ? `${name}, logits alone` : name,
          () => run(hidden, 1),
        ]),
      ),
      'to read the weights once': limits.readTimer(head),
      'pure JavaScript': () => pure.logProbs(hidden),
    },
    ROUNDS,
  );
  for (const { close } of rivals) await close?.();
  head.close();
  markdown(
    [`log-probabilities of one hidden state, ${vocabSize} × ${hiddenSize}, f32`, 'time', 'of lmhead’s'],
    Object.entries(times)
      .map(([name, seconds]) => ({ name, seconds: fastest(seconds) }))
      .sort((a, b) => a.seconds - b.seconds)
      .map(({ name, seconds }) => [
        name,
        duration(seconds),
        `${(seconds / fastest(times[ours])).toFixed(2)} ×`,
      ]),
  );
}

async function printRates(threads) {
  const { vocabSize, hiddenSize } = LARGE;
  const floats = randomWeights(vocabSize, hiddenSize);
  const columns = [];
  const rates = []; // of multiply-adds alone, in the same minutes as the passes
  for (const dtype of DTYPES) {
    const head = LMHead.from(truncated(floats, dtype), { ...LARGE, dtype, backend: 'native' });
    const hidden = randomHidden(128, hiddenSize);
    const one = hidden.subarray(0, hiddenSize);
    const out = new Float32Array(vocabSize);
    const four = hidden.subarray(0, 4 * hiddenSize);
    const fourTargets = new Uint32Array(4).fill(1000);
    const methods = {
      '`logProbs`, n = 1': () => head.logProbsSync(one, { out }),
      '`topK`, n = 1': () => head.topKSync(one, 50),
      '`sample`, n = 1': () => head.sampleSync(one, SAMPLING),
      '`score`, n = 4': () => head.scoreSync(four, fourTargets),
    };
    const { read, ...times } = await interleaved({ read: limits.readTimer(head), ...methods }, 15);
    const cells = Object.entries(times).map(([name, seconds]) => {
      const share = fastest(read) / fastest(seconds);
      const cell = () => `${duration(fastest(seconds))}, ${(100 * share).toFixed(0)} %`;
      return [`${name}: time, of the rate of reading`, cell];
    });
    for (const n of [16, 128]) {
      const [some, targets] = [hidden.subarray(0, n * hiddenSize), new Uint32Array(n).fill(1000)];
      const { score } = await interleaved(
        {
          peak: () => rates.push(2 * limits.multiplyAddRate(threads)),
          score: () => head.scoreSync(some, targets),
        },
        7,
      );
      const flops = (2 * n * vocabSize * hiddenSize) / fastest(score);
      const cell = () => `${(flops / 1e9).toFixed(0)}, ${((100 * flops) / Math.max(...rates)).toFixed(0)} %`;
      cells.push([`\`score\`, n = ${n}: GFLOP/s, of the peak`, cell]);
    }
    head.close();
    columns.push(cells);
  }
  markdown(
    [`${vocabSize} × ${hiddenSize}`, ...DTYPES],
    columns[0].map(([name], row) => [name, ...columns.map(cells => cells[row][1]())]),
  );
}

/** Multiply-adds of numbers that instructions of their own multiply: of bfloat16, and of integers. */
async function printNarrowRates(threads) {
  const { vocabSize, hiddenSize } = LARGE;
  const floats = randomWeights(vocabSize, hiddenSize);
  const columns = [];
  for (const [dtype, activations, name] of [
    ['bf16', 'bf16', 'bf16'],
    ['i8', 'i8', 'i8'],
    ['q8_0', 'i8', 'i8'],
  ]) {
    const rates = [];
    const peak = () => rates.push(2 * limits.multiplyAddRate(threads, name));
    if (limits.multiplyAddRate(threads, name) === 0) continue;
    const head = await narrowHead(floats, dtype, activations);
    const hidden = randomHidden(128, hiddenSize);
    const one = hidden.subarray(0, hiddenSize);
    const out = new Float32Array(vocabSize);
    const { read, single } = await interleaved(
      { read: limits.readTimer(head), single: () => head.logProbsSync(one, { out }) },
      15,
    );
    const share = (100 * fastest(read)) / fastest(single);
    const cells = [
      [
        '`logProbs`, n = 1: time, of the rate of reading',
        `${duration(fastest(single))}, ${share.toFixed(0)} %`,
      ],
    ];
    for (const n of [16, 128]) {
      const [some, targets] = [hidden.subarray(0, n * hiddenSize), new Uint32Array(n).fill(1000)];
      const { score } = await interleaved({ peak, score: () => head.scoreSync(some, targets) }, 7);
      const ops = (2 * n * vocabSize * hiddenSize) / fastest(score);
      cells.push([
        `\`score\`, n = ${n}: GOP/s, of the peak`,
        `${(ops / 1e9).toFixed(0)}, ${((100 * ops) / Math.max(...rates)).toFixed(0)} %`,
      ]);
    }
    cells.push(['the peak, GOP/s', (Math.max(...rates) / 1e9).toFixed(0)]);
    head.close();
    columns.push([`${dtype}, states in ${activations}`, cells]);
  }
  if (columns.length === 0) return;
  markdown(
    [`${vocabSize} × ${hiddenSize}`, ...columns.map(([title]) => title)],
    columns[0][1].map(([name], row) => [name, ...columns.map(([, cells]) => cells[row][1])]),
  );
}

async function narrowHead(floats, dtype, activations) {
  const from = (weight, more) => LMHead.from(weight, { ...LARGE, backend: 'native', ...more });
  if (dtype === 'bf16') return from(truncated(floats, dtype), { dtype, activations });
  const exact = from(floats);
  const { head } = await exact.quantize(dtype, { activations });
  exact.close();
  return head;
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
