/** Times the methods of one head at several batch sizes, in turn with reading its weights and with the peers. */

import limits from '../dist/backend/roofline.js';
import { LMHead } from '../dist/index.mjs';
import { randomHidden, randomWeights, truncated } from './random-head.mjs';
import { duration, interleaved, median, ratio } from './timing.mjs';

/** Columns of results that [n, V] numbers are still made of: more are not what one holds. */
const MOST_DENSE = 16;
/** Peers take part up to here; beyond it their logits alone would be gigabytes. */
const MOST_FOR_PEERS = 128;

/**
 * @param {{vocabSize: number, hiddenSize: number}} shape
 * @param {'f32' | 'f16' | 'bf16'} dtype
 * @returns {Promise<object[]>} a row for each method and n
 */
export async function measureShape(shape, dtype, { machine, peers, quick }) {
  const { vocabSize, hiddenSize } = shape;
  const floats = randomWeights(vocabSize, hiddenSize);
  const weight = truncated(floats, dtype);
  const head = LMHead.from(weight, { vocabSize, hiddenSize, dtype, backend: 'native' });
  const read = limits.readTimer(head);
  let rates = []; // multiply-adds, in the same rounds: some machines change their speed within seconds
  const peak = () => rates.push(2 * limits.multiplyAddRate(machine.threads));
  const rivals = dtype === 'f32' ? await prepared(peers, floats, head) : [];
  const rows = [];
  for (const n of quick ? [1, 16] : [1, 4, 16, 128, 512]) {
    const work = 2 * vocabSize * hiddenSize * n;
    const rounds = quick ? 5 : Math.max(3, Math.min(21, Math.round(2e11 / work)));
    const passes = methodsOf(head, n);
    const taking = n <= MOST_FOR_PEERS ? rivals.filter(({ mostRows }) => n <= mostRows) : [];
    const hidden = randomHidden(n, hiddenSize);
    rates = [];
    const times = await interleaved(
      {
        read,
        peak,
        ...passes,
        ...Object.fromEntries(taking.map(({ name, run }) => [`peer ${name}`, () => run(hidden, n)])),
      },
      rounds,
    );
    const bandwidth = weight.byteLength / median(times.read);
    const peakFlops = median(rates);
    for (const method of Object.keys(passes)) {
      const seconds = median(times[method]);
      const memory = weight.byteLength / bandwidth;
      const arithmetic = work / peakFlops;
      const spread = (Math.max(...times[method]) - Math.min(...times[method])) / 2 / seconds;
      rows.push({
        shape: shape.name,
        vocabSize,
        hiddenSize,
        dtype,
        n,
        method,
        seconds,
        best: Math.min(...times[method]),
        time: duration(seconds),
        spread,
        bandwidth,
        peakFlops,
        bytes: weight.byteLength,
        flops: work / seconds,
        bound: memory > arithmetic ? 'memory' : 'arithmetic',
        ofLimit: memory > arithmetic ? 1 / ratio(times[method], times.read) : arithmetic / seconds,
        peers: Object.fromEntries(
          taking.map(({ name }) => [name, ratio(times[`peer ${name}`], times[method])]),
        ),
      });
    }
  }
  head.close();
  for (const { close } of rivals) await close?.();
  return rows;
}

/** The peers over the same weights, each after it has made the same numbers of one hidden state. */
export async function prepared(peers, floats, head) {
  const { vocabSize, hiddenSize } = head;
  const hidden = randomHidden(1, hiddenSize);
  const rivals = [];
  for (const { name, result, prepare } of peers) {
    const rival = { name, result, mostRows: Infinity, ...(await prepare(floats, vocabSize, hiddenSize)) };
    const theirs = await rival.run(hidden, 1);
    const ours = head[`${result}Sync`](hidden);
    if (!ours.every((x, id) => Math.abs(x - theirs[id]) < 1e-3))
      throw new Error(`${name} differs in its ${result}`);
    rivals.push(rival);
  }
  return rivals;
}

function methodsOf(head, n) {
  const hidden = randomHidden(n, head.hiddenSize);
  const targets = new Uint32Array(n).fill(1000);
  const methods = {
    topK: () => head.topKSync(hidden, 50),
    sample: () => head.sampleSync(hidden, { temperature: 0.8, seed: 1 }),
    score: () => head.scoreSync(hidden, targets),
  };
  if (n > MOST_DENSE) return methods;
  const out = new Float32Array(n * head.vocabSize);
  return {
    logits: () => head.logitsSync(hidden, { out }),
    logProbs: () => head.logProbsSync(hidden, { out }),
    ...methods,
  };
}
