/** promptLength: presence and frequency are of what follows the prompt, repetition of all. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { candidatesOf, LMHead, type SampleOptions, sampleFrom } from '../../lib';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';

/** ln p(0)/p(1) of logits 1 and 0. */
function odds(options: SampleOptions): number {
  const { ids, probs } = candidatesOf(Float32Array.of(1, 0), 2, options);
  return Math.log(probs[ids.indexOf(0)] / probs[ids.indexOf(1)]);
}

describe('promptLength', () => {
  it('is what vLLM counts by', () => {
    const both = { history: [0, 0], promptLength: 1 };
    expect(odds({ ...both, repetitionPenalty: 2, frequencyPenalty: 0.6 })).toBeCloseTo(1 / 2 - 0.6, 6);
    expect(odds({ ...both, repetitionPenalty: 2, presencePenalty: 0.6 })).toBeCloseTo(1 / 2 - 0.6, 6);
    expect(odds({ history: [0], promptLength: 1, presencePenalty: 9, frequencyPenalty: 9 })).toBeCloseTo(
      1,
      6,
    );
    expect(odds({ history: [0], promptLength: 1, repetitionPenalty: 4 })).toBeCloseTo(1 / 4, 6);
    expect(odds({ history: [0, 0], frequencyPenalty: 0.6 })).toBeCloseTo(1 - 1.2, 6);
  });

  it('leaves what repeats to all of the history', () => {
    const history = [0, 1, 0];
    expect(odds({ history, promptLength: 3, dryMultiplier: 2, dryAllowedLength: 1 })).toBeCloseTo(1 + 2, 6);
    const ngram = candidatesOf(Float32Array.of(1, 0), 2, { history, promptLength: 3, noRepeatNgramSize: 2 });
    expect([...ngram.ids]).toEqual([0]);
  });

  it('is by its definition, with a window, one for all rows or one for each', () => {
    const V = 6;
    const tokens = fc.array(fc.nat(V - 1), { maxLength: 30 });
    fc.assert(
      fc.property(tokens, fc.nat(), fc.nat(), fc.nat(40), (history, first, second, size) => {
        const prompts = [first, second].map(x => x % (history.length + 1));
        const at = { history, penaltyWindow: size };
        const by = { repetitionPenalty: 1.5, frequencyPenalty: 0.25, presencePenalty: 0.5 };
        const u = Float32Array.from({ length: V }, (_, id) => id - 2);
        const rows = Float32Array.of(...u, ...u);
        const wanted = prompts.map(prompt => {
          const weights = Array.from(u, (x, id) => {
            const places = history.flatMap((token, i) =>
              token === id && i >= history.length - size ? [i] : [],
            );
            const count = places.filter(i => i >= prompt).length;
            const penalized = places.length === 0 ? x : x > 0 ? x / 1.5 : x * 1.5;
            return Math.exp(penalized - 0.25 * count - (count > 0 ? 0.5 : 0));
          });
          const sum = weights.reduce((a, b) => a + b);
          return weights.map(w => w / sum);
        });
        const check = (promptLength: number | number[], of: number[][]) => {
          const { ids, probs, offsets } = candidatesOf(rows, V, { ...at, ...by, promptLength });
          for (const row of [0, 1])
            for (let i = offsets[row]; i < offsets[row + 1]; i++)
              expect(probs[i]).toBeCloseTo(of[row][ids[i]], 6);
        };
        check(prompts, wanted);
        check(prompts[0], [wanted[0], wanted[0]]);
        if (prompts[0] === 0) {
          const without = candidatesOf(rows, V, { ...at, ...by });
          expect(candidatesOf(rows, V, { ...at, ...by, promptLength: 0 })).toEqual(without);
        }
      }),
      { numRuns: 500, seed: 1 },
    );
  });

  it('is no part of the length that minLength is about, unless that is given', () => {
    const flat = new Float32Array(3);
    const left = (options: SampleOptions) =>
      candidatesOf(flat, 3, { eosIds: [0], minLength: 2, ...options }).ids;
    expect(left({ history: [1, 1, 1] })).toHaveLength(3);
    expect(left({ history: [1, 1, 1], promptLength: 2 })).toHaveLength(2);
    expect(left({ history: [1, 1, 1], promptLength: 1 })).toHaveLength(3);
    expect(left({ history: [1, 1, 1], promptLength: 3, length: 2 })).toHaveLength(3);
  });

  it('is at most the length of the history', async () => {
    const flat = new Float32Array(6);
    const refused = (options: SampleOptions, kind: 'RANGE' | 'ARGUMENT' | 'SHAPE', ...words: string[]) =>
      throwsKind(() => sampleFrom(flat, 3, options), kind, ...words);
    const history = [1, 2];
    refused({ history, promptLength: 3 }, 'RANGE', 'promptLength: got 3 with a history of 2 tokens');
    refused({ history, promptLength: [2, 3] }, 'RANGE', 'promptLength[1]: got 3 with a history of 2');
    refused({ history: [history, []], promptLength: 1 }, 'RANGE', 'promptLength: got 1 with a history of 0');
    refused({ history, promptLength: -1 }, 'RANGE', 'promptLength');
    refused({ history, promptLength: 0.5 }, 'RANGE', 'promptLength');
    refused({ history, promptLength: [1] }, 'SHAPE', 'promptLength');
    refused({ history, promptLength: '1' as unknown as number }, 'ARGUMENT', 'promptLength');
    refused({ promptLength: 0 }, 'RANGE', 'promptLength: got 0 without history; want history too');
    const head = LMHead.from(new Float32Array(3), { vocabSize: 3, hiddenSize: 1 });
    const bad = { history, promptLength: 3 };
    await rejectsKind(() => head.sample(Float32Array.of(1), bad), 'RANGE', 'promptLength');
    throwsKind(() => head.runSync(Float32Array.of(1), { sample: true, ...bad }), 'RANGE', 'promptLength');
  });
});

describe.each(backends)('promptLength, %s', backend => {
  // Logits 1, 0.8 and 0.5 of the state 1.
  const head = LMHead.from(Float32Array.of(1, 0.8, 0.5), { vocabSize: 3, hiddenSize: 1, backend });
  const state = Float32Array.of(1);

  it('is taken by every method that draws', async () => {
    const options = { history: [0, 0, 1], promptLength: 2, presencePenalty: 5, temperature: 0 };
    expect([...head.sampleSync(state, options).ids]).toEqual([0]);
    expect([...(await head.sample(state, options)).ids]).toEqual([0]);
    expect([...head.candidatesSync(state, options).ids]).toEqual([0]);
    expect([...head.runSync(state, { sample: true, ...options }).sample.ids]).toEqual([0]);
    const draft = head.verifyDraftSync(Float32Array.of(1, 1, 1), [0, 2], options);
    expect([...draft.ids]).toEqual([0, 2, 0]);
    const each = { ...options, promptLength: [2, 0] };
    expect([...head.sampleSync(Float32Array.of(1, 1), each).ids]).toEqual([0, 2]);
  });
});
