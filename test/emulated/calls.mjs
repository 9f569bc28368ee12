// What the two programs of this folder share: what is asked of a head, and how answers are compared.
import assert from 'node:assert/strict';

/** Counts checks, and goes on after one that fails. */
export class Checks {
  counts = { passed: 0, failed: 0 };

  async check(name, body) {
    try {
      await body();
      this.counts.passed++;
    } catch (error) {
      this.counts.failed++;
      console.log(`FAILED ${name}\n${error.stack}`);
    }
  }

  end() {
    const { passed, failed } = this.counts;
    console.log(`${passed} passed, ${failed} failed`);
    process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
  }
}

/** n numbers from [-1, 1), the same for the same seed. */
export function someNumbers(n, seed) {
  let state = seed >>> 0;
  return Float32Array.from({ length: n }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/**
 * What float32 results may differ from the reference's. A log-probability near 0 is the log of 1 + s, s a sum of e^x where x is
 * rounded to float32: that changes s by up to |x|·2^-24 of it, and |x| stays below 28 until s is below ABSOLUTE.
 */
const RELATIVE = 2 ** -19;
const ABSOLUTE = 2 ** -40;
/** A log-sum-exp adds the largest logit to the log of the sum, and the two may cancel. */
const ABSOLUTE_OF_SUM = 2 ** -20;

/** Ids and counts as they are, float32 numbers within the rounding of one; objects field by field. */
export function assertClose(actual, expected, what) {
  if (expected instanceof Float32Array || typeof expected === 'number') {
    const [got, wanted] = typeof expected === 'number' ? [[actual], [expected]] : [actual, expected];
    assert.equal(got.length, wanted.length, what);
    const absolute = what.endsWith('logSumExp') ? ABSOLUTE_OF_SUM : ABSOLUTE;
    for (let i = 0; i < wanted.length; i++) {
      const near = Math.abs(got[i] - wanted[i]) <= absolute + RELATIVE * Math.abs(wanted[i]);
      if (!near && !Object.is(got[i], wanted[i]))
        assert.fail(`${what} at ${i}: got ${got[i]}, want ${wanted[i]}`);
    }
  } else if (ArrayBuffer.isView(expected)) {
    assert.deepEqual(actual, expected, what);
  } else {
    assert.deepEqual(Object.keys(actual), Object.keys(expected), what);
    for (const key of Object.keys(expected)) assertClose(actual[key], expected[key], `${what}.${key}`);
  }
}

export const SEED = 0x123456789abcdefn;

export const SAMPLER = {
  seed: SEED,
  topP: 0.9,
  repetitionPenalty: 1.2,
  mirostat: { tau: 4 },
  topLogProbs: 2,
};
export const BEAM = { topK: 3, minKeep: 2 };
export const scoresOf = n => Array.from({ length: n }, (_, i) => -i);
export const manySamplers = (head, n, more) =>
  Array.from({ length: n }, (_, i) => head.sampler({ seed: i, topK: 5, ...more }));
export const greedyDraft = (hidden, draft, more) => [
  { hidden, draftIds: draft.ids, options: { temperature: 0, ...more } },
];

/** What to call with n hidden states: method, arguments, options. `draft` is of n − 1 tokens. */
export function calls(V, n, draft) {
  const at = { seed: SEED, step: 3 };
  const targets = Uint32Array.from({ length: n }, (_, i) => (i * 97) % V);
  const all = { logits: true, logProbs: true, argmax: true, top: 3, sample: true, targets, entropy: true };
  const rows = [...new Set([V - 1, 0, V >> 1])];
  const filters = [
    {},
    { temperature: 0 },
    { temperature: 0.7 },
    { topK: Math.min(V, 40), topP: 0.9 },
    { topP: 0.8, temperature: 1.5 },
    { minP: 0.05 },
    { topK: Math.min(V, 50), topP: 0.95, minP: 0.05, temperature: 0.8 },
    { typicalP: 0.7, topNSigma: 2 },
    { epsilonCutoff: 0.002, etaCutoff: 0.01, temperatureRange: 0.3 },
    { pLess: true, stageOrder: ['temperature', 'pLess'], temperature: 1.2 },
    { xtcProbability: 0.5, xtcThreshold: 0.05, maxSurprisal: 9, seed: SEED },
    {
      logitBias: { 0: 1.5 },
      bannedIds: [1],
      history: [2, 3, 2],
      repetitionPenalty: 1.3,
      presencePenalty: 0.2,
    },
    { rows, topP: 0.9 },
  ];
  return [
    ['logits', [], {}],
    ['logits', [], { rows }],
    ['logProbs', [], {}],
    ['logProbs', [], { temperature: 0.6 }],
    ['logProbs', [], { rows, over: 'vocabulary' }],
    ['probs', [], {}],
    ['topK', [Math.min(V, 10)], {}],
    ['topK', [V], {}],
    ['topK', [2], { rows }],
    ['topK', [Math.min(V, 10)], { withLogProbs: false }],
    ['argmax', [], {}],
    ['score', [targets], { entropy: true }],
    ['score', [targets], { temperature: 2 }],
    ...filters.map(options => ['sample', [], { ...options, ...at }]),
    ...filters.map(options => ['sample', [], { ...options, ...at, withLogProbs: false }]),
    ...filters.map(options => ['candidates', [], options]),
    ['run', [], { ...all, ...at }],
    ['verifyDraft', [draft.ids], { temperature: 0.7, ...at }],
    ['verifyDraft', [draft.ids], { draftLogProbs: draft.logProbs, topP: 0.95, ...at }],
  ];
}

/** Row `row` of a result of n rows. */
export function rowOf(result, row, n) {
  if (ArrayBuffer.isView(result)) {
    const width = result.length / n;
    return result.slice(row * width, (row + 1) * width);
  }
  // Of score's fields some are about all rows together.
  const own = Object.entries(result).filter(([, value]) => typeof value === 'object');
  return Object.fromEntries(own.map(([key, value]) => [key, rowOf(value, row, n)]));
}

/** Functions over logits that the caller holds. */
export function drawsOfGivenLogits({ logSoftmax, softmax, topKOf, candidatesOf, sampleFrom }) {
  const V = 700;
  const given = someNumbers(V, 4).map(x => 6 * x);
  const options = { topK: 60, topP: 0.9, temperature: 0.8 };
  const draws = Array.from({ length: 200 }, (_, step) => ({ ...options, seed: SEED, step }));
  return {
    given,
    options,
    draws,
    logSoftmax: logSoftmax(given, V, { temperature: 0.7 }),
    softmax: softmax(given, V),
    topK: topKOf(given, V, 300),
    candidates: candidatesOf(given, V, options),
    drawn: draws.map(draw => sampleFrom(given, V, draw)),
  };
}
