/**
 * `npm run bench`: the passes against what this machine can do at most, and against what people would use instead. What is
 * compared runs in turn, so trust the ratios more than the times.
 */
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import limits from '../dist/backend/roofline.js';
import { capabilities } from '../dist/index.mjs';
import { againstPureJs } from './against-pure-js.mjs';
import { headers } from './headers.mjs';
import { histories } from './histories.mjs';
import { printOnnx } from './onnx.mjs';
import { measureShape } from './passes.mjs';
import { printPauses } from './pauses.mjs';
import { loadPeers } from './peers/index.mjs';
import { quantized } from './quantized.mjs';
import { rooflineChart } from './roofline-chart.mjs';
import { sampling } from './sampling.mjs';
import { printScreened } from './screened.mjs';
import { printServer } from './server/load.mjs';
import { smallHead } from './small-head.mjs';
import { printSummary } from './summary.mjs';
import { table } from './timing.mjs';
import { printTogether } from './together.mjs';

const SHAPES = [
  { name: 'GPT-2', vocabSize: 50257, hiddenSize: 768 },
  { name: 'Llama 3.2 1B', vocabSize: 128256, hiddenSize: 2048 },
  { name: 'Qwen2.5 0.5B', vocabSize: 151936, hiddenSize: 896 },
  { name: 'Gemma 3 270M, d = 640', vocabSize: 256000, hiddenSize: 640 },
];

const USAGE = `npm run bench            every shape: methods, sizes of batch, peers, sampling, quantized weights

npm run bench -- OPTION
  --quick          one shape and no peers, in less than a minute
  --summary        the figures of the README, and nothing else
  --together       calls that share passes; the first table of docs/servers.md
  --server         examples/http-server under load; the second one
  --pauses         calls after pauses, as a server makes them
  --screen         heads with \`screen: true\` against heads without it; docs/screening.md
  --onnx           ONNX decoders without their heads against whole graphs; docs/onnx.md. With --quick a tiny one
  --json FILE      every figure, with spread
  --svg FILE       the roofline chart
  --shape NAME     shapes whose name holds it, as GPT-2
  --no-peers       or --quick --peers`;

const OPTIONS = {
  options: {
    help: { type: 'boolean', short: 'h', default: false },
    quick: { type: 'boolean', default: false },
    summary: { type: 'boolean', default: false },
    together: { type: 'boolean', default: false },
    server: { type: 'boolean', default: false },
    screen: { type: 'boolean', default: false },
    pauses: { type: 'boolean', default: false },
    onnx: { type: 'boolean', default: false },
    json: { type: 'string' },
    svg: { type: 'string' },
    shape: { type: 'string' },
    peers: { type: 'boolean' },
  },
  allowNegative: true,
};
let values;
try {
  ({ values } = parseArgs(OPTIONS));
} catch (error) {
  console.error(`${error.message}\n\n${USAGE}`);
  process.exit(1);
}
if (values.help) {
  console.log(USAGE);
  process.exit();
}
const { quick, together, server, screen, pauses, onnx } = values;
const { peers: withPeers = !quick && !together && !server && !screen && !pauses && !onnx } = values;
const shapes = SHAPES.filter(({ name }) => name.includes(values.shape ?? (quick ? SHAPES[0].name : '')));
if (shapes.length === 0)
  throw new Error(`--shape: want a part of ${SHAPES.map(({ name }) => name).join('; ')}`);

const { isa, threads, version } = capabilities();
const rates = Array.from({ length: 9 }, () => limits.multiplyAddRate(threads) * 2);
const machine = {
  lmhead: version,
  isa,
  threads,
  node: process.version,
  cpu: cpus()[0].model.trim(),
  peakFlops: Math.max(...rates),
};
const peers = withPeers ? await loadPeers(line => console.log(line)) : [];
if (values.summary) await printSummary(machine, peers);
else if (together) await printTogether(machine, quick ? 5 : 21);
else if (pauses) await printPauses();
else if (screen) await printScreened(machine, quick);
else if (onnx) await printOnnx(machine, quick);
else if (server) await printServer(machine, quick ? 2 : 8);
else await benchmark();

async function benchmark() {
  console.log(
    `lmhead ${version}, ${isa}, ${threads} threads; Node ${machine.node}; ${machine.cpu}; ` +
      `multiply-adds from registers: ${(machine.peakFlops / 1e9).toFixed(0)} GFLOP/s`,
  );
  const measured = [];
  for (const shape of shapes) {
    for (const dtype of ['f32', 'f16', 'bf16']) {
      const rows = await measureShape(shape, dtype, { machine, peers, quick });
      measured.push(...rows);
      printShape(shape, dtype, rows);
    }
  }
  const small = smallHead();
  console.log('\nA small head, 512 × 64: a synchronous call.\n');
  table(['', 'time'], small);
  await sampling(quick ? 3 : 21);
  await histories(quick ? 3 : 11);
  headers(quick ? [1] : undefined);
  await quantized(quick ? { dtypes: ['i8', 'q4_k'], quick } : {});
  console.log('\nAgainst pure JS.\n');
  await againstPureJs(quick ? 5 : 21);
  if (quick) await printOnnx(machine, quick);

  if (values.json) writeFileSync(values.json, `${JSON.stringify({ machine, measured, small }, null, 1)}\n`);
  if (values.svg) writeFileSync(values.svg, rooflineChart(machine, measured));
}

function printShape({ name, vocabSize, hiddenSize }, dtype, rows) {
  const { bandwidth } = rows[0];
  console.log(
    `\n${name}: ${vocabSize} × ${hiddenSize} ${dtype}; reading the weights: ${(bandwidth / 1e9).toFixed(1)} GB/s.\n`,
  );
  const peerNames = [...new Set(rows.flatMap(row => Object.keys(row.peers)))];
  table(
    ['', 'n', 'time', 'spread', 'GFLOP/s', 'of the limit', ...peerNames.map(peer => `${peer} takes`)],
    rows.map(row => [
      row.method,
      String(row.n),
      row.time,
      `±${(100 * row.spread).toFixed(0)} %`,
      (row.flops / 1e9).toFixed(0),
      `${(100 * row.ofLimit).toFixed(0)} % ${row.bound}`,
      ...peerNames.map(peer => (peer in row.peers ? `${row.peers[peer].toFixed(2)} ×` : '')),
    ]),
  );
}
