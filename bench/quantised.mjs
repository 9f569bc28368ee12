/**
 * `node bench/quantised.mjs`: quantised heads of Llama 3's size against the streaming read of the same bytes, and many hidden
 * states at once. Reads and passes take turns, so trust the ratios more than the times. Arguments choose dtypes.
 */
import { capabilities, LMHead } from '../dist/index.mjs';
import limits from '../dist/limits.js';
import rowFormat from '../dist/row-format.js';
import { randomHidden } from './random-head.mjs';
import { duration, interleaved, median, table } from './timing.mjs';

const V = 128256;
const D = 2048;
const ROUNDS = 15;
const { isa, threads } = capabilities();
const chosen = process.argv.slice(2);
const dtypes = chosen.length > 0 ? chosen : ['i8', 'q8_0', 'q6_k', 'q5_k', 'q4_k', 'q5_0', 'q4_0', 'iq4_nl'];

/** Any bytes are numbers; where two of them are a half, its exponent must be small. */
function bytesOf(dtype) {
  const bytes = new Uint8Array(new SharedArrayBuffer(V * rowFormat.rowBytes(dtype, D)));
  let state = 1;
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    bytes[i] = (state >>> 24) & 0xbf;
  }
  return bytes;
}

const fastest = seconds => Math.min(...seconds);

console.log(`${V} × ${D}, ${isa}, ${threads} threads; the best of ${ROUNDS}\n`);
const rows = dtypes.map(dtype => {
  const data = bytesOf(dtype);
  const output = { kind: 'memory', data, dtype, copy: false, layout: 'vd' };
  const epilogue = { logitScale: 1, softCap: 0, capOrder: 'scale-then-cap', validVocabSize: V };
  const read = limits.readTimer({ vocabSize: V, hiddenSize: D, output, epilogue }, threads);
  const head = LMHead.from(data, { vocabSize: V, hiddenSize: D, dtype, copy: false, backend: 'native' });
  const hidden = randomHidden(128, D);
  const out = new Float32Array(V);
  const one = hidden.subarray(0, D);
  const times = interleaved({ read, one: () => head.logitsSync(one, { out }) }, ROUNDS);
  const many = n => {
    const some = hidden.subarray(0, n * D);
    const targets = new Uint32Array(n);
    const seconds = fastest(interleaved({ score: () => head.scoreSync(some, targets) }, 3).score);
    return [duration(seconds), ((2 * V * D * n) / seconds / 1e9).toFixed(0)];
  };
  const [ms16, rate16] = many(16);
  const [ms128, rate128] = many(128);
  head.close();
  return [
    dtype,
    (data.length / 1e6).toFixed(0),
    duration(fastest(times.read)),
    (data.length / fastest(times.read) / 1e9).toFixed(1),
    duration(fastest(times.one)),
    (fastest(times.read) / fastest(times.one)).toFixed(2),
    median(times.read.map((seconds, i) => seconds / times.one[i])).toFixed(2),
    ms16,
    rate16,
    ms128,
    rate128,
  ];
});
table(
  ['', 'MB', 'read', 'GB/s', 'n = 1', 'of the roof', 'median', 'n = 16', 'GFLOP/s', 'n = 128', 'GFLOP/s'],
  rows,
);
