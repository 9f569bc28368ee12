/** Speculative verification: what is accepted, by ids that are known, and what counts in nothing. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import type { DraftResult } from '../../lib/types';
import { backends } from '../support/backends';
import { logits, logProbs, P, transparent, withNaN } from '../support/drafts';
import { throwsKind } from '../support/errors';
import { someNumbers } from '../support/numbers';

describe.each(backends)('verifyDraft: %s', backend => {
  const head = transparent(backend, P.length);

  it('greedy: the likeliest are accepted, ties going to the lowest id', () => {
    const rows = [
      [1, 3, 3, 0, 0, 0],
      [0, 0, 0, 2, 1, 0],
      [9, 9, 0, 0, 0, 9],
    ];
    const hidden = Float32Array.from(rows.flat());
    const verify = (draft: number[], h = hidden) => head.verifyDraftSync(h, draft, { temperature: 0 });
    const verdict = (accepted: number, ...ids: number[]): DraftResult => ({
      accepted,
      ids: Uint32Array.from(ids),
      logProbs: new Float32Array(ids.length),
    });
    expect(verify([1, 3])).toEqual(verdict(2, 1, 3, 0));
    expect(verify([1, 4])).toEqual(verdict(1, 1, 3));
    expect(verify([2, 3])).toEqual(verdict(0, 1));
    expect(verify([1, 3, 0])).toEqual(verdict(3, 1, 3, 0));
    expect(verify([1, 3, 5])).toEqual(verdict(2, 1, 3, 0));
    expect(verify([], hidden.subarray(0, 6))).toEqual(verdict(0, 1));
    expect(verify([], hidden.subarray(0, 0))).toEqual(verdict(0));
  });

  it('a token that cannot be drawn is never accepted, not even padding', () => {
    const padded = transparent(backend, 6, { validVocabSize: 4 });
    for (let step = 0; step < 200; step++) {
      const at = { seed: 1, step };
      const { ids, accepted } = padded.verifyDraftSync(Float32Array.from(logits(P)), [5], at);
      expect(accepted).toBe(0);
      expect(ids[0]).toBeLessThan(4);
      const top = head.verifyDraftSync(Float32Array.from(logits(P)), [1], { ...at, topK: 1 });
      expect(top).toEqual({ accepted: 0, ids: Uint32Array.of(0), logProbs: Float32Array.of(0) });
      // A draft that says it could not have drawn its own token is no reason to take one that p forbids.
      const odd = [0.5, 0.5, 0, 0, 0, 0];
      expect(
        head.verifyDraftSync(Float32Array.from(logits(P)), [5], { draftLogProbs: logProbs(odd), ...at })
          .accepted,
      ).toBe(0);
    }
  });

  it('one call is a chain of calls; async is as sync', async () => {
    const [size, d, n] = [400, 33, 6];
    const model = LMHead.from(someNumbers(size * d, 1), {
      vocabSize: size,
      hiddenSize: d,
      backend,
      logitScale: 2,
      norm: { type: 'rmsnorm', weight: someNumbers(d, 5), eps: 1e-5 },
    });
    const hidden = someNumbers(n * d, 2);
    const seen = new Set<number>();
    for (let seed = 0; seed < 30; seed++) {
      const at = { seed, step: 100, temperature: [0.7, 1, 1.5, 0.2, 1, 1], topP: 0.9, norm: true } as const;
      const q = model.logProbsSync(hidden, { norm: true });
      const draft = model.sampleSync(hidden, { norm: true, seed: 1, step: n * seed }).ids.subarray(0, n - 1);
      const rows = q.subarray(0, (n - 1) * size);
      const verdict = model.verifyDraftSync(hidden, draft, { draftLogProbs: rows, ...at });
      seen.add(verdict.accepted);
      expect(await model.verifyDraft(hidden, draft, { draftLogProbs: rows, ...at })).toEqual(verdict);
      const ids: number[] = [];
      for (let i = 0; i < n; i++) {
        const one = model.verifyDraftSync(hidden.subarray(i * d, (i + 1) * d), draft.subarray(i, i + 1), {
          draftLogProbs: i < n - 1 ? rows.subarray(i * size, (i + 1) * size) : undefined,
          ...at,
          temperature: at.temperature[i],
          step: 100 + i,
        });
        ids.push(one.ids[0]);
        if (one.accepted === 0) break;
      }
      expect([...verdict.ids]).toEqual(ids);
      const short = model.verifyDraftSync(hidden.subarray(0, (n - 1) * d), draft, {
        draftLogProbs: rows,
        ...at,
        temperature: at.temperature.slice(0, n - 1),
      });
      expect(short.accepted).toBe(verdict.accepted);
      expect(short.ids).toEqual(verdict.ids.subarray(0, Math.min(n - 1, short.accepted + 1)));
    }
    expect(seen.size).toBeGreaterThan(2); // of lengths accepted
  });

  it.each([
    ['in order', [0, 2, 3, 5]],
    ['in any order', [3, 5, 0, 2]],
  ])('rows, %s: as if every other id could not be drawn', (_, rows) => {
    const without = P.map((x, id) => (rows.includes(id) ? Math.log(x + 0.1) : -1e4));
    const q = [0.1, 0.1, 0.3, 0.2, 0.2, 0.1];
    const seen = new Set<number>();
    for (let step = 0; step < 300; step++) {
      const drafted = step % P.length;
      const at = { seed: 4, step, topP: step % 2 ? 0.9 : 1, logitBias: { 3: 0.5 } };
      const hidden = Float32Array.from(P, x => Math.log(x + 0.1));
      for (const certain of [false, true]) {
        const wanted = head.verifyDraftSync(Float32Array.from(without), [drafted], {
          draftLogProbs: certain ? undefined : logProbs(q),
          ...at,
        });
        const its = certain ? undefined : Float32Array.from(rows, id => Math.log(q[id]));
        const verdict = head.verifyDraftSync(hidden, [drafted], { draftLogProbs: its, ...at, rows });
        expect(verdict).toEqual(wanted);
        if (!rows.includes(drafted)) expect(verdict.accepted).toBe(0);
        seen.add(verdict.ids[0]);
      }
    }
    expect([...seen].sort()).toEqual([...rows].sort());
    const greedy = head.verifyDraftSync(Float32Array.of(9, 1, 2, 3, 4, 9), [5], {
      temperature: 0,
      rows,
    });
    expect([greedy.accepted, ...greedy.ids]).toEqual([0, 0]);
  });

  it('rows: an error names the id, and async is as sync', async () => {
    const at = { seed: 2, rows: [4, 1, 2] };
    const hidden = Float32Array.from(logits(P));
    const q = Float32Array.of(-1, -2, -0.7);
    const wanted = head.verifyDraftSync(hidden, [1], { draftLogProbs: q, ...at });
    const promise = head.verifyDraft(hidden, [1], { draftLogProbs: q, ...at });
    q.fill(0);
    expect(await promise).toEqual(wanted);
    const sick = withNaN(backend, P.length, 4);
    throwsKind(() => sick.verifyDraftSync(hidden, [1], at), 'NAN', 'row 0', 'id 4');
    expect(sick.verifyDraftSync(hidden, [4], { ...at, rows: [2, 1] }).accepted).toBe(0);
    const banned = { ...at, bannedIds: [1, 2, 4] };
    throwsKind(() => head.verifyDraftSync(hidden, [1], banned), 'RANGE', 'row 0');
  });

  it('allowedIds: what may not be drawn is not looked at where few may', () => {
    const size = 640;
    const wide = backend === 'native' ? withNaN(backend, size, 600) : transparent(backend, size);
    const hidden = someNumbers(size, 8).map(x => 3 * x);
    const allowedIds = [5, 77, 501];
    for (let step = 0; step < 60; step++) {
      const at = { seed: 1, step };
      const verdict = wide.verifyDraftSync(hidden, [77], { ...at, allowedIds });
      const same = wide.verifyDraftSync(hidden, [77], { ...at, rows: allowedIds });
      expect(verdict).toEqual(same);
    }
  });

  it.each([0, 0.7, 1, 20])(
    'never accepts an id of probability 0 in the draft, temperature %s',
    temperature => {
      const hidden = Float32Array.from([...logits(P), ...logits(P)]);
      const q = Float32Array.of(-Infinity, 0, -Infinity, -Infinity, -Infinity, -Infinity);
      for (let step = 0; step < 200; step++) {
        const verdict = head.verifyDraftSync(hidden, [0], { draftLogProbs: q, seed: 4, step, temperature });
        expect(verdict.accepted).toBe(0);
        if (temperature === 0) expect([...verdict.ids]).toEqual([0]);
      }
      // Tiny is not 0, though e^-10000 is.
      const tiny = q.with(0, -1e4);
      expect(head.verifyDraftSync(hidden, [0], { draftLogProbs: tiny, seed: 4, temperature }).accepted).toBe(
        1,
      );
    },
  );

  it('copies the draft before it returns a promise', async () => {
    const q = logProbs([0.2, 0.1, 0.3, 0.2, 0.1, 0.1]);
    const draft = Uint32Array.of(4);
    const hidden = Float32Array.from(logits(P));
    const at = { seed: 2, step: 1 };
    const wanted = head.verifyDraftSync(hidden, draft, { draftLogProbs: q, ...at });
    const promise = head.verifyDraft(hidden, draft, { draftLogProbs: q, ...at });
    q.fill(0);
    draft[0] = 0;
    expect(await promise).toEqual(wanted);
  });

  it('rows after the one where the draft ends count in nothing', () => {
    const hidden = Float32Array.from([...logits(P), ...P.map(() => NaN)]);
    expect(head.verifyDraftSync(hidden, [5], { seed: 1 }).accepted).toBe(0);
    const sick = Float32Array.from([...logits([1, 0, 0, 0, 0, 0]), ...P.map(() => NaN)]);
    throwsKind(() => head.verifyDraftSync(sick, [0]), 'NAN', 'row 1');
  });
});
