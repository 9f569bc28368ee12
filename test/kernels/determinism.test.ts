import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { nativeUnavailable } from '../../lib/backend/addon';
import { type BlockDtype, isFloat } from '../../lib/dtypes/row-format';
import type { FloatDtype, RunRequest } from '../../lib/types';
import { narrow } from '../support/half';
import { someNumbers } from '../support/numbers';
import { someQuantized } from '../support/quantized';

/** Large enough that seven threads are worth their while for one row, and with a last chunk that is not whole. */
const V = 5003;
const D = 203;
const N = 29;
const hidden = someNumbers(N * D, 2);
const targets = Uint32Array.from({ length: N }, (_, i) => (i * 1237) % V);
const rows = (from: number, to: number) => hidden.subarray(from * D, to * D);

const samplings = [
  {},
  { temperature: 0.7 },
  { topK: 40, topP: 0.9 },
  { topP: 0.8 },
  { minP: 0.1 },
  { minP: 1e-12, temperature: 1.3 },
];

/** Everything that a head can say of some rows, each by the method of its name. */
function everything(head: LMHead, h: Float32Array, first: number) {
  const n = h.length / D;
  const top = head.topKSync(h, 10);
  const untold = head.topKSync(h, 10, { withLogProbs: false });
  const big = head.topKSync(h, 1500);
  const score = head.scoreSync(h, targets.subarray(first, first + n), { entropy: true });
  const at = { seed: 12345678901n, step: 4 + first };
  return {
    logits: head.logitsSync(h),
    logProbs: head.logProbsSync(h),
    probs: head.probsSync(h),
    cool: head.logProbsSync(h, { temperature: 0.6 }),
    argmax: head.argmaxSync(h),
    ids: top.ids,
    topLogits: top.logits,
    topLogProbs: top.logProbs,
    untoldIds: untold.ids,
    untoldLogits: untold.logits,
    logSumExp: top.logSumExp,
    bigIds: big.ids,
    bigLogProbs: big.logProbs,
    scores: score.logProbs,
    ranks: score.ranks,
    entropy: score.entropy!,
    ...Object.fromEntries(
      samplings.flatMap((options, i) => {
        const { ids, logProbs } = head.sampleSync(h, { ...options, ...at });
        const untold = head.sampleSync(h, { ...options, ...at, withLogProbs: false });
        return [
          [`sample ${i}`, ids] as const,
          [`its logProb ${i}`, logProbs] as const,
          [`sample ${i}, untold`, untold.ids] as const,
        ];
      }),
    ),
  };
}

/** Bits, so that −0 and 0 differ. */
const bits = (array: Float32Array | Uint32Array) =>
  Buffer.from(array.buffer, array.byteOffset, array.byteLength);

describe.skipIf(nativeUnavailable())('the same bits', () => {
  describe.each<FloatDtype | BlockDtype>(['f32', 'f16', 'bf16', 'i8'])('weights %s', dtype => {
    const weight = isFloat(dtype) ? narrow(someNumbers(V * D), dtype) : someQuantized(dtype, V, D);
    const make = (threads: number) =>
      LMHead.from(weight, {
        vocabSize: V,
        hiddenSize: D,
        dtype: dtype === 'f32' ? undefined : dtype,
        threads,
        softCap: 20,
        validVocabSize: V - 2,
      });
    const whole = everything(make(1), hidden, 0);

    it.each([2, 3, 7])('for %i threads', threads => {
      const other = everything(make(threads), hidden, 0);
      for (const [name, values] of Object.entries<Float32Array | Uint32Array>(whole)) {
        expect(bits(other[name as keyof typeof other]).equals(bits(values)), name).toBe(true);
      }
    });

    it('for a row alone and inside any batch', () => {
      const head = make(2);
      const spans = fc
        .tuple(fc.integer({ min: 0, max: N - 1 }), fc.integer({ min: 1, max: N }))
        .map(([from, count]) => [from, Math.min(from + count, N)] as const);
      const check = ([from, to]: readonly [number, number]) => {
        const part = everything(head, rows(from, to), from);
        for (const [name, values] of Object.entries<Float32Array | Uint32Array>(whole)) {
          const width = values.length / N;
          const expected = values.subarray(from * width, to * width);
          expect(
            bits(part[name as keyof typeof part]).equals(bits(expected)),
            `${name} of rows ${from}…${to}`,
          ).toBe(true);
        }
      };
      for (let row = 0; row < 3; row++) check([row, row + 1]);
      fc.assert(fc.property(spans, check), { numRuns: 8 });
    });

    it('from every method, and from any set of results in one pass', async () => {
      const head = make(2);
      const request = {
        ...samplings[1],
        temperature: 1,
        logits: true,
        logProbs: true,
        argmax: true,
        top: 10,
        sample: true,
        seed: 12345678901n,
        step: 4,
        targets,
        entropy: true,
      } as const satisfies RunRequest;
      for (const all of [head.runSync(hidden, request), await head.run(hidden, request)]) {
        expect(bits(all.logits).equals(bits(whole.logits))).toBe(true);
        expect(bits(all.logProbs).equals(bits(whole.logProbs))).toBe(true);
        expect(all.argmax).toEqual(whole.argmax);
        expect(all.top.ids).toEqual(whole.ids);
        expect(bits(all.top.logProbs).equals(bits(whole.topLogProbs))).toBe(true);
        expect(bits(all.logSumExp).equals(bits(whole.logSumExp))).toBe(true);
        expect(bits(all.score.logProbs).equals(bits(whole.scores))).toBe(true);
        expect(all.score.ranks).toEqual(whole.ranks);
        expect(bits(all.score.entropy!).equals(bits(whole.entropy))).toBe(true);
        expect(all.sample.ids).toEqual(head.sampleSync(hidden, { seed: 12345678901n, step: 4 }).ids);
      }
      // The log-probability of a token is one number, whoever is asked.
      for (let row = 0; row < N; row++) {
        for (let i = 0; i < 10; i++) {
          expect(whole.untoldIds[row * 10 + i]).toBe(whole.ids[row * 10 + i]);
          expect(whole.untoldLogits[row * 10 + i]).toBe(whole.topLogits[row * 10 + i]);
          const id = whole.ids[row * 10 + i];
          expect(whole.topLogProbs[row * 10 + i]).toBe(whole.logProbs[row * V + id]);
          expect(whole.topLogits[row * 10 + i]).toBe(whole.logits[row * V + id]);
        }
        expect(whole.scores[row]).toBe(whole.logProbs[row * V + targets[row]]);
        expect(whole.argmax[row]).toBe(whole.ids[row * 10]);
        const order = Array.from({ length: V - 2 }, (_, id) => id);
        order.sort((a, b) => whole.logits[row * V + b] - whole.logits[row * V + a] || a - b);
        expect([...whole.bigIds.subarray(row * 1500, (row + 1) * 1500)]).toEqual(order.slice(0, 1500));
        expect(whole.ranks[row]).toBe(order.indexOf(targets[row]) + 1);
        expect(whole.logits[row * V + V - 1]).toBe(-Infinity);
      }
    });
  });
});

