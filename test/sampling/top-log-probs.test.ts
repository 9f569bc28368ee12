/** What a sample tells beside its tokens, from the same pass: the numbers that the separate methods give, each from a pass of its own. */
import { describe, expect, it } from 'vitest';
import { LMHead, type Sample, type SampleOptions, sampleFrom, type TopLogProbs, topKOf } from '../../lib';
import { nativeUnavailable } from '../../lib/backend/addon';
import { nativeLogits } from '../../lib/backend/native';
import { referenceLogits } from '../../lib/reference/backend';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { drawFrom } from '../support/given-draws';
import { headUnderTest, someHidden } from '../support/heads';
import { expectClose, someNumbers } from '../support/numbers';

const [V, D, N] = [700, 24, 9];
const NO_ID = 2 ** 32 - 1;
const ROUNDED = { relative: 2 ** -22, absolute: 2 ** -22 };
const weight = someNumbers(V * D, 41).map(x => 2 * x);
const hidden = someNumbers(N * D, 42);

/** Gumbel-max, greedy, the k best, min-p (that is reached, and that is materialized after all), materialized rows, adjusted ones, and all at once. */
const WAYS: Record<string, SampleOptions> = {
  plain: {},
  temperature: { temperature: 0.6 },
  'temperature per row': { temperature: [1, 0, 2, 0.5, 1, 1e-30, 3, 0, 1] },
  greedy: { temperature: 0 },
  'top-k of fewer than are told': { topK: 3 },
  'top-k': { topK: 60, temperature: 1.3 },
  'min-p': { minP: 0.05, temperature: 0.8 },
  'top-p': { topP: 0.9 },
  'temperature first': { topP: 0.8, temperature: 2, stageOrder: ['temperature', 'topP'] },
  typical: { typicalP: 0.3 },
  xtc: { xtcProbability: 1, xtcThreshold: 0.01 },
  'dynamic temperature': { temperature: 1, temperatureRange: 0.7 },
  penalties: { history: [1, 2, 3, 4, 5, 5], repetitionPenalty: 1.6, frequencyPenalty: 0.4, temperature: 0.9 },
  biases: { logitBias: { 3: 8, 44: -Infinity, 688: 2.5 } },
  'biases, greedy': { logitBias: { 3: 80 }, temperature: 0 },
  'few allowed ids': { allowedIds: [5, 600, 77], temperature: 1.5 },
  'nearly all allowed': { bannedIds: Array.from({ length: 300 }, (_, i) => 2 * i), topK: 40 },
  all: {
    topK: 200,
    topP: 0.95,
    minP: 0.01,
    typicalP: 0.9,
    temperature: 0.7,
    history: [9, 9, 9],
    presencePenalty: 1,
  },
};

/** A list's rows, without what is beyond their counts. */
function rowsOf({ k, counts, ids, logProbs }: TopLogProbs): { ids: number[]; logProbs: number[] }[] {
  return Array.from(counts, (count, row) => {
    const rest = row * k + count;
    expect([...ids.subarray(rest, (row + 1) * k)].every(id => id === NO_ID)).toBe(true);
    expect([...logProbs.subarray(rest, (row + 1) * k)].every(x => x === -Infinity)).toBe(true);
    return {
      ids: [...ids.subarray(row * k, rest)],
      logProbs: [...logProbs.subarray(row * k, rest)],
    };
  });
}

