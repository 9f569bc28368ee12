/** Every stage and order: native and float64 twin draw the same tokens from the same logits and stream, and with the right frequencies. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { candidatesOf, LMHead, type SampleOptions, type Stage, sampleFrom } from '../../lib';
import { nativeUnavailable } from '../../lib/backend/addon';
import { STAGES } from '../../lib/pass/sampling-stages';
import { someNumbers } from '../support/numbers';
import { AT_WORK, CASES, expectSame, KINDS, LOOSE, optionsOf, PENALTIES } from '../support/stages-at-work';

describe.skipIf(nativeUnavailable())('the same tokens natively and by the reference', () => {
  const [n, V] = [40, 150];

  describe.each(CASES)('%s', name => {
    it.each(Object.keys(KINDS))('%s rows', kind => {
      expectSame(KINDS[kind](n, V), V, { ...optionsOf(name), seed: 0 });
    });

    it('rows of thousands of ids', () => {
      const [few, many] = [4, 3001];
      for (const make of Object.values(KINDS)) {
        const logits = make(few, many);
        expectSame(logits, many, { ...optionsOf(name), seed: 3 });
        if (name in LOOSE) expectSame(logits, many, { ...LOOSE[name as Stage], seed: 3 });
      }
    });
  });

  it('in any order of the stages', () => {
    const logits = KINDS.plain(3, V);
    const stages = fc.shuffledSubarray([...STAGES]);
    fc.assert(
      fc.property(stages, fc.nat(1000), (order, seed) => {
        const options = Object.assign({}, ...order.map(stage => AT_WORK[stage]));
        expectSame(logits, V, { ...options, stageOrder: order, seed });
      }),
      { numRuns: 40 },
    );
  });

  it('at any values of the options', () => {
    const share = fc.oneof(fc.constantFrom(0, 1), fc.double({ min: 0, max: 1, noNaN: true }));
    const any = fc.record(
      {
        topNSigma: fc.double({ min: 0, max: 10, noNaN: true }),
        topK: fc.nat(64),
        typicalP: share,
        topP: share,
        minP: share,
        epsilonCutoff: share,
        etaCutoff: share,
        pLess: fc.boolean(),
        xtcProbability: share,
        xtcThreshold: share,
        temperature: fc.double({ min: 1e-3, max: 100, noNaN: true }),
        temperatureRange: fc.double({ min: 0, max: 10, noNaN: true }),
        temperatureExponent: fc.double({ min: 0, max: 10, noNaN: true }),
        maxSurprisal: fc.double({ min: 0, max: 30, noNaN: true }),
      },
      { requiredKeys: [] },
    );
    const logit = fc.oneof(
      fc.float({ noNaN: true, min: -60, max: 60 }),
      fc.constantFrom(-Infinity, 0, -0, 1),
    );
    const row = fc.array(logit, { minLength: 64, maxLength: 64 }).filter(u => u.some(Number.isFinite));
    fc.assert(
      fc.property(row, any, fc.nat(1000), (u, options, seed) => {
        expectSame(Float32Array.from(u), 64, { ...options, seed });
      }),
      { numRuns: 100 },
    );
    fc.assert(
      fc.property(fc.constantFrom(...Object.values(KINDS)), any, fc.nat(1000), (make, options, seed) => {
        expectSame(make(1, 2003), 2003, { ...options, seed });
      }),
      { numRuns: 300 },
    );
  });
});

describe('frequencies', () => {
  /** Pearson's χ² over the candidates; passed by chance about once in 10,000, and the seed is fixed. */
  it.each<[string, SampleOptions]>([
    ['typicalP', { typicalP: 0.9 }],
    ['topNSigma and temperature', { topNSigma: 1.5, temperature: 1.4 }],
    ['dynamic temperature', { temperature: 1, temperatureRange: 0.6 }],
    ['penalties', { history: [1, 2, 2, 5], repetitionPenalty: 1.5, presencePenalty: 0.3 }],
    ['temperature first', { temperature: 2, topP: 0.8, stageOrder: ['temperature', 'topP'] }],
  ])('follow the candidates’ probabilities: %s', (_, options) => {
    const V = 20;
    const u = someNumbers(V, 31).map(x => 1.5 * x);
    const { ids, probs } = candidatesOf(u, V, options);
    const draws = 20_000;
    const drawn = new Float64Array(V);
    const many = 1000;
    const rows = Float32Array.from({ length: many * V }, (_, i) => u[i % V]);
    for (let step = 0; step < draws; step += many)
      for (const id of sampleFrom(rows, V, { ...options, seed: 77, step }).ids) drawn[id]++;
    const chi = ids.reduce((sum, id, i) => sum + (drawn[id] - draws * probs[i]) ** 2 / (draws * probs[i]), 0);
    const freedom = ids.length - 1;
    expect(chi).toBeLessThan(freedom + 4 * Math.sqrt(2 * freedom) + 8);
    expect(ids.reduce((sum, id) => sum + drawn[id], 0)).toBe(draws);
  });

  it('of XTC’s cuts are those asked for', () => {
    const u = Float32Array.of(3, 2.9, 0);
    const many = 20_000;
    const rows = Float32Array.from({ length: many * 3 }, (_, i) => u[i % 3]);
    const { offsets } = candidatesOf(rows, 3, { xtcProbability: 0.3, xtcThreshold: 0.2, seed: 5 });
    let cut = 0;
    for (let row = 0; row < many; row++) cut += offsets[row + 1] - offsets[row] === 2 ? 1 : 0;
    expect(Math.abs(cut / many - 0.3)).toBeLessThan(0.013);
  });
});

