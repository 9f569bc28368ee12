/** What a token costs behind a decoder's body: head and choice. */
import { convertHead } from '../../dist/head/convert.js';
import { LMHead } from '../../dist/index.mjs';
import { OnnxDecoder } from '../../dist/onnx/index.mjs';
import { median } from '../timing.mjs';
import { timed } from './timed.mjs';

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
 * @returns for each type of head, medians of rounds in which all take their turn: seconds of head and choice, whole and cut, their ratio by
 *   wall and by CPU, and the longest blocks of the event loop
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
  const seen = Object.fromEntries(Object.keys(ways).map(name => [name, []]));
  for (let round = -2; round < rounds; round++) {
    for (const [name, way] of Object.entries(ways)) {
      const one = await timed(() => way(round + 3));
      if (round >= 0) seen[name].push(one); // before, things are made that stay
    }
  }
  await whole.close();
  await body.close();
  for (const head of Object.values(heads)) head.close();

  const behind = (name, what) => seen[name].map((one, i) => one[what] - seen.body[i][what]);
  const ratioOf = (name, what) => {
    const its = behind(name, what);
    return median(behind('whole', what).map((all, i) => all / its[i]));
  };
  return Object.keys(heads).map(name => ({
    dtype: name,
    seconds: [median(behind('whole', 'seconds')), median(behind(name, 'seconds'))],
    wall: ratioOf(name, 'seconds'),
    cpu: ratioOf(name, 'cpu'),
    blocks: ['whole', name].map(each => median(seen[each].map(({ block }) => block))),
  }));
}
