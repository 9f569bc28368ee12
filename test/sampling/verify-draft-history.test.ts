/** A draft's own tokens count for what follows them: verifyDraft against drawing token by token. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type DraftResult, LMHead, type SampleOptions, type VerifyDraftOptions } from '../../lib';
import { adjustmentsOf } from '../../lib/arguments/adjustments';
import { adjustedRow } from '../../lib/reference/adjust';
import { backends } from '../support/backends';
import { throwsKind } from '../support/errors';
import { someNumbers } from '../support/numbers';

const V = 16;
const MOST = 6;
/** A head whose logits are its hidden states. */
const identity = Float32Array.from({ length: V * V }, (_, i) => (i % (V + 1) === 0 ? 1 : 0));
const heads = backends.map(backend =>
  LMHead.from(identity, { vocabSize: V, hiddenSize: V, backend, validVocabSize: V - 1 }),
);

const token = fc.nat(4);
const tokens = (maxLength: number) => fc.array(token, { maxLength });
const optional = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined });
const numbers = (max: number) => optional(fc.integer({ min: 0, max: 4 * max }).map(x => x / 4));
/** Every option about the tokens so far, and some of the others. */
const historical = fc
  .record({
    history: tokens(20),
    promptLength: optional(fc.nat(20)),
    repetitionPenalty: numbers(2).map(x => (x === undefined ? x : x + 0.5)),
    frequencyPenalty: numbers(2),
    presencePenalty: numbers(2),
    penaltyWindow: optional(fc.nat(12)),
    dryMultiplier: numbers(4),
    dryBase: optional(fc.constantFrom(1, 1.75, 3)),
    dryAllowedLength: optional(fc.integer({ min: 1, max: 3 })),
    dryWindow: optional(fc.nat(15)),
    dryBreakers: optional(
      fc.array(fc.oneof(token, fc.array(token, { minLength: 1, maxLength: 3 })), { maxLength: 2 }),
    ),
    noRepeatNgramSize: optional(fc.nat(5)),
    minLength: optional(fc.nat(25)),
    eosIds: fc.constant([2, 5]),
    length: optional(fc.nat(25)),
    logitBias: optional(fc.constant({ 1: 1.5, 6: -Infinity })),
    bannedIds: optional(fc.constant([7])),
  })
  .map(options => ({
    ...options,
    promptLength: options.promptLength && Math.min(options.promptLength, options.history.length),
  }));

/** The options of a call about what comes after some more tokens. */
function continued(options: SampleOptions, more: readonly number[]): SampleOptions {
  const { history = [], length } = options;
  return {
    ...options,
    history: [...(history as number[]), ...more],
    length: length === undefined ? undefined : (length as number) + more.length,
  };
}