describe.each(backends)('topLogProbs, %s', backend => {
  const epilogues = [{}, { softCap: 3, logitScale: 1.4, bias: someNumbers(V, 43), validVocabSize: V - 11 }];
  describe.each(epilogues)('epilogue %#', epilogue => {
    const head = LMHead.from(weight, { vocabSize: V, hiddenSize: D, backend, ...epilogue });
    const subset = { rows: [600, 5, 77, 3, 44, 200, 12] };

    it.each(Object.keys(WAYS))('%s', way => {
      for (const view of [{}, subset, { ...subset, over: 'vocabulary' as const }]) {
        const options: SampleOptions = { ...WAYS[way], ...view, seed: 11, step: 5 };
        if ('rows' in view) {
          delete options.topK;
          delete options.bannedIds;
        }
        const plain = head.sampleSync(hidden, options);
        const told = head.sampleSync(hidden, { ...options, topLogProbs: 20 });
        const most = 'rows' in view ? subset.rows.length : 20;
        expect(told.ids).toEqual(plain.ids);
        expectClose(told.logProbs, plain.logProbs, ROUNDED);
        expect([told.topLogProbs!.k, told.modelTopLogProbs!.k]).toEqual([most, most]);

        const raw = head.topKSync(hidden, most, view);
        expect(told.modelTopLogProbs).toEqual({
          k: most,
          counts: new Uint32Array(N).fill(most),
          ids: raw.ids,
          logProbs: raw.logProbs,
        });
        expect(told.modelLogProbs).toEqual(head.scoreSync(hidden, told.ids, view).logProbs);

        const left = head.candidatesSync(hidden, options);
        rowsOf(told.topLogProbs!).forEach(({ ids, logProbs }, row) => {
          const [begin, end] = [left.offsets[row], Math.min(left.offsets[row] + most, left.offsets[row + 1])];
          expect(ids).toEqual([...left.ids.subarray(begin, end)]);
          expectClose(logProbs.map(Math.exp), left.probs.subarray(begin, end), {
            relative: 2 ** -20,
            absolute: 2 ** -60,
          });
          const drawn = ids.indexOf(told.ids[row]);
          if (drawn >= 0) expect(logProbs[drawn]).toBe(told.logProbs[row]); // the same number, the same bits
        });
      }
    });
  });

  it('is the first of a longer list, down to none', async () => {
    const head = LMHead.from(weight, { vocabSize: V, hiddenSize: D, backend });
    const options = { seed: 1, topP: 0.9, temperature: 0.8 };
    const longest = head.sampleSync(hidden, { ...options, topLogProbs: 20 });
    for (const k of [0, 1, 7]) {
      const told = await head.sample(hidden, { ...options, topLogProbs: k });
      for (const list of ['topLogProbs', 'modelTopLogProbs'] as const) {
        expect(told[list]!.k).toBe(k);
        expect(told[list]!.ids.length).toBe(N * k);
        const rows = rowsOf(longest[list]!);
        expect(rowsOf(told[list]!)).toEqual(
          rows.map(({ ids, logProbs }) => ({ ids: ids.slice(0, k), logProbs: logProbs.slice(0, k) })),
        );
      }
      expect(told.modelLogProbs).toEqual(longest.modelLogProbs);
    }
  });

  it('is part of run, beside results at the temperature', () => {
    const head = LMHead.from(weight, { vocabSize: V, hiddenSize: D, backend });
    const options = { seed: 2, temperature: 0.5, topK: 30, topLogProbs: 5 };
    const all = head.runSync(hidden, { ...options, sample: true, top: 3, logProbs: true, argmax: true });
    expect(all.sample).toEqual(head.sampleSync(hidden, options));
    expect(all.logProbs).toEqual(head.logProbsSync(hidden, { temperature: 0.5 }));
    expect(all.top).toEqual(head.topKSync(hidden, 3, { temperature: 0.5 }));
  });

  it('refuses wrong numbers, and rows that have no order', async () => {
    const { refuses, head } = headUnderTest(backend);
    const h = someHidden();
    await refuses('sample', [h, { topLogProbs: 1001 }], 'RANGE', 'topLogProbs', '1001', '0 to 1000');
    await refuses('sample', [h, { topLogProbs: 1.5 }], 'RANGE', 'topLogProbs');
    await refuses('sample', [h, { topLogProbs: true }], 'ARGUMENT', 'topLogProbs');
    await refuses('run', [h, { topLogProbs: 3 }], 'RANGE', 'topLogProbs', 'sample');
    throwsKind(() => sampleFrom(h, h.length, { topLogProbs: -1 }), 'RANGE', 'topLogProbs');
    throwsKind(() => head.sampler({ topLogProbs: 1001 }), 'RANGE', 'topLogProbs');
    // A NaN that cannot be drawn: the raw distribution has it still.
    const bad = LMHead.from(
      weight.map((x, i) => (i < D ? NaN : x)),
      { vocabSize: V, hiddenSize: D, backend },
    );
    expect(bad.sampleSync(hidden, { bannedIds: [0] }).ids).toHaveLength(N);
    throwsKind(() => bad.sampleSync(hidden, { bannedIds: [0], topLogProbs: 0 }), 'NAN', 'row 0', 'id 0');
    await rejectsKind(() => bad.sample(hidden, { bannedIds: [0], topLogProbs: 2 }), 'NAN', 'row 0', 'id 0');
  });
});

