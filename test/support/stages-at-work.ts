/** Options that set each stage of the chain to work, rows to work on, and both backends held to each other. */
import { expect } from 'vitest';
import type { SampleOptions, Stage } from '../../lib';
import { nativeLogits } from '../../lib/backend/native';
import { STAGES } from '../../lib/pass/sampling-stages';
import { referenceLogits } from '../../lib/reference/backend';
import { drawFrom } from './given-draws';
import { expectClose, someNumbers } from './numbers';

/** What sets each stage to work. */
export const AT_WORK: Record<Stage, SampleOptions> = {
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
export const LOOSE: Record<Stage, SampleOptions> = {
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
export const PENALTIES: SampleOptions = {
  history,
  repetitionPenalty: 1.3,
  frequencyPenalty: 0.1,
  presencePenalty: 0.4,
  dryMultiplier: 0.8,
  noRepeatNgramSize: 3,
};

/** @returns how many draws there were */
export function expectSameTokens(logits: Float32Array, V: number, options: SampleOptions): number {
  const native = drawFrom(nativeLogits(), logits, V, options, false);
  const twin = drawFrom(referenceLogits, logits, V, options, false);
  expect(native.sample.ids).toEqual(twin.sample.ids);
  expectClose(native.sample.logProbs, twin.sample.logProbs, { relative: 2 ** -22, absolute: 2 ** -30 });
  return native.n;
}

export function expectSame(logits: Float32Array, V: number, options: SampleOptions): void {
  const native = drawFrom(nativeLogits(), logits, V, options);
  const twin = drawFrom(referenceLogits, logits, V, options);
  expect(native.sample.ids).toEqual(twin.sample.ids);
  expect(native.candidates!.offsets).toEqual(twin.candidates!.offsets);
  expect(native.candidates!.ids).toEqual(twin.candidates!.ids);
  expectClose(native.sample.logProbs, twin.sample.logProbs, { relative: 2 ** -22, absolute: 2 ** -30 });
  expectClose(native.candidates!.probs, twin.candidates!.probs, { relative: 2 ** -22, absolute: 2 ** -60 });
}

/** Rows that differ in what filters make of them. */
export const KINDS: Record<string, (n: number, V: number) => Float32Array> = {
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
export const CASES = [...STAGES, 'penalties', 'all'] as const;
export const optionsOf = (name: (typeof CASES)[number]): SampleOptions =>
  name === 'all'
    ? Object.assign({}, ...Object.values(AT_WORK), PENALTIES)
    : name === 'penalties'
      ? PENALTIES
      : AT_WORK[name];
