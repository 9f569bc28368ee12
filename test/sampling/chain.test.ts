/** Every stage and order: native and float64 twin draw the same tokens from the same logits and stream, and with the right frequencies. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { candidatesOf, LMHead, type SampleOptions, type Stage, sampleFrom } from '../../lib';
import { nativeUnavailable } from '../../lib/backend/addon';
import { nativeLogits } from '../../lib/backend/native';
import { STAGES } from '../../lib/pass/sampling-stages';
import { referenceLogits } from '../../lib/reference/backend';
import { boundedLogitOf } from '../../lib/reference/logits';
import { drawFrom } from '../support/given-draws';
import { expectClose, someNumbers } from '../support/numbers';

/** Of each stage. */
const DRAWS = 10_000;

/** What sets each stage to work. */
const AT_WORK: Record<Stage, SampleOptions> = {
  topNSigma: { topNSigma: 1.3 },
  topK: { topK: 30 },
  typicalP: { typicalP: 0.8 },
  topP: { topP: 0.9 },
  minP: { minP: 0.03 },
  epsilonCutoff: { epsilonCutoff: 0.004 },
  etaCutoff: { etaCutoff: 0.02 },
  pLess: { pLess: true },
  xtc: { xtcProbability: 0.5, xtcThreshold: 0.05 },
  temperature: { temperature: 0.8, temperatureRange: 0.5, temperatureExponent: 1.7 },
  maxSurprisal: { maxSurprisal: 7 },
};
/** What leaves thousands of ids of a row that has as many. */
const LOOSE: Record<Stage, SampleOptions> = {
  topNSigma: { topNSigma: 2.5 },
  topK: { topK: 2000 },
  typicalP: { typicalP: 0.97 },
  topP: { topP: 0.995 },
  minP: { minP: 1e-3 },
  epsilonCutoff: { epsilonCutoff: 1e-5 },
  etaCutoff: { etaCutoff: 1e-5 },
  pLess: { pLess: true, temperature: 3, stageOrder: ['temperature', 'pLess'] },
  xtc: { xtcProbability: 0.5, xtcThreshold: 2e-4 },
  temperature: { temperature: 0.9, temperatureRange: 0.2 },
  maxSurprisal: { maxSurprisal: 14 },
};
const history = Uint32Array.from({ length: 200 }, (_, i) => (i * i) % 37);
const PENALTIES: SampleOptions = {
  history,
  repetitionPenalty: 1.3,
  frequencyPenalty: 0.1,
  presencePenalty: 0.4,
  dryMultiplier: 0.8,
  noRepeatNgramSize: 3,
};

/** @returns how many draws there were */
function expectSameTokens(logits: Float32Array, V: number, options: SampleOptions): number {
  const native = drawFrom(nativeLogits(), logits, V, options, false);
  const twin = drawFrom(referenceLogits, logits, V, options, false);
  expect(native.sample.ids).toEqual(twin.sample.ids);
  expectClose(native.sample.logProbs, twin.sample.logProbs, { relative: 2 ** -22, absolute: 2 ** -30 });
  return native.n;
}

function expectSame(logits: Float32Array, V: number, options: SampleOptions): void {
  const native = drawFrom(nativeLogits(), logits, V, options);
  const twin = drawFrom(referenceLogits, logits, V, options);
  expect(native.sample.ids).toEqual(twin.sample.ids);
  expect(native.candidates!.offsets).toEqual(twin.candidates!.offsets);
  expect(native.candidates!.ids).toEqual(twin.candidates!.ids);
  expectClose(native.sample.logProbs, twin.sample.logProbs, { relative: 2 ** -22, absolute: 2 ** -30 });
  expectClose(native.candidates!.probs, twin.candidates!.probs, { relative: 2 ** -22, absolute: 2 ** -60 });
}

