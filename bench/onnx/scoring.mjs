/**
 * Scores a text in a process of its own, and tells what it took:
 *
 *     node bench/onnx/scoring.mjs model.onnx whole|cut TOKENS VOCABULARY
 *
 * whole: the graph gives logits of all positions, of which a loop makes log-probabilities. cut: `OnnxDecoder.score`.
 */
import { writeFileSync } from 'node:fs';
import { OnnxDecoder } from '../../dist/onnx/index.mjs';
import { packageOf } from './packages.mjs';
import { timed } from './timed.mjs';

const [path, way, ...counts] = process.argv.slice(2);
const [tokens, V] = counts.map(Number);
const runtime = packageOf('onnxruntime-node');
const ids = Uint32Array.from({ length: tokens }, (_, i) => (i * 7919) % V);

async function wholeGraph() {
  const { InferenceSession, Tensor } = runtime;
  const session = await InferenceSession.create(path, {
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
  const nllOf = async ids => {
    const { length } = ids;
    const feeds = {
      input_ids: new Tensor('int64', BigInt64Array.from(ids, BigInt), [1, length]),
      attention_mask: new Tensor('int64', new BigInt64Array(length).fill(1n), [1, length]),
    };
    for (const { name, shape } of session.inputMetadata) {
      if (name in feeds) continue;
      feeds[name] = new Tensor('float32', new Float32Array(0), [1, shape[1], 0, shape[3]]);
    }
    const { data } = (await session.run(feeds, ['logits'])).logits;
    let sum = 0;
    for (let i = 0; i < length - 1; i++) sum -= logProb(data.subarray(i * V, (i + 1) * V), ids[i + 1]);
    return sum / (length - 1);
  };
  return nllOf;
}

function logProb(logits, id) {
  let most = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) if (logits[i] > most) most = logits[i];
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - most);
  return logits[id] - most - Math.log(sum);
}

async function cut() {
  const decoder = await OnnxDecoder.open(path, { runtime });
  return async ids => (await decoder.score(ids)).nll;
}

/** Bytes that the process had at most, so far or since `forget`. */
const mostMemory = () => process.resourceUsage().maxRSS * 1024;

/** Of what opening took at most, so that what scoring takes is seen. Linux alone can. */
function forget() {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {}
}

const score = await { whole: wholeGraph, cut }[way]();
await score(ids.subarray(0, 8)); // what is made at the first run
const opening = mostMemory();
forget();
const opened = process.memoryUsage.rss();
let nll;
const { seconds, block } = await timed(async () => {
  nll = await score(ids);
});
const scoring = mostMemory();
const memory = { peak: Math.max(opening, scoring), growth: scoring - opened };
process.stdout.write(JSON.stringify({ nll, seconds, block, ...memory }));