describe('verifyDraft with one history', () => {
  it('gives the tokens that greedy sampling gives one by one', () => {
    let accepted = 0;
    let different = 0;
    fc.assert(
      fc.property(historical, fc.nat(999), fc.nat(MOST), fc.boolean(), (given, seed, wrong, bonus) => {
        const options = { ...given, temperature: 0 };
        const hidden = someNumbers(MOST * V, seed).map(x => 3 * x);
        const at = (i: number) => hidden.subarray(i * V, (i + 1) * V);
        for (const head of heads) {
          const drawn: number[] = [];
          for (let i = 0; i < MOST; i++) drawn.push(head.sampleSync(at(i), continued(options, drawn)).ids[0]);
          const draft = drawn.slice(0, bonus ? MOST - 1 : MOST);
          if (wrong < draft.length) draft[wrong] = (draft[wrong] + 1) % V;
          const verdict = head.verifyDraftSync(hidden, draft, options);
          const kept = Math.min(wrong, draft.length);
          expect([verdict.accepted, ...verdict.ids]).toEqual([kept, ...drawn.slice(0, kept + 1)]);
          accepted += kept;
          const plain = head.verifyDraftSync(hidden, draft, { temperature: 0 });
          different += Number(plain.ids.join() !== verdict.ids.join());
        }
      }),
      { numRuns: 400, seed: 1 },
    );
    expect(accepted).toBeGreaterThan(400);
    expect(different).toBeGreaterThan(100); // the options do something
  });

  it('judges each row as a call with the tokens before it', () => {
    const rare = fc.record({
      temperature: fc.constantFrom(0.5, 1, 3),
      topK: optional(fc.integer({ min: 1, max: V })),
      topP: optional(fc.constantFrom(0.5, 0.9)),
      rows: optional(fc.constantFrom([0, 1, 2, 3, 4, 9, 14], [4, 2, 0, 5])),
    });
    const accepted = new Set<number>();
    fc.assert(
      fc.property(
        historical,
        rare,
        fc.nat(999),
        tokens(MOST),
        fc.boolean(),
        (given, more, seed, draft, sure) => {
          const n = draft.length + 1;
          const hidden = someNumbers(n * V, seed).map(x => 3 * x);
          const width = more.rows?.length ?? V;
          const q = sure ? undefined : someNumbers(draft.length * width, seed + 1).map(x => x - 1.5);
          const options = { ...given, ...more, seed, step: 5 } as VerifyDraftOptions & { step: number };
          const verdicts = heads.map(head => {
            const ids: number[] = [];
            const logProbs: number[] = [];
            const verify = () => head.verifyDraftSync(hidden, draft, { draftLogProbs: q, ...options });
            for (let i = 0; i < n; i++) {
              const alone = () =>
                head.verifyDraftSync(hidden.subarray(i * V, (i + 1) * V), draft.slice(i, i + 1), {
                  ...continued(options, draft.slice(0, i)),
                  draftLogProbs: i < draft.length ? q?.subarray(i * width, (i + 1) * width) : undefined,
                  step: options.step + i,
                } as VerifyDraftOptions);
              let one: DraftResult;
              try {
                one = alone();
              } catch (error) {
                // Nothing may be drawn there.
                const { message } = throwsKind(verify, 'RANGE', `in row ${i}`);
                expect((error as Error).message).toBe(message.replace(`row ${i}`, 'row 0'));
                return undefined;
              }
              ids.push(one.ids[0]);
              logProbs.push(one.logProbs[0]);
              if (one.accepted === 0) break;
            }
            const verdict = verify();
            expect([...verdict.ids]).toEqual(ids);
            expect([...verdict.logProbs]).toEqual(logProbs);
            return verdict;
          });
          expect(verdicts[1]).toEqual(verdicts[0]);
          if (verdicts[0]) accepted.add(verdicts[0].accepted);
        },
      ),
      { numRuns: 600, seed: 2 },
    );
    expect(accepted.size).toBeGreaterThan(3);
  });

  it('a history for each row is taken as it is, and so is a length', () => {
    for (const head of heads) {
      const hidden = new Float32Array(3 * V).map((_, i) => (i % V === 0 ? 2 : i % V === 1 ? 1 : 0));
      const options = { temperature: 0, noRepeatNgramSize: 1 };
      const one = head.verifyDraftSync(hidden, [0, 1], { ...options, history: [3] });
      expect([...one.ids]).toEqual([0, 1, 2]);
      const histories = [[], [5], [0, 1]];
      const each = head.verifyDraftSync(hidden, [0, 0], { ...options, history: histories });
      expect([...each.ids]).toEqual([0, 0, 2]);
      const short = { temperature: 0, eosIds: [0], minLength: 2 };
      const lengths = (length: number | number[]) =>
        [...head.verifyDraftSync(hidden, [1, 0], { ...short, length }).ids].join();
      expect([lengths(1), lengths([1, 2, 2]), lengths([1, 1, 2]), lengths(0)]).toEqual([
        '1,0,0',
        '1,0,0',
        '1,1',
        '1,1',
      ]);
      // Without either, the draft's tokens alone are counted.
      expect([...head.verifyDraftSync(hidden, [1, 1], short).ids]).toEqual([1, 1, 0]);
    }
  });

  it('is refused as other calls refuse it, and ends before what no text can have', () => {
    for (const head of heads) {
      const hidden = new Float32Array(3 * V);
      const more = { history: [1], presencePenalty: 1, temperature: 0 };
      throwsKind(
        () => head.verifyDraftSync(hidden, [1, 1], { ...more, promptLength: 2 }),
        'RANGE',
        'promptLength: got 2 with a history of 1 tokens',
      );
      throwsKind(
        () => head.verifyDraftSync(hidden, [1, 1], { ...more, history: [V - 1] }),
        'RANGE',
        `history[0]: got ${V - 1}`,
      );
      // Padding is an id that a draft may have, and that is never accepted.
      const padding = head.verifyDraftSync(hidden, [0, V - 1], more);
      expect([...padding.ids]).toEqual([0, 2]);
    }
  });

  it('async is as sync, whatever becomes of the arrays', async () => {
    for (const head of heads) {
      const hidden = someNumbers(5 * V, 3);
      const history = Uint32Array.of(1, 2, 1);
      const draft = Uint32Array.of(2, 1, 2, 1);
      const options = { seed: 3, history, repetitionPenalty: 1.3, dryMultiplier: 1, noRepeatNgramSize: 4 };
      const wanted = head.verifyDraftSync(hidden, draft, options);
      const promise = head.verifyDraft(hidden, draft, options);
      history.fill(0);
      draft.fill(0);
      expect(await promise).toEqual(wanted);
    }
  });
});

it('rows of a long draft are adjusted as their own histories say', () => {
  const u = Float32Array.from({ length: 40 }, (_, i) => i / 4 - 5);
  const ids = fc.array(fc.nat(39), { minLength: 1, maxLength: 120 });
  fc.assert(
    fc.property(historical, ids, fc.array(fc.nat(39), { maxLength: 60 }), (given, draft, history) => {
      const options = { ...given, history, promptLength: history.length >> 1 } as SampleOptions;
      const n = draft.length + 1;
      const together = adjustmentsOf(options, n, 40, 40, Uint32Array.from(draft));
      for (let row = 0; row < n; row++) {
        const one = adjustmentsOf(continued(options, draft.slice(0, row)), 1, 40, 40);
        expect(adjustedRow(u, row, together)).toEqual(adjustedRow(u, 0, one));
      }
    }),
    { numRuns: 60, seed: 3 },
  );
});
