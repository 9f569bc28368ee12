/**
 * `npm run bench -- --together`: calls that return a promise and wait for the same weights, beside one batch of as many hidden states,
 * and beside as many strict turns. Prints the table of docs/servers.md. Medians of rounds in which all take their turn.
 */
import { LMHead } from '../dist/index.mjs';
import { measureCallCost } from './call-cost.mjs';
import { randomHidden, randomWeights, truncated } from './random-head.mjs';
import { smallHead } from './small-head.mjs';
import { duration, interleaved, median, ratio } from './timing.mjs';

const SHAPES = [
  { vocabSize: 128256, hiddenSize: 896 },
  { vocabSize: 151936, hiddenSize: 896 },
];
const DTYPES = ['bf16', 'f32', 'q8_0'];
const SAMPLING = { temperature: 0.8, topK: 40, topP: 0.95, seed: 1 };

/** What servers ask of single hidden states, in turn. */
const MIX = [
  (head, hidden) => head.argmax(hidden),
  (head, hidden) => head.topK(hidden, 50),
  (head, hidden) => head.sample(hidden, SAMPLING),
  (head, hidden) => head.score(hidden, [1000]),
];

async function headOf({ vocabSize, hiddenSize }, dtype) {
  const weights = randomWeights(vocabSize, hiddenSize);
  const options = { vocabSize, hiddenSize, backend: 'native' };
  if (dtype !== 'q8_0') return LMHead.from(truncated(weights, dtype), { ...options, dtype });
  const floats = LMHead.from(weights, options);
  const { head } = await floats.quantize('q8_0');
  floats.close();
  return head;
}

/** The same weights, with strict turns. */
function strictly({ handle }) {
  return LMHead.attach(structuredClone({ ...handle, settings: { ...handle.settings, coalesce: false } }));
}

async function measure(shape, dtype, rounds) {
  const head = await headOf(shape, dtype);
  const strict = strictly(head);
  const d = shape.hiddenSize;
  const states = randomHidden(64, d);
  const calls = (of, n) =>
    Promise.all(
      Array.from({ length: n }, (_, i) => MIX[i % MIX.length](of, states.subarray(i * d, (i + 1) * d))),
    );
  const samplers = Array.from({ length: 16 }, (_, i) => head.sampler({ ...SAMPLING, seed: i }));
  const times = await interleaved(
    {
      lone: () => head.argmax(states.subarray(0, d)),
      batch16: () => head.sample(states.subarray(0, 16 * d), SAMPLING),
      calls16: () => calls(head, 16),
      strict16: () => calls(strict, 16),
      nextAll16: () => head.nextAll(samplers, states.subarray(0, 16 * d)),
      batch64: () => head.sample(states, SAMPLING),
      calls64: () => calls(head, 64),
      strict64: () => calls(strict, 64),
    },
    rounds,
  );
  const streams = await tokenTimes(head, states, d, 16 * rounds);
  head.close();
  strict.close();
  return { times, ...streams };
}

/** Seconds of each token of sixteen streams, each of which asks for the next one when it has the last. */
async function tokenTimes(head, states, d, tokens) {
  const seconds = [];
  const stream = async i => {
    const sampler = head.sampler({ ...SAMPLING, seed: i });
    for (let token = 0; token < tokens / 16; token++) {
      const start = process.hrtime.bigint();
      await sampler.next(states.subarray(i * d, (i + 1) * d));
      seconds.push(Number(process.hrtime.bigint() - start) / 1e9);
    }
  };
  await Promise.all(Array.from({ length: 16 }, (_, i) => stream(i)));
  const sorted = seconds.toSorted((a, b) => a - b);
  return { p50: median(seconds), p99: sorted[Math.floor(0.99 * (sorted.length - 1))] };
}

/**
 * @param {{isa: string, threads: number, cpu: string, node: string}} machine
 * @param {number} rounds
 */
export async function printTogether({ cpu, isa, threads, node }, rounds) {
  console.log(
    `\n${cpu}, ${isa}, ${threads} threads, Node.js ${node.slice(1)}; medians of ${rounds} rounds.\n`,
  );
  markdown([
    'weights',
    'one call',
    '16 calls at once',
    'of one batch of 16',
    'of `nextAll`',
    'of strict turns',
    '64 calls at once',
    'of one batch of 64',
    'of strict turns',
    'a token of 16 streams, p50 / p99',
  ]);
  for (const shape of SHAPES) {
    for (const dtype of DTYPES) {
      const { times, p50, p99 } = await measure(shape, dtype, rounds);
      const of = (a, b) => `${ratio(times[a], times[b]).toFixed(2)} ×`;
      row([
        `${shape.vocabSize} × ${shape.hiddenSize}, ${dtype}`,
        duration(median(times.lone)),
        duration(median(times.calls16)),
        of('calls16', 'batch16'),
        of('calls16', 'nextAll16'),
        `1 / ${ratio(times.strict16, times.calls16).toFixed(1)}`,
        duration(median(times.calls64)),
        of('calls64', 'batch64'),
        `1 / ${ratio(times.strict64, times.calls64).toFixed(1)}`,
        `${duration(p50)} / ${duration(p99)}`,
      ]);
    }
  }
  const { sync, promise } = await measureCallCost();
  const small = Object.fromEntries(smallHead());
  console.log(
    `\n512 × 64: ${small.argmax} for \`argmaxSync\`; a promise takes ${duration(median(promise) - median(sync))} more.`,
  );
}

function row(cells) {
  console.log(`| ${cells.join(' | ')} |`);
}

function markdown(head) {
  row(head);
  console.log(`|${head.map((_, i) => (i ? '---:' : '---')).join('|')}|`);
}
