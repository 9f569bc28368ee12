/** Heads of shards of a vocabulary: what they return, merged, is what the whole head returns, bit for bit. */
import { describe, expect, it } from 'vitest';
import { LMHead, mergeSamples, mergeScores, mergeTopK } from '../../lib';
import { backends } from '../support/backends';
import { temporaryFolder } from '../support/folders';
import { narrow } from '../support/half';
import { someNumbers } from '../support/numbers';
import { Random } from '../support/random';
import { same, shardsOf } from '../support/shards';

const folder = temporaryFolder();
/** As another process gets it. */
const posted = <T>(value: T): T => structuredClone(value);

/** Ways of drawing that can be merged. */
function someDrawing(random: Random, n: number, valid: number): object {
  const id = () => random.below(valid);
  const draw: Record<string, unknown> = { seed: random.below(1000), step: random.below(9) };
  if (random.below(2)) draw.stream = random.below(5);
  draw.temperature = random.pick<unknown>([
    0,
    1,
    0.7,
    1e-300,
    30,
    Array.from({ length: n }, () => random.pick([0, 0.5, 2])),
  ]);
  if (random.below(2)) {
    draw.topK = random.pick<unknown>([
      1,
      2,
      Math.min(40, valid),
      Array.from({ length: n }, () => 1 + random.below(9)),
    ]);
    for (const [name, value] of [
      ['topP', 0.8],
      ['minP', 0.05],
      ['typicalP', 0.9],
      ['pLess', true],
      ['xtcProbability', 0.6],
      ['temperatureRange', 0.3],
      ['maxSurprisal', 5],
      ['minKeep', 3],
    ] as const) {
      if (random.below(3) === 0) draw[name] = value;
    }
    if (draw.xtcProbability && random.below(2)) draw.xtcProtectedIds = [0, id()];
    if (random.below(5) === 0) {
      draw.stageOrder = [
        'topK',
        ...([
          'topNSigma',
          'xtc',
          'topP',
          'minP',
          'typicalP',
          'pLess',
          'temperature',
          'maxSurprisal',
        ] as const),
      ];
      draw.topNSigma = 1.5;
    }
  }
  if (random.below(2)) draw.logitBias = { [id()]: 3, [id()]: -2, [id()]: -Infinity };
  if (random.below(3) === 0 && valid > 4) draw.bannedIds = [id(), id()];
  if (random.below(3) === 0) {
    draw.history = Array.from({ length: 6 }, id);
    draw.repetitionPenalty = 1.3;
    draw.presencePenalty = 0.5;
  }
  const masks = random.below(4);
  if (masks === 1) draw.allowedIds = Array.from({ length: n }, () => [id(), id(), id(), valid - 1]);
  if (masks === 2)
    draw.allowedIds = Array.from({ length: valid }, (_, i) => i).filter(i => i % 3 !== 0 || i === 0);
  if (masks === 1) draw.bannedIds = draw.logitBias = undefined;
  return draw;
}

describe.each(backends)('%s', backend => {
  it.each(Array.from({ length: backend === 'native' ? 24 : 8 }, (_, i) => i))(
    'any calls, turn %i',
    async turn => {
      const random = new Random(100 + turn);
      const V = random.pick([3, 13, 255, 256, 257, 700, backend === 'native' ? 4000 : 513]);
      const dtype = random.pick(['f32', 'f16', 'bf16', 'q8_0', 'i8'] as const);
      const d = random.pick(dtype === 'q8_0' ? [32, 64] : [1, 7, 33]);
      const valid = random.below(3) === 0 ? 1 + random.below(V) : V;
      const scale = someNumbers(1, turn)[0] + 1.5;
      const numbers = someNumbers(V * d, turn + 1).map(x => (x > 0.9 ? 0 : x * 3));
      if (d > 1 && V > 3) numbers.copyWithin(d, 0, d); // equal logits
      const common = {
        backend,
        vocabSize: V,
        hiddenSize: d,
        validVocabSize: valid,
        logitScale: scale,
      } as const;
      const extra = {
        ...(random.below(2) && { bias: someNumbers(V, 9) }),
        ...(random.below(3) === 0 && { softCap: 4 }),
      };
      const float = dtype === 'f32' || dtype === 'f16' || dtype === 'bf16' ? dtype : 'f32';
      let whole = LMHead.from(narrow(numbers, float), { ...common, ...extra, dtype: float });
      if (dtype !== float) whole = (await whole.quantize(dtype as 'i8')).head;
      const path = folder.path(`${backend}-${turn}.safetensors`);
      whole.saveSync(path);
      const activations = dtype === 'i8' && random.below(2) ? 'i16' : 'f32';
      whole = LMHead.openSync(path, { backend, activations, threads: 1 + random.below(3) });
      const count = 1 + random.below(Math.min(7, V));
      const heads = shardsOf(path, count, { backend, activations, mmap: random.below(2) === 0 });
      const n = 1 + random.below(5);
      const hidden = someNumbers(n * d, turn + 2);
      const merging = async <T>(call: (head: LMHead) => Promise<T>, merge: (shards: T[]) => T) =>
        merge(posted((await Promise.all(heads.map(call))).toReversed()));

      const wide = heads.map(head => head.logitsSync(hidden));
      const logits = whole.logitsSync(hidden);
      heads.forEach((head, i) => {
        const { firstId, endId } = head.shard!;
        expect([firstId, endId]).toEqual([Math.floor((V * i) / count), Math.floor((V * (i + 1)) / count)]);
        for (let row = 0; row < n; row++) {
          const width = endId - firstId;
          expect(wide[i].subarray(row * width, (row + 1) * width)).toEqual(
            logits.subarray(row * V + firstId, row * V + endId),
          );
        }
        expect(head.embed([firstId])).toEqual(whole.embed([firstId]));
      });
      for (const temperature of [1, 0.3]) {
        const k = 1 + random.below(valid);
        same(
          await merging(
            head => head.topK(hidden, k, { temperature }),
            s => mergeTopK(s),
          ),
          whole.topKSync(hidden, k, { temperature }),
        );
        const targets = Uint32Array.from({ length: n }, () =>
          random.below(4) === 0 ? 0 : random.below(valid),
        );
        const options = {
          temperature,
          entropy: random.below(2) === 0,
          ignoreIndex: valid > 1 ? 0 : undefined,
        };
        const score = whole.scoreSync(hidden, targets, options);
        same(await merging(head => head.score(hidden, targets, options), mergeScores), score);
        same(mergeScores(heads.map(head => head.scoreSync(hidden, targets, options))), score);
      }
      for (let i = 0; i < 8; i++) {
        const draw = someDrawing(random, n, valid);
        let wanted: object;
        try {
          wanted = whole.sampleSync(hidden, draw);
        } catch (error) {
          const failing = merging(head => head.sample(hidden, draw), mergeSamples);
          await expect(failing, JSON.stringify(draw)).rejects.toThrow((error as Error).message);
          continue;
        }
        same(await merging(head => head.sample(hidden, draw), mergeSamples), wanted);
      }
      // Together in one pass.
      const request = {
        top: 1,
        sample: true,
        targets: new Array(n).fill(valid - 1),
        seed: 5,
        logits: true,
      } as const;
      const results = await Promise.all(heads.map(head => head.run(hidden, request)));
      const result = whole.runSync(hidden, request);
      same(mergeTopK(results.map(each => each.top)), result.top);
      same(mergeScores(results.map(each => each.score)), result.score);
      same(mergeSamples(results.map(each => each.sample)), result.sample);
      for (const head of [whole, ...heads]) head.close();
    },
  );
});
