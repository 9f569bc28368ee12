/** Several drafts in one pass, and drafts that a sampler verifies with its own history. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib/lm-head';
import type { Draft, SamplerOptions, VerifyDraftOptions } from '../../lib/types';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { someNumbers } from '../support/numbers';

const [V, d] = [300, 16];
const makeHead = (backend: 'native' | 'reference') =>
  LMHead.from(someNumbers(V * d), { vocabSize: V, hiddenSize: d, backend });
const hidden = (n: number, seed = 3) => someNumbers(n * d, seed);
const ids = (n: number, seed: number) => Array.from({ length: n }, (_, i) => (i * 37 + seed * 11) % V);

describe.each(backends)('verifyDrafts, %s', backend => {
  const head = makeHead(backend);
  const OPTIONS: (VerifyDraftOptions | undefined)[] = [
    { seed: 1 },
    { temperature: 0 },
    { seed: 2, topK: 20, stream: 4 },
    { seed: 3, topP: 0.8, history: [1, 2, 3], repetitionPenalty: 1.2 },
    { seed: 4, allowedIds: [1, 37, 74, 111] },
    { seed: 5, rows: [0, 37, 74, 5] },
  ];
  /** The n-th: of 0 to 7 ids, some with a bonus. */
  function draft(i: number): Draft {
    const length = i % 8;
    const n = length + (i % 3 === 0 ? 1 : 0);
    const options = OPTIONS[i % OPTIONS.length];
    const draftIds = ids(length, i);
    const withLogProbs = i % 4 === 1 && options?.rows === undefined;
    return {
      hidden: hidden(n, i + 1),
      draftIds,
      options: withLogProbs
        ? { ...options, draftLogProbs: new Float32Array(length * V).fill(-Math.log(V)) }
        : options,
    };
  }

  it.each([1, 6, 40])('verifies %i as verifyDraft does one by one', async count => {
    const drafts = Array.from({ length: count }, (_, i) => draft(i));
    const wanted = drafts.map(each =>
      head.verifyDraftSync(each.hidden, each.draftIds, each.options as object),
    );
    expect(await head.verifyDrafts(drafts)).toEqual(wanted);
    expect(head.verifyDraftsSync(drafts)).toEqual(wanted);
  });

  it('verifies long ones beside short ones', async () => {
    const drafts = [70, 3, 30, 1].map((n, i) => ({
      hidden: hidden(n, i + 1),
      draftIds: ids(n, i),
      options: { seed: i, topP: 0.9 },
    }));
    const wanted = drafts.map(each => head.verifyDraftSync(each.hidden, each.draftIds, each.options));
    expect(await head.verifyDrafts(drafts)).toEqual(wanted);
  });

  it('verifies none', async () => {
    expect(await head.verifyDrafts([])).toEqual([]);
    expect(head.verifyDraftsSync([])).toEqual([]);
  });

  it('takes samplers, of other heads over the weights too', async () => {
    const other = LMHead.attach(structuredClone(head.handle));
    const made = () =>
      [head, other, head].map((of, i) =>
        of.sampler({ seed: i, topK: 5, history: [i], frequencyPenalty: 0.5 }),
      );
    const [alone, together, atOnce] = [made(), made(), made()];
    for (let step = 0; step < 4; step++) {
      const drafts = [1, 3, 2].map((n, i) => ({
        hidden: hidden(n + 1, i + step),
        draftIds: ids(n, i + step),
      }));
      const options = { draftLogProbs: new Float32Array(2 * V).fill(-Math.log(V)) };
      const wanted = drafts.map((each, i) =>
        alone[i].verifySync(each.hidden, each.draftIds, i === 2 ? options : undefined),
      );
      const of = (samplers: typeof alone) =>
        drafts.map((each, i) => ({ ...each, sampler: samplers[i], ...(i === 2 && { options }) }));
      expect(await head.verifyDrafts(of(together))).toEqual(wanted);
      expect(head.verifyDraftsSync(of(atOnce))).toEqual(wanted);
    }
    expect(together.map(sampler => sampler.toJSON())).toEqual(alone.map(sampler => sampler.toJSON()));
    expect(atOnce.map(sampler => sampler.toJSON())).toEqual(alone.map(sampler => sampler.toJSON()));
  });

  it('leaves samplers as they were where one fails, and says where', async () => {
    const sampler = head.sampler({ seed: 1, temperature: 0 });
    const before = sampler.toJSON();
    const bad = hidden(2);
    bad[0] = Number.NaN;
    const drafts: Draft[] = [
      { hidden: hidden(2), draftIds: ids(2, 1), sampler },
      { hidden: bad, draftIds: ids(2, 1) },
    ];
    throwsKind(() => head.verifyDraftsSync(drafts), 'NAN', 'row 0 of drafts[1]');
    await rejectsKind(() => head.verifyDrafts(drafts), 'NAN', 'row 0 of drafts[1]');
    const { signal } = new AbortController();
    expect(await head.verifyDrafts(drafts.slice(0, 1), { signal })).toHaveLength(1);
    expect(sampler.toJSON().step).toBeGreaterThan(before.step);
  });

  const one = { hidden: hidden(1), draftIds: [1] };
  const sampler = head.sampler({ seed: 1 });
  const strange = LMHead.from(someNumbers(V * d, 9), { vocabSize: V, hiddenSize: d, backend });
  it.each<[string, unknown, Parameters<typeof throwsKind>[1], string]>([
    ['what is no array', one, 'ARGUMENT', 'drafts: got'],
    ['what is no draft', [one, 5], 'ARGUMENT', 'drafts[1]: got 5'],
    ['an unknown name', [{ ...one, topK: 5 }], 'ARGUMENT', 'topK'],
    ['an unknown option', [{ ...one, options: { over: 'rows' } }], 'ARGUMENT', 'over'],
    ['too few hidden states', [one, { ...one, draftIds: [1, 2, 3] }], 'SHAPE', 'drafts[1].draftIds'],
    ['ids that are none', [{ ...one, draftIds: [V] }], 'RANGE', 'drafts[0].draftIds'],
    ['a sampler twice', [one, { ...one, sampler }, { ...one, sampler }], 'ARGUMENT', 'drafts[2].sampler'],
    ['what is no sampler', [{ ...one, sampler: {} }], 'ARGUMENT', 'drafts[0].sampler'],
    ['one over other weights', [{ ...one, sampler: strange.sampler() }], 'ARGUMENT', 'drafts[0].sampler'],
    ['a sampler and its options', [{ ...one, sampler, options: { topK: 3 } }], 'ARGUMENT', 'topK'],
    [
      'a sampler with mirostat',
      [{ ...one, sampler: head.sampler({ mirostat: {} }) }],
      'RANGE',
      'drafts[0].mirostat',
    ],
  ])('refuses %s', async (_, drafts, kind, words) => {
    const thrown = throwsKind(() => head.verifyDraftsSync(drafts as Draft[]), kind, words);
    const rejected = await rejectsKind(() => head.verifyDrafts(drafts as Draft[]), kind, words);
    expect(rejected.message).toBe(thrown.message);
    expect(head.verifyDraftsSync([{ ...one, sampler }])).toHaveLength(1);
  });
});

