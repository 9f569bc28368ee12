/** Speculative verification: the tokens that come out have the target's distribution, whatever the draft's is. */
import { describe, expect, it } from 'vitest';
import { backends } from '../support/backends';
import { draftFrom, logits, logProbs, normalized, P, transparent } from '../support/drafts';
import { someNumbers } from '../support/numbers';

/** Σ (observed − expected)²/expected, and the degrees of freedom. Nothing may be observed where nothing is expected. */
function chiSquare(counts: readonly number[], p: readonly number[]): { statistic: number; freedom: number } {
  const total = counts.reduce((a, b) => a + b);
  let statistic = 0;
  let freedom = -1;
  p.forEach((share, id) => {
    if (share === 0) {
      expect(counts[id]).toBe(0);
      return;
    }
    statistic += (counts[id] - total * share) ** 2 / (total * share);
    freedom++;
  });
  return { statistic, freedom };
}

/** Exceeded with probability about 0.001 (Wilson and Hilferty's approximation); seeds are fixed, so this is once for all. */
function expectDistribution(counts: readonly number[], p: readonly number[]): void {
  const { statistic, freedom } = chiSquare(counts, p);
  if (freedom === 0) return;
  const t = 2 / (9 * freedom);
  expect(statistic).toBeLessThan(freedom * (1 - t + 3.09 * Math.sqrt(t)) ** 3);
}

const pairs: [string, number[], number[]][] = [
  ['p = q', P, P],
  ['near', P, [0.3, 0.3, 0.2, 0.05, 0.1, 0.05]],
  ['far', P, [0.01, 0.02, 0.02, 0.05, 0.2, 0.7]],
  ['disjoint', [0.5, 0.5, 0, 0, 0, 0], [0, 0, 0.25, 0.25, 0.25, 0.25]],
  ['q on one id', P, [0, 0, 1, 0, 0, 0]],
  ['p on one id', [0, 0, 0, 1, 0, 0], P],
];

describe.each(backends)('verifyDraft: %s', backend => {
  const head = transparent(backend, P.length);
  const DRAWS = backend === 'native' ? 10000 : 1500;

  it.each(pairs)('%s: the first token has distribution p, and is accepted with Σ min(p, q)', (_, p, q) => {
    const uniforms = someNumbers(DRAWS, 77);
    const counts = P.map(() => 0);
    let accepted = 0;
    for (let i = 0; i < DRAWS; i++) {
      const id = draftFrom(q, (uniforms[i] + 1) / 2);
      const verdict = head.verifyDraftSync(Float32Array.from(logits(p)), [id], {
        draftLogProbs: logProbs(q),
        seed: 5,
        step: i,
      });
      counts[verdict.ids[0]]++;
      accepted += verdict.accepted;
      expect(verdict.ids).toHaveLength(1);
      if (verdict.accepted) expect(verdict.ids[0]).toBe(id);
      else expect(p[verdict.ids[0]]).toBeGreaterThan(q[verdict.ids[0]]);
    }
    expectDistribution(counts, p);
    const share = p.reduce((sum, x, id) => sum + Math.min(x, q[id]), 0);
    if (share > 1 - 1e-9) expect(accepted).toBe(DRAWS);
    else if (share === 0) expect(accepted).toBe(0);
    else expectDistribution([accepted, DRAWS - accepted], [share, 1 - share]);
  });

  it.each([
    ['temperature', { temperature: 2 }, normalized(P.map(Math.sqrt))],
    ['top-k', { topK: 2 }, normalized([0.4, 0.3, 0, 0, 0, 0])],
    ['top-p', { topP: 0.8 }, normalized([0.4, 0.3, 0.15, 0, 0, 0])],
    ['min-p and temperature', { minP: 0.3, temperature: 0.5 }, normalized([0.16, 0.09, 0.0225, 0, 0, 0])],
  ])('%s: p is what sample draws from', (_, options, p) => {
    const q = [0.2, 0.1, 0.3, 0.2, 0.1, 0.1];
    const uniforms = someNumbers(DRAWS, 78);
    const counts = P.map(() => 0);
    for (let i = 0; i < DRAWS; i++) {
      const id = draftFrom(q, (uniforms[i] + 1) / 2);
      const at = { ...options, seed: 6, step: i };
      const { ids, logProbs: its } = head.verifyDraftSync(Float32Array.from(logits(P)), [id], {
        draftLogProbs: logProbs(q),
        ...at,
      });
      counts[ids[0]]++;
      expect(its[0]).toBeCloseTo(Math.log(p[ids[0]]), 5);
    }
    expectDistribution(counts, p);
  });

  it('a draft that is certain: accepted with p(id), and the correction is another', () => {
    const counts = P.map(() => 0);
    let accepted = 0;
    for (let step = 0; step < DRAWS; step++) {
      const verdict = head.verifyDraftSync(Float32Array.from(logits(P)), [2], { seed: 8, step });
      counts[verdict.ids[0]]++;
      accepted += verdict.accepted;
      expect(verdict.ids[0] === 2).toBe(verdict.accepted === 1);
    }
    expectDistribution(counts, P);
    expect(accepted).toBe(counts[2]);
  });

  it('every position of a longer draft has its own p, and so has the bonus', () => {
    const rows = [P, normalized([1, 2, 3, 4, 5, 6]), normalized([5, 0, 1, 1, 0, 9])];
    const qs = [normalized([3, 3, 2, 1, 1, 0]), normalized([1, 1, 1, 2, 2, 2])];
    const uniforms = someNumbers(2 * DRAWS, 79);
    const counts = rows.map(row => row.map(() => 0));
    const hidden = Float32Array.from(rows.flatMap(logits));
    const q = Float32Array.from(qs.flat(), Math.log);
    for (let i = 0; i < DRAWS; i++) {
      const draft = qs.map((its, position) => draftFrom(its, (uniforms[2 * i + position] + 1) / 2));
      // Steps are not used again by the rows of another draw.
      const { ids, accepted } = head.verifyDraftSync(hidden, draft, {
        draftLogProbs: q,
        seed: 9,
        step: 3 * i,
      });
      expect(ids).toHaveLength(accepted + 1);
      ids.forEach((id, position) => {
        counts[position][id]++;
      });
    }
    // Which position is reached depends on those before it, and on nothing of its own.
    rows.forEach((p, position) => {
      expectDistribution(counts[position], p);
    });
  });
});