describe('sampling', () => {
  it('row i of a batch draws at step + i, unless steps are given', () => {
    const head = LMHead.from(someNumbers(97 * 5), { vocabSize: 97, hiddenSize: 5 });
    const h = someNumbers(6 * 5, 9);
    const batch = head.sampleSync(h, { seed: 3, step: 10 });
    const given = head.sampleSync(h, { seed: 3, step: [10, 11, 12, 13, 14, 15] });
    const seeds = head.sampleSync(h, { seed: Array(6).fill(3n), step: 10 });
    expect(given).toEqual(batch);
    expect(seeds).toEqual(batch);
  });

  it('follows the distribution (chi-square at a fixed seed)', () => {
    const V = 40;
    const draws = 40_000;
    const bias = someNumbers(V, 21).map(x => 2 * x);
    const head = LMHead.from(new Float32Array(V), { vocabSize: V, hiddenSize: 1, bias });
    const h = new Float32Array(draws);
    for (const options of [
      {},
      { temperature: 0.5 },
      { topK: 12 },
      { topP: 0.7 },
      { minP: 0.2, temperature: 2 },
    ]) {
      const counts = new Float64Array(V);
      for (const id of head.sampleSync(h, { ...options, seed: 77 }).ids) counts[id]++;
      // What is left, by definition: the filters at temperature 1, then renormalized at the temperature.
      const order = [...bias.keys()].sort((a, b) => bias[b] - bias[a]);
      const mass = order.map(id => Math.exp(bias[id]));
      const total = mass.reduce((a, b) => a + b);
      let left = order.slice(0, options.topK ?? V);
      if (options.topP) {
        let sum = 0;
        left = left.filter((_, i) => {
          const before = sum;
          sum += mass[i] / total;
          return before < options.topP!;
        });
      }
      left = left.filter(id => Math.exp(bias[id] - bias[order[0]]) >= (options.minP ?? 0));
      const weights = left.map(id => Math.exp(bias[id] / (options.temperature ?? 1)));
      const sum = weights.reduce((a, b) => a + b);
      let chiSquare = 0;
      left.forEach((id, i) => {
        const expected = (draws * weights[i]) / sum;
        chiSquare += (counts[id] - expected) ** 2 / expected;
        counts[id] = 0;
      });
      expect(counts.every(count => count === 0)).toBe(true); // nothing that was filtered out was drawn
      const freedom = left.length - 1;
      // Wilson and Hilferty's approximation; 3.1 standard deviations: one seed in a thousand would fail.
      const z = (Math.cbrt(chiSquare / freedom) - (1 - 2 / (9 * freedom))) / Math.sqrt(2 / (9 * freedom));
      expect(Math.abs(z), JSON.stringify(options)).toBeLessThan(3.1);
    }
  });

  it('a seed left out is another one each time', () => {
    const head = LMHead.from(new Float32Array(4096), { vocabSize: 4096, hiddenSize: 1 });
    const ids = Array.from({ length: 8 }, () => head.sampleSync(new Float32Array(1)).ids[0]);
    expect(new Set(ids).size).toBeGreaterThan(1); // by chance all the same: 4096^-7
  });
});
