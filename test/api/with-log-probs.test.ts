/** withLogProbs: false. Results lack log-probabilities, and all else has the bits that it has with them. */
import { describe, expect, it } from 'vitest';
import { LMHead, rowsOf, type SamplerOptions } from '../../lib';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { makeHead, someHidden, V } from '../support/heads';
import { someNumbers } from '../support/numbers';
import { Random } from '../support/random';

/** Every way to draw. */
const WAYS = (vocabSize: number): SamplerOptions[] => [
  {},
  { temperature: 0 },
  { temperature: 0.6, stream: 3 },
  { temperature: 1e-300 },
  { topK: 5, temperature: 0.9 },
  { topK: 5, topP: 0.7, minP: 0.01 },
  { topP: 0.8 },
  { minP: 0.05 },
  { minP: 0.1, minKeep: 3 },
  { typicalP: 0.5, xtcProbability: 0.6 },
  { topNSigma: 1 },
  { temperatureRange: 0.4 },
  { maxSurprisal: 3 },
  { pLess: true, etaCutoff: 0.01 },
  { logitBias: { 3: 2, 4: -Infinity }, bannedIds: [5] },
  { allowedIds: [1, 6, 9] },
  { allowedIds: [1, 6, 9], topP: 0.9 },
  { allowedMask: new Uint32Array(Math.ceil(vocabSize / 32)).fill(0x55555) },
  { history: [1, 2, 3, 1], repetitionPenalty: 1.4, noRepeatNgramSize: 2 },
  { rows: [9, 1, 4, 12], temperature: 0.8 },
  { rows: [9, 1, 4, 12], over: 'vocabulary' },
  { norm: true },
];

const NONE = { withLogProbs: false } as const;
const norm = { type: 'rmsnorm' as const, weight: new Float32Array(7).fill(1), eps: 1e-5 };

/** Without what withLogProbs: false leaves out. */
function stripped<T extends object>(result: T): Partial<T> {
  return Object.fromEntries(
    Object.entries(result).filter(([name]) => !['logProbs', 'logSumExp', 'logProb'].includes(name)),
  ) as Partial<T>;
}

