/** Rows from which no token can be chosen, in every method and with every option: native and reference say the same, of the cause. */
import { describe, expect, it } from 'vitest';
import { candidatesOf, LMHead, type RunRequest, type SamplerOptions, sampleFrom, topKOf } from '../../lib';
import { nativeUnavailable } from '../../lib/backend/addon';
import type { LMHeadError } from '../../lib/errors';

const inf = Infinity;
/** Logits of the hidden state [1]; of [0] those that are not finite are NaN, and the others 0. */
const ROWS: [name: string, logits: number[], cause: RegExp][] = [
  ['of only -Infinity', [-inf, -inf, -inf, -inf, -inf], /got only -Infinity in row 0/],
  ['with +Infinity', [0, 1, inf, 2, 1], /got \+Infinity in row 0 at id 2/],
  ['with +Infinity twice', [0, inf, inf, 0, 1], /got \+Infinity in row 0 at id 1/],
  ['with +Infinity alone', [-inf, -inf, -inf, inf, -inf], /got \+Infinity in row 0 at id 3/],
  ['with NaN', [0, 1, 2, Number.NaN, 3], /got NaN in row 0 at id 3/],
  ['with NaN before +Infinity', [0, Number.NaN, inf, 2, 3], /got NaN in row 0 at id 1/],
  ['with NaN behind +Infinity', [0, inf, Number.NaN, 2, 3], /got NaN in row 0 at id 2/],
  ['with NaN among -Infinity', [-inf, -inf, Number.NaN, -inf, -inf], /got NaN in row 0 at id 2/],
  ['with a little -Infinity', [-inf, 1, -inf, 2, -inf], /^$/],
  ['of numbers', [1, 2, 3, 4, 5], /^$/],
];

const VIEWS: RunRequest[] = [{}, { rows: [0, 2] }, { rows: [1, 3], over: 'vocabulary' }];
const FILTERS: RunRequest[] = [
  ...[{}, { temperature: 0 }, { temperature: 0.5 }, { temperature: 5e-324 }, { temperatureRange: 0.5 }],
  ...[{ topK: 2 }, { topK: 5 }, { topP: 0.9 }, { minP: 0.1 }, { typicalP: 0.9 }, { xtcProbability: 1 }],
];
const ADJUSTMENTS: RunRequest[] = [
  ...[{}, { bannedIds: [1] }, { bannedIds: [3, 4] }, { bannedIds: [0, 1, 2, 3, 4] }],
  ...[{ allowedIds: [0] }, { allowedIds: [2, 3] }, { logitBias: { 1: 1e39 } }, { logitBias: { 2: -inf } }],
  ...[
    { history: [1, 2], repetitionPenalty: 2 },
    { history: [3], frequencyPenalty: 1e308 },
  ],
];
const LISTS: RunRequest[] = [{}, { topLogProbs: 0 }, { topLogProbs: 2 }];

/** Every way to be asked for a token, or for a rank. */
function calls(): [name: string, call: (head: LMHead, hidden: Float32Array) => unknown][] {
  const all: ReturnType<typeof calls> = [];
  const add = (name: string, o: object, call: (head: LMHead, hidden: Float32Array) => unknown) =>
    all.push([`${name} ${JSON.stringify(o)}`, call]);
  for (const view of VIEWS) {
    add('topK', view, (head, hidden) => head.topKSync(hidden, 2, view));
    add('run', view, (head, hidden) => head.runSync(hidden, { ...view, top: 1, argmax: true }));
    for (const adjustment of ADJUSTMENTS)
      for (const list of LISTS) {
        const o = { seed: 3, ...view, ...adjustment, ...list };
        add('sample', o, (head, hidden) => head.sampleSync(hidden, o));
        add('sample, greedily,', o, (head, hidden) => head.sampleSync(hidden, { ...o, temperature: 0 }));
        add('run', o, (head, hidden) => head.runSync(hidden, { ...o, sample: true, logProbs: true }));
      }
  }
  for (const filter of FILTERS)
    for (const adjustment of ADJUSTMENTS) {
      const o = { ...filter, ...adjustment };
      add('sample', o, (head, hidden) => head.sampleSync(hidden, { seed: 3, ...o }));
      add('candidates', o, (head, hidden) => head.candidatesSync(hidden, o));
      add('sampler', o, (head, hidden) =>
        head.sampler({ seed: 3, ...o } as SamplerOptions).nextSync(hidden.subarray(0, 1)),
      );
      for (const drafted of [0, 2])
        add('verifyDraft', o, (head, hidden) =>
          head.verifyDraftSync(hidden, Array(hidden.length - 1).fill(drafted), { seed: 3, ...o }),
        );
    }
  add('argmax', {}, (head, hidden) => head.argmaxSync(hidden));
  add('lens', {}, (head, hidden) => head.lensSync(hidden, 2));
  add('nearest', {}, head => head.nearestSync(1, 2, { metric: 'cosine' }));
  return all;
}
const CALLS = calls();

/** Numbers to the 5 digits that both backends have. */
function outcome(call: () => unknown): unknown {
  try {
    return JSON.stringify(call(), (_, value) => {
      if (typeof value === 'number')
        return Number.isFinite(value) ? Number(value.toPrecision(5)) : `${value}`;
      return ArrayBuffer.isView(value) ? Array.from(value as Float32Array) : value;
    });
  } catch (error) {
    const { name, code, message } = error as LMHeadError;
    return { name, code, message };
  }
}

const makeHead = (backend: 'native' | 'reference', logits: number[]) =>
  LMHead.from(Float32Array.from(logits), {
    vocabSize: logits.length,
    hiddenSize: 1,
    backend,
    norm: { type: 'rmsnorm', weight: Float32Array.of(1), eps: 1e-12 },
  });

describe.skipIf(nativeUnavailable()).each(ROWS)('a row %s', (_, logits, cause) => {
  const native = makeHead('native', logits);
  const reference = makeHead('reference', logits);

  it('has the same result or the same error from both backends', () => {
    for (const hidden of [Float32Array.of(1), Float32Array.of(1, 1), Float32Array.of(0, 1)])
      for (const [name, call] of CALLS)
        expect(
          outcome(() => call(native, hidden)),
          `${name} of ${hidden}`,
        ).toEqual(outcome(() => call(reference, hidden)));
  });

  it('is called what it is, at every temperature', () => {
    const hidden = Float32Array.of(1);
    const held = native.logitsSync(hidden);
    const refused = cause.source !== '^$';
    for (const head of [native, reference])
      for (const filter of FILTERS)
        for (const call of [
          () => head.sampleSync(hidden, filter),
          () => head.candidatesSync(hidden, filter),
          () => head.sampler(filter as SamplerOptions).nextSync(hidden),
          () => head.verifyDraftSync(hidden, [], filter),
          () => sampleFrom(held, logits.length, filter),
          () => candidatesOf(held, logits.length, filter),
        ]) {
          if (refused) expect(call, JSON.stringify(filter)).toThrow(cause);
          else expect(call, JSON.stringify(filter)).not.toThrow();
        }
    const ranks = [
      () => native.topKSync(hidden, 1),
      () => reference.argmaxSync(hidden),
      () => topKOf(held, logits.length, 1),
    ];
    for (const call of ranks) {
      if (logits.some(Number.isNaN)) expect(call).toThrow(cause);
      else expect(call).not.toThrow();
    }
  });
});
