/** A sampler keeps what its history says from token to token: it draws what a call with all of the history draws. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LMHead, type SampleOptions, type Sampler, type SamplerOptions } from '../../lib';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { someNumbers } from '../support/numbers';

const V = 12;
const STEPS = 70;
const identity = Float32Array.from({ length: V * V }, (_, i) => (i % (V + 1) === 0 ? 1 : 0));

const token = fc.nat(V - 1);
const optional = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined });
const options = fc.record({
  history: fc.array(token, { maxLength: 30 }),
  promptLength: optional(fc.constantFrom(0, 3)),
  repetitionPenalty: optional(fc.constantFrom(0.8, 1.2)),
  frequencyPenalty: optional(fc.constantFrom(-0.1, 0.2)),
  presencePenalty: optional(fc.constant(0.3)),
  penaltyWindow: optional(fc.nat(40)),
  dryMultiplier: optional(fc.constantFrom(0, 0.6)),
  dryAllowedLength: optional(fc.integer({ min: 1, max: 3 })),
  dryWindow: optional(fc.nat(60)),
  dryBreakers: optional(
    fc.array(fc.oneof(token, fc.array(token, { minLength: 1, maxLength: 3 })), { maxLength: 2 }),
  ),
  noRepeatNgramSize: optional(fc.integer({ min: 2, max: 6 })),
  minLength: optional(fc.nat(60)),
  eosIds: fc.constant([1, 2]),
  logitBias: optional(fc.constant({ 5: 1 })),
  temperature: fc.constantFrom(0, 0.7, 2),
});

describe.each(backends)('the history of a sampler, %s', backend => {
  const head = LMHead.from(identity, { vocabSize: V, hiddenSize: V, backend });
  const stateAt = (i: number) => someNumbers(V, i).map(x => 3 * x);

  it('is that of a call with all of its tokens, whatever came between', async () => {
    const actions = fc.array(fc.nat(11), { minLength: STEPS, maxLength: STEPS });
    await fc.assert(
      fc.asyncProperty(options, actions, fc.nat(999), async (given, does, seed) => {
        const prompt = given.promptLength;
        const own = { ...given, promptLength: prompt && Math.min(prompt, given.history.length), seed };
        let sampler: Sampler = head.sampler(own);
        let [history, generated, step] = [[...given.history], 0, 0];
        for (let i = 0; i < STEPS; i++) {
          if (does[i] === 0) {
            sampler = sampler.clone();
          } else if (does[i] === 1) {
            sampler.restore(JSON.parse(JSON.stringify(sampler)));
          } else if (does[i] === 2 && i % 5 === 0) {
            sampler.reset();
            [history, generated, step] = [[...given.history], 0, 0];
          } else if (does[i] < 5) {
            const many = does[i] === 4 ? 9 : 1;
            for (let j = 0; j < many; j++) {
              sampler.accept((i + j * j) % V);
              history.push((i + j * j) % V);
              generated++;
            }
          }
          const length = own.promptLength === undefined ? generated : history.length - own.promptLength;
          const request = { ...own, history, step, length } as SampleOptions;
          const wanted = head.sampleSync(stateAt(i), request);
          const { id, logProb } = i % 4 === 0 ? await sampler.next(stateAt(i)) : sampler.nextSync(stateAt(i));
          expect([id, logProb]).toEqual([wanted.ids[0], wanted.logProbs[0]]);
          history.push(id);
          generated++;
          step++;
        }
        expect([...sampler.history]).toEqual(history);
      }),
      { numRuns: backend === 'native' ? 60 : 20, seed: 5 },
    );
  });

  it('is as it was after an error, and after a call that was canceled', async () => {
    const own: SamplerOptions = {
      seed: 2,
      history: [1, 2, 1, 2, 3],
      repetitionPenalty: 1.5,
      dryMultiplier: 1,
    };
    const sampler = head.sampler(own);
    const twin = head.sampler(own);
    for (let i = 0; i < 30; i++) {
      const controller = new AbortController();
      const pending = sampler.next(stateAt(i), { signal: controller.signal });
      controller.abort();
      await rejectsKind(() => pending, 'ABORTED');
      throwsKind(() => sampler.nextSync(stateAt(i), { bannedIds: [V] }), 'RANGE');
      await rejectsKind(
        () => sampler.next(stateAt(i), { bannedIds: [...Array(V).keys()] }),
        'RANGE',
        'row 0',
      );
      expect(sampler.toJSON()).toEqual(twin.toJSON());
      expect(sampler.nextSync(stateAt(i))).toEqual(twin.nextSync(stateAt(i)));
    }
  });

  it('is copied where it comes in and goes out', () => {
    const history = Uint32Array.of(3, 3);
    const breaker = [3];
    const sampler = head.sampler({
      history,
      dryBreakers: [breaker],
      dryMultiplier: 1,
      presencePenalty: 1,
      seed: 1,
    });
    const twin = sampler.clone();
    history.fill(7);
    breaker[0] = 8;
    sampler.history.fill(9);
    expect([...sampler.history]).toEqual([3, 3]);
    sampler.nextSync(stateAt(1));
    expect([...twin.history]).toEqual([3, 3]);
    sampler.reset();
    expect([...sampler.history]).toEqual([3, 3]);
  });

  it('begins with a prompt, given at first or accepted', () => {
    const penalties = { presencePenalty: 50, temperature: 0 } as const;
    const state = stateAt(4);
    const [best, second] = head.topKSync(state, 2).ids;
    const given = head.sampler({ ...penalties, history: [best], promptLength: 1 });
    const accepted = head.sampler({ ...penalties, promptLength: 1 });
    throwsKind(() => accepted.nextSync(state), 'RANGE', 'promptLength: got 1 with a history of 0 tokens');
    accepted.accept(best);
    for (const sampler of [given, accepted])
      expect([sampler.nextSync(state).id, sampler.nextSync(state).id]).toEqual([best, second]);
    const all = head.sampler({ ...penalties, history: [best] });
    expect(all.nextSync(state).id).toBe(second);
    for (const promptLength of [-1, 0.5, Infinity])
      throwsKind(() => head.sampler({ promptLength }), 'RANGE', 'promptLength');
    throwsKind(() => head.sampler({ promptLength: [1] as unknown as number }), 'ARGUMENT', 'promptLength');
  });

  it('counts for minLength what follows the prompt, where there is one', () => {
    const state = stateAt(4);
    const [best] = head.topKSync(state, 1).ids;
    const at = { temperature: 0, minLength: 2, eosIds: [best] };
    const ends = (sampler: Sampler) =>
      Array.from({ length: 4 }, () => sampler.nextSync(state).id === best).indexOf(true);
    expect(ends(head.sampler({ ...at, history: [0, 0] }))).toBe(2);
    expect(ends(head.sampler({ ...at, history: [0, 0], promptLength: 2 }))).toBe(2);
    expect(ends(head.sampler({ ...at, history: [0, 0], promptLength: 1 }))).toBe(1);
    const accepted = head.sampler({ ...at, promptLength: 2 });
    accepted.accept(0);
    accepted.accept(0);
    expect(ends(accepted)).toBe(2);
    const without = head.sampler(at);
    without.accept(0);
    without.accept(0);
    expect(ends(without)).toBe(0);
  });

  it('has its breakers read where the sampler is made', () => {
    throwsKind(() => head.sampler({ dryBreakers: [[]] }), 'RANGE', 'dryBreakers[0]: got no ids');
    throwsKind(() => head.sampler({ dryBreakers: [V] }), 'RANGE', 'dryBreakers[0][0]');
    throwsKind(
      () => head.sampler({ dryBreakers: 5 as unknown as number[] }),
      'ARGUMENT',
      'dryBreakers: got 5',
    );
  });
});