describe.each(backends)('withLogProbs: false, %s', backend => {
  const head = makeHead(backend, { norm, bias: someNumbers(V, 9), softCap: 4 });
  const hidden = someHidden(5);

  it('topK and lens', async () => {
    for (const options of [{}, { norm: true }, { rows: [7, 2, 9, 4] }, { temperature: 0.3 }]) {
      for (const k of [1, 4]) {
        const wanted = stripped(head.topKSync(hidden, k, options));
        const got = head.topKSync(hidden, k, { ...options, ...NONE });
        expect(got).toEqual(wanted);
        expect(Object.keys(got)).toEqual(['n', 'k', 'ids', 'logits']);
        expect(await head.topK(hidden, k, { ...options, ...NONE })).toEqual(wanted);
        expect(rowsOf(got)).toEqual(
          rowsOf(head.topKSync(hidden, k, options)).map(row => row.map(({ id, logit }) => ({ id, logit }))),
        );
      }
    }
    const wanted = stripped(head.lensSync(hidden, 3));
    expect(head.lensSync(hidden, 3, NONE)).toEqual(wanted);
    expect(await head.lens(hidden, 3, NONE)).toEqual(wanted);
    expect(await head.lens(hidden, 3, { ...NONE, translators: [null] })).toEqual(wanted);
  });

  it('sample, however it draws', async () => {
    for (const options of WAYS(V)) {
      const { ids } = head.sampleSync(hidden, { seed: 5, ...options });
      expect(head.sampleSync(hidden, { seed: 5, ...options, ...NONE })).toEqual({ ids });
      expect(await head.sample(hidden, { seed: 5, ...options, ...NONE })).toEqual({ ids });
    }
  });

  it('samplers, and what is saved of them', async () => {
    for (const options of WAYS(V)) {
      const told = head.sampler({ seed: 2, ...options });
      const untold = head.sampler({ seed: 2, ...options, ...NONE });
      const half = untold.clone();
      for (let i = 0; i < 5; i++) {
        const h = hidden.subarray(i * 7, (i + 1) * 7);
        const { id } = told.nextSync(h);
        expect(i % 2 ? untold.nextSync(h) : await untold.next(h)).toEqual({ id });
        if (i < 3) expect(half.nextSync(h)).toEqual({ id });
      }
      const restored = head.sampler({ ...options, ...NONE });
      restored.restore(JSON.parse(JSON.stringify(half)));
      for (let i = 3; i < 5; i++) restored.nextSync(hidden.subarray(i * 7, (i + 1) * 7));
      expect(restored.toJSON()).toEqual(told.toJSON());
      expect(untold.toJSON()).toEqual(told.toJSON());
    }
  });

  it('mirostat and a logits hook, which need what is not told', () => {
    const logits = (u: Float32Array) => void u.reverse();
    for (const own of [{ mirostat: { tau: 2 } }, { logits }, { mirostat: { tau: 2 }, logits }]) {
      const told = head.sampler({ seed: 1, ...own });
      const untold = head.sampler({ seed: 1, ...own, ...NONE });
      for (let i = 0; i < 5; i++) {
        const h = hidden.subarray(i * 7, (i + 1) * 7);
        expect(untold.nextSync(h)).toEqual({ id: told.nextSync(h).id });
      }
      expect(untold.toJSON()).toEqual(told.toJSON());
    }
  });

  it('nextAll, beside samplers that tell', async () => {
    const samplers = (none: boolean) =>
      WAYS(V).map((options, i) => head.sampler({ seed: i, ...options, withLogProbs: !none || i % 2 === 1 }));
    const [told, sync, async] = [samplers(false), samplers(true), samplers(true)];
    const states = someHidden(told.length);
    const wanted = head.nextAllSync(told, states).map((token, i) => (i % 2 ? token : { id: token.id }));
    expect(head.nextAllSync(sync, states)).toEqual(wanted);
    expect(await head.nextAll(async, states)).toEqual(wanted);
    expect(async.map(each => each.toJSON())).toEqual(told.map(each => each.toJSON()));
  });

  it('a sampler verifies drafts as ever', () => {
    const options = { seed: 4, temperature: 0.7 };
    const verdict = head.sampler(options).verifySync(hidden, [1, 2, 3, 4]);
    const untold = head.sampler({ ...options, ...NONE });
    expect(untold.verifySync(hidden, [1, 2, 3, 4])).toEqual(verdict);
    const sampler = head.sampler({ ...options, ...NONE });
    expect(head.verifyDraftsSync([{ hidden, draftIds: [1, 2, 3, 4], sampler }])).toEqual([verdict]);
  });

  it('run', async () => {
    const request = { top: 3, sample: true, argmax: true, logits: true, seed: 1, topP: 0.8 } as const;
    const { logSumExp, ...wanted } = head.runSync(hidden, request);
    const { top, sample } = wanted;
    const untold = { ...wanted, top: stripped(top), sample: { ids: sample.ids } };
    expect(head.runSync(hidden, { ...request, ...NONE })).toEqual(untold);
    expect(await head.run(hidden, { ...request, ...NONE })).toEqual(untold);
    expect(head.runSync(hidden, NONE)).toEqual({});
    // What has no probabilities needs no temperature above 0.
    const greedy = head.runSync(hidden, { top: 2, sample: true, temperature: 0, ...NONE });
    expect(greedy.sample.ids).toEqual(head.argmaxSync(hidden));
    throwsKind(() => head.runSync(hidden, { top: 2, sample: true, temperature: 0 }), 'RANGE', 'temperature');
    throwsKind(() => head.topKSync(hidden, 2, { ...NONE, temperature: 0 }), 'RANGE', 'temperature');
  });

  it('rows, and what they are normalized over, which is then nothing', () => {
    const rows = [11, 3, 8];
    for (const over of ['rows', 'vocabulary'] as const) {
      const wanted = stripped(head.topKSync(hidden, 2, { rows, over }));
      expect(head.topKSync(hidden, 2, { rows, over, ...NONE })).toEqual(wanted);
      const { ids } = head.sampleSync(hidden, { rows, over, seed: 3 });
      expect(head.sampleSync(hidden, { rows, over, seed: 3, ...NONE })).toEqual({ ids });
    }
  });

  it('JSON', () => {
    const [row] = [head.topKSync(hidden.subarray(0, 7), 2, NONE)];
    expect(JSON.parse(JSON.stringify(row))).toEqual({
      ...{ n: 1, k: 2 },
      ...{ ids: [...row.ids], logits: [...row.logits] },
    });
    const { ids } = head.sampleSync(hidden, { seed: 1, ...NONE });
    expect(JSON.stringify(head.sampleSync(hidden, { seed: 1, ...NONE }))).toBe(
      JSON.stringify({ ids: [...ids] }),
    );
  });

  it('is refused beside what tells log-probabilities, and where it is no option', async () => {
    const beside = 'beside withLogProbs: false; want one of the two alone';
    for (const [call, ...words] of [
      [(o: object) => head.sampleSync(hidden, { topLogProbs: 2, ...o }), 'topLogProbs: got 2', beside],
      [(o: object) => head.sampleSync(hidden, { topLogProbs: 0, ...o }), 'topLogProbs: got 0', beside],
      [(o: object) => head.sampler({ topLogProbs: 2, ...o }), 'topLogProbs: got 2', beside],
      [(o: object) => head.runSync(hidden, { logProbs: true, ...o }), 'logProbs: got true', beside],
      [
        (o: object) => head.runSync(hidden, { targets: [1, 1, 1, 1, 1], ...o }),
        'targets: got an arr',
        beside,
      ],
    ] as [(o: object) => unknown, ...string[]][]) {
      throwsKind(() => call(NONE), 'RANGE', ...words);
      call({ withLogProbs: true });
      call({ withLogProbs: undefined });
    }
    head.runSync(hidden, { logProbs: false, top: 1, ...NONE });
    head.sampler({ topLogProbs: undefined, ...NONE }).nextSync(hidden.subarray(0, 7));
    await rejectsKind(() => head.run(hidden, { logProbs: true, ...NONE } as object), 'RANGE', beside);
    for (const bad of [0, 'no', null, {}]) {
      const options = { withLogProbs: bad } as object;
      throwsKind(() => head.topKSync(hidden, 1, options), 'ARGUMENT', 'withLogProbs: got');
      throwsKind(() => head.sampleSync(hidden, options), 'ARGUMENT', 'withLogProbs: got');
      throwsKind(() => head.sampler(options), 'ARGUMENT', 'withLogProbs: got');
      throwsKind(() => head.runSync(hidden, options), 'ARGUMENT', 'withLogProbs: got');
    }
    const none = NONE as object;
    throwsKind(() => head.scoreSync(hidden, [1, 1, 1, 1, 1], none), 'ARGUMENT', 'scoreSync does not take');
    throwsKind(() => head.argmaxSync(hidden, none), 'ARGUMENT', 'argmaxSync does not take');
    throwsKind(() => head.verifyDraftSync(hidden, [1], none), 'ARGUMENT', 'verifyDraftSync does not take');
    throwsKind(() => head.beamSync(hidden, [0, 0, 0, 0, 0], none), 'ARGUMENT', 'beamSync does not take');
    throwsKind(() => head.sampler().nextSync(hidden, none), 'ARGUMENT', 'nextSync does not take');
  });

  it('NaN is refused as with them', () => {
    const bad = someHidden(3);
    bad[9] = NaN;
    for (const call of [
      (o: object) => head.topKSync(bad, 2, o),
      (o: object) => head.sampleSync(bad, { seed: 1, ...o }),
      (o: object) => head.runSync(bad, { top: 2, sample: true, seed: 1, ...o }),
    ]) {
      const { message } = throwsKind(() => call({}), 'NAN');
      expect(throwsKind(() => call(NONE), 'NAN').message).toBe(message);
    }
    throwsKind(
      () => head.sampleSync(hidden, { allowedIds: [], ...NONE }),
      'RANGE',
      'no id that may be drawn',
    );
  });
});

