/** One step of beam search, against its definition: every continuation of every beam, sorted. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BeamOptions, LMHead } from '../../lib';
import { backends } from '../support/backends';
import { throwsKind } from '../support/errors';
import { makeHead, V as small, someHidden } from '../support/heads';
import { someNumbers } from '../support/numbers';

const [V, d] = [90, 9];

/** By candidates, which are all that may be drawn. */
function naive(head: LMHead, hidden: Float32Array, scores: number[], options: BeamOptions) {
  const { count = scores.length, ...draw } = options;
  const all = scores.flatMap((score, parent) => {
    const row = hidden.subarray(parent * d, (parent + 1) * d);
    const history = (draw.history as number[][] | undefined)?.[parent];
    const { ids, probs } = head.candidatesSync(row, { ...draw, history });
    return score === -Infinity
      ? []
      : [...ids].map((id, i) => ({ parent, id, score: score + Math.log(probs[i]) }));
  });
  return all.sort((a, b) => b.score - a.score || a.parent - b.parent || a.id - b.id).slice(0, count);
}

describe.each(backends)('beam, %s', backend => {
  // Quarters: equal sums come up.
  const weight = someNumbers(V * d, 3).map(x => Math.round(4 * x) / 4);
  const head = LMHead.from(weight, { vocabSize: V, hiddenSize: d, backend, validVocabSize: 80 });

  it('is the best of all continuations', () => {
    const score = fc.oneof(fc.constant(-Infinity), fc.double({ min: -30, max: 0, noNaN: true }));
    fc.assert(
      fc.property(
        fc.array(score, { minLength: 1, maxLength: 6 }),
        fc.option(fc.integer({ min: 1, max: 200 }), { nil: undefined }),
        fc.constantFrom<BeamOptions>(
          {},
          { topK: 7 },
          { temperature: 0.5, bannedIds: [1, 2, 3], logitBias: { 9: 4 } },
          { topP: 0.8, allowedIds: [1, 5, 9, 13, 60] },
        ),
        fc.nat(1000),
        (scores, count, options, seed) => {
          const hidden = someNumbers(scores.length * d, seed);
          const wanted = naive(head, hidden, scores, { ...options, count });
          const got = head.beamSync(hidden, scores, { ...options, count });
          expect(got.ids.length).toBe(wanted.length);
          wanted.forEach(({ score }, i) => {
            // Where sums are a rounding apart their order may differ, and not what they are.
            expect(Math.abs(got.scores[i] - score)).toBeLessThan(1e-5);
            expect(got.scores[i]).toBe(scores[got.parents[i]] + got.logProbs[i]);
            expect(i === 0 || got.scores[i] <= got.scores[i - 1]).toBe(true);
          });
          const pairs = new Set(Array.from(got.ids, (id, i) => `${got.parents[i]} ${id}`));
          expect(pairs.size).toBe(wanted.length);
        },
      ),
      { numRuns: 150 },
    );
  });

  it('of equal sums the lower beam, then the lower id', () => {
    const flat = LMHead.from(new Float32Array(4 * d), { vocabSize: 4, hiddenSize: d, backend });
    const { parents, ids } = flat.beamSync(new Float32Array(2 * d), [0, 0], { count: 5 });
    expect([[...parents], [...ids]]).toEqual([
      [0, 0, 0, 0, 1],
      [0, 1, 2, 3, 0],
    ]);
  });

  it('has a history for each beam, and the same bits alone or as a promise', async () => {
    const hidden = someNumbers(3 * d, 8);
    const options = { history: [[1], [2, 2], [3]], repetitionPenalty: 1.4, noRepeatNgramSize: 1, count: 9 };
    const scores = Float32Array.of(-1, -1.5, -2);
    const beams = head.beamSync(hidden, scores, options);
    expect(await head.beam(hidden, scores, options)).toEqual(beams);
    beams.ids.forEach((id, i) => {
      expect(options.history[beams.parents[i]]).not.toContain(id);
    });
    const alone = head.beamSync(hidden.subarray(0, d), [-1], { ...options, history: [1] });
    Array.from(beams.ids).forEach((id, i) => {
      if (beams.parents[i] !== 0) return;
      const at = alone.ids.indexOf(id);
      if (at >= 0) expect(beams.scores[i]).toBe(alone.scores[at]);
    });
    expect(JSON.parse(JSON.stringify(beams)).ids).toEqual([...beams.ids]);
  });

  it('finds the likeliest text that there is', () => {
    // A model of two tokens ahead: the greedy first token is not that of the likeliest pair.
    const next = [
      [0.6, 0.4, 0],
      [0.5, 0.5, 0],
      [0.05, 0.9, 0.05],
    ];
    const logits = Float32Array.from(next.flat(), p => Math.max(Math.log(p), -50));
    const identity = Float32Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1);
    const model = LMHead.from(identity, { vocabSize: 3, hiddenSize: 3, backend });
    const rowOf = (i: number) => logits.subarray(3 * i, 3 * i + 3);
    const first = model.beamSync(rowOf(0), [0], { count: 2 });
    expect([...first.ids]).toEqual([0, 1]);
    const states = Float32Array.from([...first.ids].flatMap(id => [...rowOf(id + 1)]));
    const second = model.beamSync(states, first.scores, { count: 1 });
    expect([second.parents[0], second.ids[0]]).toEqual([1, 1]);
    expect(second.scores[0]).toBeCloseTo(Math.log(0.4 * 0.9), 5);
  });

  it('takes no beams, and refuses wrong values', () => {
    const tiny = makeHead(backend);
    const h = someHidden(2);
    expect(tiny.beamSync(new Float32Array(0), []).ids).toEqual(new Uint32Array(0));
    expect(tiny.beamSync(h, [-Infinity, -Infinity]).ids).toEqual(new Uint32Array(0));
    expect(tiny.beamSync(h, [0, 0], { count: 1000 }).ids.length).toBe(2 * small);
    throwsKind(() => tiny.beamSync(h, [0]), 'SHAPE', 'scores');
    throwsKind(() => tiny.beamSync(h, [0, Number.NaN]), 'RANGE', 'scores[1]');
    throwsKind(() => tiny.beamSync(h, [0, Infinity]), 'RANGE', 'scores[1]');
    throwsKind(() => tiny.beamSync(h, [0, '1' as never]), 'ARGUMENT', 'scores[1]');
    throwsKind(() => tiny.beamSync(h, 3 as never), 'ARGUMENT', 'scores');
    throwsKind(() => tiny.beamSync(h, [0, 0], { count: 0 }), 'RANGE', 'count');
    throwsKind(() => tiny.beamSync(h, [0, 0], { count: 1001 }), 'RANGE', 'count');
    throwsKind(() => tiny.beamSync(h, [0, 0], { seed: 1 } as never), 'ARGUMENT', 'seed');
    throwsKind(() => tiny.beamSync(h, [0, 0], { allowedIds: [] }), 'RANGE', 'allowedIds');
  });
});