describe.each(backends)('a sampler that verifies, %s', backend => {
  const head = makeHead(backend);

  it.each<SamplerOptions>([
    { temperature: 0 },
    { temperature: 0, repetitionPenalty: 1.5, history: [4, 5, 6] },
    { temperature: 0, noRepeatNgramSize: 1, eosIds: [3], minLength: 9 },
    { temperature: 0, promptLength: 2, history: [1, 9], frequencyPenalty: 0.3 },
  ])('has greedily the tokens that next draws one by one: %o', async options => {
    const made = () => head.sampler({ seed: 1, ...options } as object);
    const states = hidden(9);
    const alone = made();
    const tokens = Array.from(
      { length: 9 },
      (_, i) => alone.nextSync(states.subarray(i * d, (i + 1) * d)).id,
    );
    const [verifier, later] = [made(), made()];
    // All are accepted; then the second one goes wrong.
    const first = await verifier.verify(states.subarray(0, 4 * d), tokens.slice(0, 3));
    expect([first.accepted, ...first.ids]).toEqual([3, ...tokens.slice(0, 4)]);
    const wrong = [tokens[4], (tokens[5] + 1) % V, tokens[6]];
    const second = verifier.verifySync(states.subarray(4 * d, 8 * d), wrong);
    expect([second.accepted, ...second.ids]).toEqual([1, ...tokens.slice(4, 6)]);
    for (let i = 0; i < 6; i++) later.nextSync(states.subarray(i * d, (i + 1) * d));
    expect(verifier.toJSON()).toEqual(later.toJSON());
    expect(verifier.nextSync(states.subarray(6 * d, 7 * d)).id).toBe(tokens[6]);
  });

  it('draws as verifyDraft does with its options and state', async () => {
    const verifier = head.sampler({ seed: 9, topP: 0.9, repetitionPenalty: 1.3, history: [7, 8] });
    verifier.accept(3);
    verifier.nextSync(hidden(1));
    const { step, history } = verifier.toJSON();
    const options = { seed: 9, topP: 0.9, repetitionPenalty: 1.3, history, step };
    const wanted = head.verifyDraftSync(hidden(4), ids(3, 1), options);
    expect(await verifier.verify(hidden(4), ids(3, 1))).toEqual(wanted);
    expect(Array.from(verifier.history)).toEqual([...history, ...wanted.ids]);
    expect(verifier.toJSON().step).toBe(step + wanted.ids.length);
  });

  it('is as it was after an error, and busy while it waits', async () => {
    const verifier = head.sampler({ seed: 9, frequencyPenalty: 1 });
    const before = verifier.toJSON();
    const bad = hidden(2);
    bad[0] = Number.NaN;
    throwsKind(() => verifier.verifySync(bad, [1, 2]), 'NAN', 'row 0');
    await rejectsKind(() => verifier.verify(bad, [1, 2]), 'NAN', 'row 0');
    const controller = new AbortController();
    const call = verifier.verify(hidden(2), [1, 2], { signal: controller.signal });
    throwsKind(() => verifier.nextSync(hidden(1)), 'BUSY', 'sampler');
    controller.abort();
    await rejectsKind(() => call, 'ABORTED', 'aborted');
    expect(verifier.toJSON()).toEqual(before);
    const twin = head.sampler({ seed: 9, frequencyPenalty: 1 });
    expect(await verifier.verify(hidden(2), [1, 2])).toEqual(twin.verifySync(hidden(2), [1, 2]));
  });

  it.each<[string, SamplerOptions]>([
    ['mirostat', { mirostat: {} }],
    ['over', { rows: [1, 2], over: 'vocabulary' }],
    ['topLogProbs', { topLogProbs: 3 }],
  ])('refuses %s', (name, options) => {
    throwsKind(() => head.sampler(options as object).verifySync(hidden(1), [1]), 'RANGE', name);
  });
});