describe('edges', () => {
  const left = (u: number[], options: SampleOptions) => [
    ...candidatesOf(Float32Array.from(u), u.length, options).ids,
  ];

  it('one is always kept, and equals of the best as stated', () => {
    for (const options of [{ topP: 0 }, { typicalP: 0 }, { topK: 1 }])
      expect(left([1, 3, 3, 2], options)).toHaveLength(1);
    for (const options of [
      { minP: 1 },
      { epsilonCutoff: 1 },
      { topNSigma: Number.MIN_VALUE },
      { maxSurprisal: 0 },
    ])
      expect(left([1, 3, 3, 2], options)).toEqual([1, 2]);
  });

  it('NaN is refused by name, whatever the chain', () => {
    const logits = someNumbers(2 * 40, 3);
    logits[41] = Number.NaN;
    for (const options of Object.values(AT_WORK))
      expect(() => candidatesOf(logits, 40, options)).toThrow(/row 1 at id 1/);
  });
});

describe.skipIf(nativeUnavailable())('the same token', () => {
  it('for any thread count and any batch', () => {
    const [V, d, n] = [3001, 40, 24];
    const weight = someNumbers(V * d, 1);
    const hidden = someNumbers(n * d, 2);
    const heads = [1, 2, 5].map(threads => LMHead.from(weight, { vocabSize: V, hiddenSize: d, threads }));
    for (const stage of [...Object.values(AT_WORK), PENALTIES]) {
      const options = { ...stage, seed: 9 };
      const wanted = heads[0].sampleSync(hidden, options);
      for (const head of heads) {
        expect(head.sampleSync(hidden, options)).toEqual(wanted);
        const row = 13;
        const one = head.sampleSync(hidden.subarray(row * d, row * d + d), { ...options, step: row });
        expect([one.ids[0], one.logProbs[0]]).toEqual([wanted.ids[row], wanted.logProbs[row]]);
      }
    }
  });
});

it.skipIf(nativeUnavailable())(
  'XTC of threshold 0 leaves the least likely of what is left, never nothing',
  () => {
    const V = 4096;
    const logits = Float32Array.from(someNumbers(V, 61), x => 2 * x);
    const xtc: SampleOptions = { seed: 1, xtcProbability: 1, xtcThreshold: 0 };
    const withHoles = logits.map((x, id) => (id % 5 === 0 ? -Infinity : x));
    for (const row of [logits, withHoles])
      for (const more of [
        {},
        { bannedIds: [0, 7, V - 1] },
        { topP: 0.95 },
        { minP: 1e-4 },
        { typicalP: 0.9 },
      ]) {
        expectSame(row, V, { ...xtc, ...more });
        expect(candidatesOf(row, V, { ...xtc, ...more }).ids).toHaveLength(1);
        const early = { stageOrder: ['xtc', 'topP', 'minP', 'typicalP', 'temperature'] satisfies Stage[] };
        expectSame(row, V, { ...xtc, ...more, ...early });
      }
  },
);

it('XTC takes no token for likely that is not, however large its logit', () => {
  const xtc: SampleOptions = { seed: 1, xtcProbability: 1, xtcThreshold: 0.3 };
  for (const size of [1, 1e10, 1e30, -1e30]) {
    const equals = new Float32Array(4).fill(size);
    expect(candidatesOf(equals, 4, xtc).ids).toHaveLength(4);
    if (!nativeUnavailable()) expectSame(equals, 4, xtc);
    expect(candidatesOf(equals, 4, { ...xtc, xtcThreshold: 0.25 }).ids).toHaveLength(1);
  }
});