/** Rows that differ in what filters make of them. */
const KINDS: Record<string, (n: number, V: number) => Float32Array> = {
  plain: (n, V) => someNumbers(n * V, 21).map(x => 4 * x),
  peaked: (n, V) => someNumbers(n * V, 22).map((x, i) => 3 * x + (i % V === 5 ? 12 : 0)),
  flat: (n, V) => someNumbers(n * V, 23).map(x => x / 100),
  ties: (n, V) => someNumbers(n * V, 24).map(x => Math.round(2 * x)),
  equal: (n, V) => new Float32Array(n * V).fill(1.5),
  'one finite': (n, V) => Float32Array.from({ length: n * V }, (_, i) => (i % V === 7 ? 2 : -Infinity)),
  holes: (n, V) => someNumbers(n * V, 25).map((x, i) => (i % 3 === 0 ? -Infinity : 5 * x)),
  huge: (n, V) => someNumbers(n * V, 26).map(x => 1e30 * x),
};

/** Each stage alone, the penalties, and all of it at once. */
const CASES = [...STAGES, 'penalties', 'all'] as const;
const optionsOf = (name: (typeof CASES)[number]): SampleOptions =>
  name === 'all'
    ? Object.assign({}, ...Object.values(AT_WORK), PENALTIES)
    : name === 'penalties'
      ? PENALTIES
      : AT_WORK[name];

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

    it('10,000 draws', () => {
      const each = DRAWS / Object.keys(KINDS).length;
      let draws = 0;
      for (const make of Object.values(KINDS))
        draws += expectSameTokens(make(each, V), V, { ...optionsOf(name), seed: 1 });
      expect(draws).toBe(DRAWS);
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

describe.skipIf(nativeUnavailable())('end to end', () => {
  // Every logit is a small difference of large terms, so that rounding is wide enough to decide some of the draws.
  const [V, d] = [256, 34];
  const wide = (seed: number, rows: number, ends: [number, number]) =>
    someNumbers(rows * d, seed).map((x, i) => (i % d < 2 ? ends[i % d] : 1.3 * x));
  const weight = wide(51, V, [20_000, -20_000]);
  const hidden = wide(52, DRAWS, [1, 1]);
  const shape = { vocabSize: V, hiddenSize: d } as const;
  const native = LMHead.from(weight, shape);
  const [u, twinU] = [native, LMHead.from(weight, { ...shape, backend: 'reference' })].map(head =>
    head.logitsSync(hidden),
  );
  const epilogue = { logitScale: 1, softCap: 0, capOrder: 'scale-then-cap', validVocabSize: V } as const;
  let differ = 0;

  it.each(CASES)('a draw differs from the reference only by logits within their stated bound: %s', name => {
    const options = { ...optionsOf(name), seed: 2 };
    const { ids } = native.sampleSync(hidden, options);
    const wanted = drawFrom(referenceLogits, twinU, V, options, false).sample.ids;
    const rows = [...ids.keys()].filter(row => ids[row] !== wanted[row]);
    for (const row of rows) {
      const h = hidden.subarray(row * d, (row + 1) * d);
      for (let id = 0; id < V; id++) {
        const { logit, bound } = boundedLogitOf(h, weight, id, id, epilogue);
        expect(Math.abs(u[row * V + id] - logit)).toBeLessThanOrEqual(bound);
      }
      // It was these differences that decided, and not the draw: the reference draws the same token from the native logits.
      const [again] = drawFrom(
        referenceLogits,
        u.subarray(row * V, (row + 1) * V),
        V,
        { ...options, step: row },
        false,
      ).sample.ids;
      expect(again).toBe(ids[row]);
    }
    differ += rows.length;
    console.log(
      `${name}: end to end ${rows.length} of ${DRAWS} draws differ, all by logits within their bound`,
    );
    expect(rows.length).toBeLessThan(DRAWS / 200);
  });

  it('some differ, or it would not be known that they may', () => {
    expect(differ).toBeGreaterThan(0);
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
