/**
 * Quantized heads of Llama 3's size against the streaming read of the same bytes, with float ones beside them; and many hidden
 * states at once. Reads and passes take turns, so trust the ratios more than the times. `node bench/quantized.mjs [dtype…]`
 */
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
];
const MANY = 128;

/** Any bytes are numbers; where two of them are a float, its exponent must be small. */
function anyWeights(dtype) {
  const shared = new SharedArrayBuffer(V * rowFormat.rowBytes(dtype, D));
  const bytes = new Uint8Array(shared);
  let state = 1;
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    bytes[i] = (state >>> 24) & 0xbf;
  }
  if (dtype === 'f32') return new Float32Array(shared);
  return rowFormat.isFloat(dtype) ? new Uint16Array(shared) : bytes;
}

/**
 * Prints a table.
 * @param {{ dtypes?: string[], quick?: boolean }} options
 */
export async function quantized({ dtypes = DTYPES, quick = false } = {}) {
  const rows = [];
  for (const dtype of dtypes) {
    const data = anyWeights(dtype);
    const head = LMHead.from(data, {
      vocabSize: V,
      hiddenSize: D,
      dtype,
      copy: false,
      backend: 'native',
    });
    const hidden = randomHidden(MANY, D);
    const out = new Float32Array(V);
    const one = hidden.subarray(0, D);
    const read = limits.readTimer(head);
    const times = await interleaved({ read, one: () => head.logitsSync(one, { out }) }, quick ? 7 : 21);
    const targets = new Uint32Array(MANY);
    // Beside the head those over the same bytes with integer activations, where its dtype has them.
    const heads = { f32: head };
    for (const activations of rounding.WHOLE_WEIGHTS.includes(dtype) ? ['i8', 'i16'] : [])
      heads[activations] = LMHead.from(data, {
        vocabSize: V,
        hiddenSize: D,
        dtype,
        copy: false,
        backend: 'native',
        activations,
      });
    const scores = Object.entries(heads).map(([name, one]) => [name, () => one.scoreSync(hidden, targets)]);
    const { f32: many, ...integer } = await interleaved(Object.fromEntries(scores), quick ? 1 : 3);
    for (const one of Object.values(heads)) one.close();
    const best = { read: Math.min(...times.read), one: Math.min(...times.one), many: Math.min(...many) };
    rows.push([
      dtype,
      (data.byteLength / 1e6).toFixed(0),
      duration(best.read),
      (data.byteLength / best.read / 1e9).toFixed(1),
      duration(best.one),
      (best.read / best.one).toFixed(2),
      ratio(times.read, times.one).toFixed(2),
      duration(best.many),
      ((2 * V * D * MANY) / best.many / 1e9).toFixed(0),
      ...['i8', 'i16'].map(name => (integer[name] ? duration(Math.min(...integer[name])) : '')),
    ]);
  }
  console.log(`\nQuantized heads, ${V} × ${D}: logits of one hidden state, scores of ${MANY}.\n`);
  table(
    ['', 'MB', 'read', 'GB/s', 'n = 1', 'of the read', 'median', `n = ${MANY}`, 'GFLOP/s', 'in i8', 'in i16'],
    rows,
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const dtypes = process.argv.slice(2);
  await quantized(dtypes.length > 0 ? { dtypes } : {});
}
