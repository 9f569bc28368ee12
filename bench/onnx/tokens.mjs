/** What a token costs behind a decoder's body: head and choice. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { convertHead } from '../../dist/head/convert.js';
import { LMHead } from '../../dist/index.mjs';
import { OnnxDecoder } from '../../dist/onnx/index.mjs';
import { median } from '../timing.mjs';

const TEMPERATURE = 0.8;
const TOP_K = 50;
const PROMPT = Uint32Array.from({ length: 64 }, (_, i) => 7 * i + 1);

/**
 * The steps of a token in `generate` of transformers.js, with its own functions: of the last position's logits, divided by the temperature,
 * the 50 best, their softmax, one of them.
 */
function stepsOf({ Tensor, TemperatureLogitsWarper, topk, softmax }) {
  const warper = new TemperatureLogitsWarper(TEMPERATURE);
  return async ({ data, dims: [, V] }) => {
    const logits = new Tensor('float32', data, [1, 1, V]).slice(null, -1, null).to('float32');
    const [best, ids] = await topk(warper([], logits)[0], TOP_K);
    const probabilities = softmax(best.data);
    let left = Math.random();
    const at = probabilities.findIndex(p => {
      left -= p;
      return left < 0;
    });
    return Number(ids.data[Math.max(at, 0)]);
  };
}

/** @returns the seconds that something takes, and the longest time in them that a timer had to wait */
async function watched(work) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await sleep(2);
  delay.reset();
  const start = process.hrtime.bigint();
  await work();
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  await sleep(2);
  delay.disable();
  return { seconds, block: delay.max / 1e9 };
}

/** Heads over the same hidden states, by the type of their weights. */
async function headsOf(path, dtype) {
  const heads = { [dtype]: await LMHead.open(path) };
  if (dtype === 'f32') {
    const saved = `${path}.bf16.safetensors`;
    await convertHead(path, saved, 'bf16', {});
    heads.bf16 = await LMHead.open(saved);
  }
  return heads;
}

/**
 * @param {string} path of a decoder
 * @param {{ runtime: object, transformers: object, dtype: string, rounds: number }} options dtype: of its head, as it is opened
 * @returns medians of rounds in which all take their turn, in seconds: of `whole`, and of each type of head
 */
export async function measureTokens(path, { runtime, transformers, dtype, rounds }) {
  const choose = stepsOf(transformers);
  const heads = await headsOf(path, dtype);
  const [whole, body] = [
    await OnnxDecoder.open(path, { runtime, cut: false }),
    await OnnxDecoder.open(path, { runtime }),
  ];
  const ends = [await whole.prefill(PROMPT), await body.prefill(PROMPT)];
  const options = { temperature: TEMPERATURE, topK: TOP_K };
  const ways = {
    whole: async id => choose((await whole.step(ends[0], id)).hidden),
    body: id => body.step(ends[1], id),
  };
  for (const [name, head] of Object.entries(heads)) {
    ways[name] = async id => head.sample((await body.step(ends[1], id)).hidden, { ...options, seed: id });
  }
  const seen = Object.fromEntries(Object.keys(ways).map(name => [name, { seconds: [], block: [] }]));
  for (let round = -2; round < rounds; round++) {
    for (const [name, way] of Object.entries(ways)) {
      const { seconds, block } = await watched(() => way(round + 3));
      if (round < 0) continue; // what is made at the first token
      seen[name].seconds.push(seconds);
      seen[name].block.push(block);
    }
  }
  await whole.close();
  await body.close();
  for (const head of Object.values(heads)) head.close();
  const { body: alone, ...others } = seen;
  const results = { body: { seconds: median(alone.seconds), block: median(alone.block) } };
  for (const [name, { seconds, block }] of Object.entries(others)) {
    const behind = seconds.map((all, i) => all - alone.seconds[i]);
    results[name] = { seconds: median(behind), block: median(block) };
  }
  return results;
}