describe.each(backends)('many at once, %s', backend => {
  it('calls that share a pass have the bits that they have alone', async () => {
    const [vocabSize, hiddenSize] = backend === 'native' ? [3000, 40] : [500, 9];
    const weight = someNumbers(vocabSize * hiddenSize, 3);
    const head = LMHead.from(weight, { vocabSize, hiddenSize, backend, threads: 3 });
    const dice = new Random(4);
    const cases = WAYS(vocabSize).filter(options => !options.norm);
    const calls = Array.from({ length: backend === 'native' ? 120 : 20 }, (_, i) => {
      const h = someNumbers((1 + dice.below(3)) * hiddenSize, 50 + i);
      const k = 1 + dice.below(40);
      const options = { seed: i, ...cases[dice.below(cases.length)] };
      const none = dice.below(2) ? NONE : {};
      if (dice.below(2)) return { get: head.topK(h, k, none), want: () => head.topKSync(h, k) };
      return { get: head.sample(h, { ...options, ...none }), want: () => head.sampleSync(h, options) };
    });
    const results: object[] = await Promise.all(calls.map(({ get }) => get));
    results.forEach((result, i) => {
      const want: object = calls[i].want();
      expect(result).toEqual('logProbs' in result ? want : stripped(want));
    });
  });
});