describe('over given logits', () => {
  it('lists ids of logit −∞ of the raw distribution, and none that cannot be drawn', () => {
    const logits = Float32Array.of(-Infinity, 2, -Infinity, 1);
    const { topLogProbs, modelTopLogProbs } = sampleFrom(logits, 4, { seed: 1, topLogProbs: 20 });
    expect(modelTopLogProbs).toMatchObject({
      k: 4,
      ids: Uint32Array.of(1, 3, 0, 2),
      counts: Uint32Array.of(4),
    });
    expect(modelTopLogProbs!.logProbs).toEqual(topKOf(logits, 4, 4).logProbs);
    expect(topLogProbs).toMatchObject({
      k: 4,
      ids: Uint32Array.of(1, 3, NO_ID, NO_ID),
      counts: Uint32Array.of(2),
    });
    const masked = sampleFrom(logits, 4, { allowedIds: [3, 0], topLogProbs: 2 });
    expect(rowsOf(masked.topLogProbs!)).toEqual([{ ids: [3], logProbs: [0] }]);
    expect(rowsOf(masked.modelTopLogProbs!)[0].ids).toEqual([1, 3]);
    expect(masked.modelLogProbs![0]).toBe(topKOf(logits, 4, 2).logProbs[1]);
  });
});

describe.skipIf(nativeUnavailable())('natively', () => {
  it.each(Object.keys(WAYS))('the lists of the reference, from the same logits: %s', way => {
    const spread = someNumbers(N * V, 44).map(x => 4 * x);
    for (const logits of [
      spread,
      spread.map(Math.round),
      spread.map(x => x / 1000),
      new Float32Array(N * V),
    ]) {
      const options = { ...WAYS[way], seed: 3, topLogProbs: 20 };
      const native = drawFrom(nativeLogits(), logits, V, options, false).sample;
      const twin = drawFrom(referenceLogits, logits, V, options, false).sample;
      expect(native.ids).toEqual(twin.ids);
      expectClose(native.modelLogProbs!, twin.modelLogProbs!, ROUNDED);
      for (const list of ['topLogProbs', 'modelTopLogProbs'] as const) {
        expect(native[list]!.ids).toEqual(twin[list]!.ids);
        expect(native[list]!.counts).toEqual(twin[list]!.counts);
        expectClose(native[list]!.logProbs, twin[list]!.logProbs, ROUNDED);
      }
    }
  });

  it('the same bits for any thread count, any batch, and rows that are held after all', () => {
    const [many, d, n] = [12_000, 40, 24];
    const big = someNumbers(many * d, 1).map(x => x / 10);
    const states = someNumbers(n * d, 2);
    const heads = [1, 2, 5].map(threads => LMHead.from(big, { vocabSize: many, hiddenSize: d, threads }));
    const spilling: SampleOptions = { minP: 1e-6 }; // min-p that keeps more than 4096
    const views = [{}, { rows: Array.from({ length: 9000 }, (_, i) => i), over: 'vocabulary' as const }];
    for (const way of [...Object.values(WAYS), spilling, { ...spilling, temperature: 0.5 }]) {
      if (Array.isArray(way.temperature)) continue;
      for (const view of views) {
        const options = { ...way, ...view, seed: 9, topLogProbs: 6 };
        const wanted = heads[0].sampleSync(states, options);
        for (const head of heads) {
          expect(head.sampleSync(states, options)).toEqual(wanted);
          const row = 13;
          const one = head.sampleSync(states.subarray(row * d, row * d + d), { ...options, step: row });
          expect(one).toEqual(rowOf(wanted, row));
        }
        const raw = heads[0].topKSync(states, 6, view);
        expect([wanted.modelTopLogProbs!.ids, wanted.modelTopLogProbs!.logProbs]).toEqual([
          raw.ids,
          raw.logProbs,
        ]);
      }
    }
  });
});

function rowOf({ ids, logProbs, modelLogProbs, topLogProbs, modelTopLogProbs }: Sample, row: number): Sample {
  const list = ({ k, counts, ids, logProbs }: TopLogProbs): TopLogProbs => ({
    k,
    counts: counts.slice(row, row + 1),
    ids: ids.slice(row * k, (row + 1) * k),
    logProbs: logProbs.slice(row * k, (row + 1) * k),
  });
  return {
    ids: ids.slice(row, row + 1),
    logProbs: logProbs.slice(row, row + 1),
    modelLogProbs: modelLogProbs!.slice(row, row + 1),
    topLogProbs: list(topLogProbs!),
    modelTopLogProbs: list(modelTopLogProbs!),
  };
}
