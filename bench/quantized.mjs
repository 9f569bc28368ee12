/**
 * Quantized heads of Llama 3's size against the streaming read of the same bytes, with float ones beside them; and many hidden
 * states at once. Reads and passes take turns, so trust the ratios more than the times. `node bench/quantized.mjs [dtype…]`
 */
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import limits from '../dist/backend/roofline.js';
import rounding from '../dist/dtypes/quantized-activations.js';
import rowFormat from '../dist/dtypes/row-format.js';
import { LMHead } from '../dist/index.mjs';
import { randomHidden } from './random-head.mjs';
import { duration, interleaved, ratio, table } from './timing.mjs';

const V = 128256;
const D = 2048;
const DTYPES = [
  'f32',
  'bf16',
  'i8',
  'q8_0',
  'q6_k',
  'q5_k',
  'q4_k',
  'q5_0',
  'q4_0',
  'iq4_nl',
  'iq4_xs',
  'mxfp4',
  'q3_k',
  'q2_k',
  'mlx8',
  'mlx4',
];
/** Numbers of a row of MLX's that share a scale and a bias. */
const GROUP = 64;
const MANY = [16, 128];
const ACTIVATIONS = ['f32', 'i8', 'i16'];

function anyBytes(bytes) {
  let state = 1;
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    bytes[i] = (state >>> 24) & 0xbf;
  }
  return bytes;
}

/** Any bytes are numbers; where two of them are a float, its exponent must be small. Subnormal ones would take longer. */
function anyWeights(dtype) {
  const shared = new SharedArrayBuffer(V * rowFormat.rowBytes(dtype, D));
  const bytes = anyBytes(new Uint8Array(shared));
  if (dtype === 'mxfp4') for (let i = 0; i < bytes.length; i += 17) bytes[i] = 118 + (bytes[i] & 7);
  if (dtype === 'f32') return new Float32Array(shared);
  return rowFormat.isFloat(dtype) ? new Uint16Array(shared) : bytes;
}

/** MLX's formats come from files alone: a file of one, mapped. */
function openMlx(dtype, folder) {
  const bits = dtype === 'mlx4' ? 4 : 8;
  const sides = { dtype: 'BF16', shape: [V, D / GROUP] };
  const tensors = {
    'lm_head.weight': { dtype: 'U32', shape: [V, (D * bits) / 32] },
    'lm_head.scales': sides,
    'lm_head.biases': sides,
  };
  let at = 0;
  for (const [name, { dtype, shape }] of Object.entries(tensors)) {
    const begin = at;
    at += shape[0] * shape[1] * (dtype === 'U32' ? 4 : 2);
    tensors[name] = { dtype, shape, data_offsets: [begin, at] };
  }
  const text = JSON.stringify(tensors);
  const header = Buffer.alloc(8 + text.length);
  header.writeBigUInt64LE(BigInt(text.length));
  header.write(text, 8);
  const path = join(folder, `${dtype}.safetensors`);
  writeFileSync(path, header);
  const bytes = anyBytes(new Uint8Array(at));
  bytes.fill(0x3c, (V * D * bits) / 8); // scales and biases of one small normal number
  appendFileSync(path, bytes);
  writeFileSync(
    join(folder, 'config.json'),
    JSON.stringify({ model_type: 'llama', hidden_size: D, quantization: { bits, group_size: GROUP } }),
  );
  return { head: LMHead.openSync(path, { backend: 'native' }), byteLength: at };
}

/**
 * Prints a table.
 * @param {{ dtypes?: string[], quick?: boolean }} options
 */
export async function quantized({ dtypes = DTYPES, quick = false } = {}) {
  const ofOne = [];
  const ofMany = [];
  const folder = mkdtempSync(join(tmpdir(), 'lmhead-bench-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const hidden = randomHidden(Math.max(...MANY), D);
  for (const dtype of dtypes) {
    const isMlx = dtype.startsWith('mlx');
    const data = isMlx ? undefined : anyWeights(dtype);
    const from = more =>
      LMHead.from(data, { vocabSize: V, hiddenSize: D, dtype, copy: false, backend: 'native', ...more });
    const { head, byteLength } = isMlx
      ? openMlx(dtype, folder)
      : { head: from(), byteLength: data.byteLength };
    // Beside the head those over the same bytes with integer activations, where its dtype has them.
    const heads = { f32: head };
    for (const activations of rounding.INTEGER_DTYPES.includes(dtype) ? ['i8', 'i16'] : [])
      heads[activations] = from({ activations });
    const each = work =>
      Object.fromEntries(Object.entries(heads).map(([name, one]) => [name, () => work(one)]));
    const out = new Float32Array(V);
    const one = hidden.subarray(0, D);
    const logits = each(head => head.logitsSync(one, { out }));
    const times = await interleaved({ read: limits.readTimer(head), ...logits }, quick ? 5 : 21);
    const read = Math.min(...times.read);
    ofOne.push([
      dtype,
      (byteLength / 1e6).toFixed(0),
      duration(read),
      (byteLength / read / 1e9).toFixed(1),
      ...ACTIVATIONS.flatMap(name =>
        times[name]
          ? [duration(Math.min(...times[name])), ratio(times.read, times[name]).toFixed(2)]
          : ['', ''],
      ),
    ]);
    const rates = {};
    for (const n of MANY) {
      const [some, targets] = [hidden.subarray(0, n * D), new Uint32Array(n)];
      const scores = await interleaved(
        each(head => head.scoreSync(some, targets)),
        quick ? 1 : 3,
      );
      for (const [name, its] of Object.entries(scores))
        rates[`${name} ${n}`] = (2e-9 * V * D * n) / Math.min(...its);
    }
    for (const head of Object.values(heads)) head.close();
    ofMany.push([
      dtype,
      ...MANY.flatMap(n => ACTIVATIONS.map(name => rates[`${name} ${n}`]?.toFixed(0) ?? '')),
    ]);
  }
  console.log(
    `\nQuantized heads, ${V} × ${D}: logits of one hidden state, and their share of the read (medians).\n`,
  );
  table(['', 'MB', 'read', 'GB/s', 'n = 1', 'share', 'in i8', 'share', 'in i16', 'share'], ofOne);
  console.log('\nScores of many: 10⁹ operations a second.\n');
  table(['', ...MANY.flatMap(n => [`n = ${n}`, 'in i8', 'in i16'])], ofMany);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const dtypes = process.argv.slice(2);
  await quantized(dtypes.length > 0 ? { dtypes } : {});
}
