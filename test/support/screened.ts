/** Heads with a bounded copy of their weights beside heads without one: the same answers, bit for bit. */
import { expect } from 'vitest';
import { LMHead } from '../../lib';
import { type BlockDtype, isFloat } from '../../lib/dtypes/row-format';
import type { FloatDtype, HeadOptions, LogProbsOption, SampleOptions, SamplerOptions } from '../../lib/types';
import { narrow } from './half';
import { someNumbers } from './numbers';
import { someQuantized } from './quantized';
import { Random } from './random';

export const SCREENED_D = 256;
export const SCREENED_V = 3001;

/** Rows of several sizes, with duplicates. */
export function screenedWeights(seed: number): Float32Array {
  const random = new Random(seed);
  const weight = someNumbers(SCREENED_V * SCREENED_D, seed);
  for (let row = 1; row < SCREENED_V; row++) {
    const at = row * SCREENED_D;
    if (random.below(6) === 0) {
      const other = random.below(row) * SCREENED_D;
      weight.copyWithin(at, other, other + SCREENED_D);
    } else if (random.below(4) === 0) {
      for (let k = 0; k < SCREENED_D; k++) weight[at + k] *= 0.5;
    }
  }
  return weight;
}

/** Most of them near a row, so that there is a best token. */
export function screenedStates(n: number, weight: Float32Array, seed: number): Float32Array {
  const random = new Random(seed);
  const states = someNumbers(n * SCREENED_D, seed + 1);
  for (let i = 0; i < n; i++) {
    if (random.below(6) === 0) continue;
    const row = random.below(SCREENED_V) * SCREENED_D;
    for (let k = 0; k < SCREENED_D; k++) {
      states[i * SCREENED_D + k] = states[i * SCREENED_D + k] * 0.3 + weight[row + k];
    }
  }
  return states;
}

/** With `screen` and without. */
export function bothHeads(
  dtype: FloatDtype | BlockDtype,
  weight: Float32Array,
  options: Partial<HeadOptions>,
): { screened: LMHead; plain: LMHead } {
  const data = isFloat(dtype)
    ? narrow(weight, dtype as FloatDtype)
    : someQuantized(dtype as BlockDtype, SCREENED_V, SCREENED_D, 7);
  const all: HeadOptions = {
    vocabSize: SCREENED_V,
    hiddenSize: SCREENED_D,
    dtype: dtype === 'f32' ? undefined : dtype,
    ...options,
  };
  return { screened: LMHead.from(data, { ...all, screen: true }), plain: LMHead.from(data, all) };
}

const SAMPLES: (SampleOptions & LogProbsOption)[] = [
  { temperature: 0 },
  { topK: 8 },
  { topK: 40, topP: 0.9, temperature: 1.4 },
  { minP: 0.1 },
  { minP: 0.3, temperature: 0.7, xtcProbability: 0.5, xtcThreshold: 0.1 },
  { temperature: 0, bannedIds: [5, 77], logitBias: { 9: 3, 11: -2 } },
  { topK: 5, history: [1, 2, 3, 2], repetitionPenalty: 1.3, frequencyPenalty: 0.2 },
  { temperature: 0.9 },
  { topP: 0.8 },
  { topK: 20, allowedIds: Array.from({ length: 1400 }, (_, i) => 2 * i) },
  { topK: 3, topLogProbs: 2 },
  { withLogProbs: false },
  { withLogProbs: false, temperature: 1.7, bannedIds: [1, 2, 3], history: [5], presencePenalty: 1 },
  { withLogProbs: false, temperature: 0.4 },
  { withLogProbs: false, topK: 9 },
];
const SAMPLERS: (SamplerOptions & LogProbsOption)[] = [
  { temperature: 0, repetitionPenalty: 1.2, history: [4, 5] },
  { topK: 12, seed: 3 },
  { minP: 0.2, seed: 4, temperature: 1.1 },
  { seed: 9, withLogProbs: false, frequencyPenalty: 0.1 },
];

/** Everything that may be answered by the copy, and some that may not. */
export async function expectSameAnswers(
  { screened, plain }: { screened: LMHead; plain: LMHead },
  weight: Float32Array,
  seed: number,
): Promise<void> {
  const random = new Random(seed);
  for (let round = 0; round < 6; round++) {
    const n = random.pick([1, 1, 1, 2, 4, 9]);
    const h = screenedStates(n, weight, seed + 10 * round);
    const at = { seed: 1 + round, step: round };
    const both = async (ask: (head: LMHead) => unknown) =>
      expect(await ask(screened)).toStrictEqual(await ask(plain));
    await both(head => head.argmaxSync(h));
    await both(head => head.argmax(h));
    for (const options of SAMPLES) {
      await both(head => head.sampleSync(h, { ...options, ...at }));
      await both(head => head.sample(h, { ...options, ...at }));
    }
    await both(head => head.runSync(h, { argmax: true, sample: true, topK: 6, ...at }));
    await both(head => head.candidatesSync(h, { topK: 7, topP: 0.95 }));
    await both(head => head.topKSync(h, 12));
    await both(head => head.topK(h, 12, { withLogProbs: false }));
    await both(head => head.runSync(h, { top: 30, sample: true, withLogProbs: false, ...at }));
    await both(head => head.verifyDraftSync(h, new Uint32Array(n - 1), { temperature: 0 }));
    const first = h.subarray(0, SCREENED_D);
    await both(head => head.nearestSync(first, 9));
    await both(head => head.nearestSync(first, 9, { metric: 'cosine' }));
    await both(head =>
      Promise.all([head.argmax(h), head.sample(first, { topK: 4, ...at }), head.argmax(first)]),
    );
    await both(async head => {
      const samplers = SAMPLERS.map(options => head.sampler(options));
      const tokens = [];
      for (let i = 0; i < 4; i++) {
        const states = screenedStates(samplers.length, weight, seed + 100 * i + round);
        tokens.push(await head.nextAll(samplers, states), samplers[i % 3].nextSync(first));
      }
      return tokens;
    });
  }
}
