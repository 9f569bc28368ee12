/** `allowedIds` of few ids: the same tokens as with a mask over all, from those rows alone. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import type { SampleOptions } from '../../lib/types';
import { backends } from '../support/backends';
import { throwsKind } from '../support/errors';
import { expectClose, someNumbers } from '../support/numbers';

const V = 640;
const D = 9;
const N = 4;
/** Integers: exact in every backend, with ties. */
const whole = (count: number, seed: number) => someNumbers(count, seed).map(x => Math.round(3 * x));
const hidden = whole(N * D, 2);
const few = [600, 3, 4, 5, 77, 31, 32];
const samplings: SampleOptions[] = [
  {},
  { temperature: 0 },
  { temperature: 0.5 },
  { topK: 3 },
  { topP: 0.6, temperature: 1.5 },
  { minP: 0.2 },
  { logitBias: { 5: 2, 77: -1, 100: 50 } },
  { bannedIds: [3, 4] },
];

describe.skipIf(backends.length < 2)('few allowed ids', () => {
  const [native, reference] = backends.map(backend =>
    LMHead.from(whole(V * D, 1), { vocabSize: V, hiddenSize: D, backend, bias: whole(V, 3) }),
  );

  it.each(samplings)('draw what the definition says: %o', options => {
    const perRow = Array.from({ length: N }, (_, row) => few.slice(row));
    for (let seed = 0; seed < 50; seed++) {
      for (const allowedIds of [few, few.map(BigInt) as never, perRow, [few, [1], [2, 639], few]]) {
        const at = { ...options, allowedIds, seed };
        const [a, b] = [native.sampleSync(hidden, at), reference.sampleSync(hidden, at)];
        expect(a.ids).toEqual(b.ids);
        expectClose(a.logProbs, b.logProbs, { relative: 1e-6, absolute: 1e-6 });
        const [c, d] = [native.candidatesSync(hidden, at), reference.candidatesSync(hidden, at)];
        expect(c.ids).toEqual(d.ids);
        expect(c.offsets).toEqual(d.offsets);
      }
    }
  });

  it('a sample has the same bits beside other results, which need every row, and beside rows that allow many', () => {
    const head = LMHead.from(someNumbers(V * D, 1), { vocabSize: V, hiddenSize: D });
    const states = someNumbers(N * D, 2);
    const all = Array.from({ length: V }, (_, id) => id);
    for (let seed = 0; seed < 50; seed++) {
      for (const options of samplings) {
        const at = { ...options, allowedIds: few, seed };
        const alone = head.sampleSync(states, at);
        expect(head.runSync(states, { ...at, sample: true }).sample).toEqual(alone);
        expect(
          head.sampleSync(states, { ...at, allowedIds: [few, few, few, all] }).logProbs.subarray(0, 3),
        ).toEqual(alone.logProbs.subarray(0, 3));
      }
    }
  });

  it.each(backends)('%s: what may not be drawn may be NaN', backend => {
    const weight = whole(V * D, 1);
    weight[200 * D] = NaN;
    const odd = LMHead.from(weight, { vocabSize: V, hiddenSize: D, backend });
    const h = hidden.map(x => x || 1);
    const most = Array.from({ length: V }, (_, id) => id).filter(id => id !== 200);
    for (const allowedIds of [few, most])
      for (const id of odd.sampleSync(h, { allowedIds, seed: 1 }).ids) expect(allowedIds).toContain(id);
    throwsKind(() => odd.sampleSync(h, { allowedIds: [3, 200], seed: 1 }), 'NAN', 'id 200');
    throwsKind(() => odd.sampleSync(h, { seed: 1 }), 'NAN', 'id 200');
  });

  it.each(backends)('%s: a draft is held against what may be drawn', backend => {
    const head = backend === 'native' ? native : reference;
    const other = backend === 'native' ? reference : native;
    for (let seed = 0; seed < 100; seed++) {
      const at = { allowedIds: few, logitBias: { 77: 1.5 }, seed };
      const draft = [few[seed % 7], few[(seed * 3) % 7], 9];
      const verdict = head.verifyDraftSync(hidden, draft, at);
      expect(verdict.accepted).toBeLessThan(3);
      for (const id of verdict.ids) expect(few).toContain(id);
      const { accepted, ids } = other.verifyDraftSync(hidden, draft, at);
      expect({ accepted, ids }).toEqual({ accepted: verdict.accepted, ids: verdict.ids });
    }
    throwsKind(() => head.verifyDraftSync(hidden, [1, 2, 3], { allowedIds: [4], bannedIds: [4] }), 'RANGE');
  });
});
