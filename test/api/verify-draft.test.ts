/** Speculative verification: the tokens that come out have the target's distribution, whatever the draft's is. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { rowParameters } from '../../lib/arguments/row-parameters';
import type { LogitsJob } from '../../lib/backend/backend';
import { nativeLogits } from '../../lib/backend/native';
import { referenceLogits } from '../../lib/reference/backend';
import { distributionOf, logProb } from '../../lib/reference/distribution';
import type { DraftResult, HeadOptions, SampleOptions } from '../../lib/types';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { headUnderTest, someHidden, V } from '../support/heads';
import { someNumbers } from '../support/numbers';

/** A head whose logits are its hidden states, so that a test may say what p is. */
function transparent(
  backend: 'native' | 'reference',
  size: number,
  options: Partial<HeadOptions> = {},
): LMHead {
  const identity = new Float32Array(size * size);
  for (let i = 0; i < size; i++) identity[i * size + i] = 1;
  return LMHead.from(identity, { vocabSize: size, hiddenSize: size, backend, ...options });
}

/** As it, but what stands in the row of `id` is no number. */
function withNaN(backend: 'native' | 'reference', size: number, id: number): LMHead {
  const identity = new Float32Array(size * size);
  for (let i = 0; i < size; i++) identity[i * size + i] = i === id ? NaN : 1;
  return LMHead.from(identity, { vocabSize: size, hiddenSize: size, backend });
}

/** Logits of these probabilities; one that no temperature of these tests brings back stands for 0. */
const logits = (p: readonly number[]) => p.map(x => (x === 0 ? -1e4 : Math.log(x)));
const logProbs = (p: readonly number[]) => Float32Array.from(p, Math.log);

/** Draws from q with a generator of its own. */
function draftFrom(q: readonly number[], uniform: number): number {
  let left = uniform;
  for (let id = 0; id < q.length; id++) {
    left -= q[id];
    if (left < 0 && q[id] > 0) return id;
  }
  return q.findLastIndex(x => x > 0);
}

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

const normalized = (weights: readonly number[]) => {
  const sum = weights.reduce((a, b) => a + b);
  return weights.map(w => w / sum);
};
const P = [0.4, 0.3, 0.15, 0.1, 0.05, 0];
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

  it('every place of a longer draft has its own p, and so has the bonus', () => {
    const rows = [P, normalized([1, 2, 3, 4, 5, 6]), normalized([5, 0, 1, 1, 0, 9])];
    const qs = [normalized([3, 3, 2, 1, 1, 0]), normalized([1, 1, 1, 2, 2, 2])];
    const uniforms = someNumbers(2 * DRAWS, 79);
    const counts = rows.map(row => row.map(() => 0));
    const hidden = Float32Array.from(rows.flatMap(logits));
    const q = Float32Array.from(qs.flat(), Math.log);
    for (let i = 0; i < DRAWS; i++) {
      const draft = qs.map((its, place) => draftFrom(its, (uniforms[2 * i + place] + 1) / 2));
      // Steps are not used again by the rows of another draw.
      const { ids, accepted } = head.verifyDraftSync(hidden, draft, {
        draftLogProbs: q,
        seed: 9,
        step: 3 * i,
      });
      expect(ids).toHaveLength(accepted + 1);
      ids.forEach((id, place) => {
        counts[place][id]++;
      });
    }
    // Which place is reached depends on the places before it, and on nothing of its own.
    rows.forEach((p, place) => {
      expectDistribution(counts[place], p);
    });
  });

  it('greedy: the likeliest stand, ties going to the lowest id', () => {
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

  describe('errors', () => {
    const { head: it7, hidden, worksOn } = headUnderTest(backend);
    const q = new Float32Array(V).fill(Math.log(1 / V));
    it.each<[string, unknown[], 'SHAPE' | 'RANGE' | 'ARGUMENT' | 'DTYPE', string[]]>([
      ['too many ids', [[1, 2, 3]], 'SHAPE', ['draftIds: got 3 ids for 2 hidden states; want 2, or 1']],
      ['too few ids', [[]], 'SHAPE', ['draftIds: got 0 ids for 2']],
      ['no ids', [undefined], 'ARGUMENT', ['draftIds: got undefined']],
      ['an id beyond V', [[V]], 'RANGE', [`draftIds[0]: got ${V}; want an id below ${V}`]],
      [
        'too few log-probabilities',
        [[1, 2], { draftLogProbs: q }],
        'SHAPE',
        [`draftLogProbs: got ${V} elements`, `= ${2 * V}`],
      ],
      [
        'other numbers',
        [[1], { draftLogProbs: new Float64Array(V) }],
        'DTYPE',
        ['draftLogProbs: got a Float64Array'],
      ],
      ['a list', [[1], { draftLogProbs: [0] }], 'ARGUMENT', ['draftLogProbs: got an array']],
      [
        'NaN',
        [[1], { draftLogProbs: q.with(3, NaN) }],
        'RANGE',
        ['draftLogProbs[3]: got NaN; want log-probabilities'],
      ],
      [
        'logits',
        [[1], { draftLogProbs: q.with(2, 1.5) }],
        'RANGE',
        ['draftLogProbs[2]: got 1.5; want log-probabilities'],
      ],
      ['no rows', [[1], { rows: [] }], 'RANGE', ['rows: got no ids']],
      ['a row beyond V', [[1], { rows: [V] }], 'RANGE', [`rows[0]: got ${V}`]],
      [
        'log-probabilities of all ids for some rows',
        [[1], { draftLogProbs: q, rows: [3, 1] }],
        'SHAPE',
        [`draftLogProbs: got ${V} elements; want 1 · rows.length = 2`],
      ],
      [
        'NaN where rows are put in order',
        [[1], { draftLogProbs: Float32Array.of(0, NaN), rows: [3, 1] }],
        'RANGE',
        ['draftLogProbs[1]: got NaN'],
      ],
      [
        'a temperature below 0',
        [[1], { draftLogProbs: q, temperature: -1 }],
        'RANGE',
        ['temperature: got -1'],
      ],
      ['a norm that is not there', [[1], { draftLogProbs: q, norm: true }], 'RANGE', ['norm: got true']],
      [
        'log-probabilities as an argument',
        [[1], q],
        'ARGUMENT',
        ['options: got a Float32Array; want { draftLogProbs }'],
      ],
      [
        'options behind them',
        [[1], undefined, { temperature: 0 }],
        'ARGUMENT',
        ['arguments: got 4; want verifyDraft(hidden, draftIds, { draftLogProbs, … })'],
      ],
    ])('%s', async (_, args, kind, words) => {
      const verify = [hidden, ...args] as Parameters<LMHead['verifyDraftSync']>;
      throwsKind(() => it7.verifyDraftSync(...verify), kind, ...words);
      await rejectsKind(() => it7.verifyDraft(...verify), kind, ...words);
      worksOn();
    });
    it('closed', async () => {
      const { head: closed } = headUnderTest(backend);
      closed.close();
      throwsKind(() => closed.verifyDraftSync(someHidden(1), []), 'CLOSED');
      await rejectsKind(() => closed.verifyDraft(someHidden(1), []), 'CLOSED');
    });
  });
});

describe.skipIf(backends.length < 2)('verifyDraft: native and reference', () => {
  const rows: [string, (size: number, seed: number) => Float32Array][] = [
    ['plain', (size, seed) => someNumbers(size, seed).map(x => 4 * x)],
    ['peaked', (size, seed) => someNumbers(size, seed).map(x => (x > 0.9 ? 60 * x : 5 * x))],
    ['flat', size => new Float32Array(size).fill(1.25)],
    ['full of ties', (size, seed) => someNumbers(size, seed).map(x => Math.round(2 * x))],
    ['wide', (size, seed) => someNumbers(size, seed).map(x => 1e30 * x)],
    [
      'nearly all -Infinity',
      (size, seed) => someNumbers(size, seed).map((x, i) => (i % 97 === size % 97 ? x : -Infinity)),
    ],
  ];
  const samplings: SampleOptions[] = [
    {},
    { temperature: 0 },
    { temperature: 0.3 },
    { temperature: 1e-30 },
    { temperature: 50 },
    { topK: 1 },
    { topP: 0.8, temperature: 1.4 },
    { minP: 0.1 },
  ];

  it.each(rows)('%s rows: the same tokens on the same logits, always', (_, make) => {
    let tokens = 0;
    const accepted = [0, 0, 0, 0];
    for (const size of [1, 2, 17, 256, 700, 3000]) {
      for (let trial = 0; trial < (size > 500 ? 3 : 20); trial++) {
        const n = 4;
        const u = new Float32Array(n * size);
        const q = new Float32Array((n - 1) * size);
        const ids = new Uint32Array(n - 1);
        for (let row = 0; row < n; row++) {
          const its = make(size, 31 * trial + row);
          if (!its.some(Number.isFinite)) its[size >> 1] = 1;
          u.set(its, row * size);
          if (row === n - 1) continue;
          // A draft that is not far off: drawn from the same logits, a little shaken.
          const shaken = its.map((x, i) => (trial % 3 === 0 ? x : x * (1 + 0.3 * Math.sin(i))));
          const distribution = distributionOf(shaken, size, 1 + (trial % 2));
          q.set(
            shaken.map(x => logProb(distribution, x)),
            row * size,
          );
          const uniform = (someNumbers(1, 7 * trial + row)[0] + 1) / 2;
          ids[row] = draftFrom([...q.subarray(row * size, (row + 1) * size)].map(Math.exp), uniform);
        }
        for (const options of samplings) {
          for (const logProbs of [q, undefined]) {
            const at = {
              ...options,
              topK: Math.min(options.topK as number, size) || 0,
              seed: trial,
              step: 4 * size,
            };
            const job = (): LogitsJob => ({
              n,
              givenLogits: u,
              vocabSize: size,
              rowParameters: rowParameters(at, n, size, 'sample', true),
              draft: {
                ids,
                logProbs,
                accepted: new Uint32Array(1),
                outIds: new Uint32Array(n),
                outLogProbs: new Float32Array(n),
              },
            });
            const [native, reference] = [job(), job()];
            nativeLogits().runLogits(native);
            referenceLogits.runLogits(reference);
            expect(native.draft!.accepted, JSON.stringify(options)).toEqual(reference.draft!.accepted);
            expect(native.draft!.outIds, JSON.stringify(options)).toEqual(reference.draft!.outIds);
            expect(native.draft!.outLogProbs, JSON.stringify(options)).toEqual(reference.draft!.outLogProbs);
            const [count] = native.draft!.accepted;
            accepted[count]++;
            tokens += count + 1;
          }
        }
      }
    }
    console.log(`${tokens} tokens, the same; drafts by length accepted: ${accepted.join(', ')}`);
    expect(Math.min(...accepted)).toBeGreaterThan(0);
  });

  it('more rows than are held at once', () => {
    const size = (3 << 20) + 5; // two rows in 32 MB
    const weight = someNumbers(size, 1);
    const best = 1234567;
    weight[best] = 2;
    const head = LMHead.from(weight, { vocabSize: size, hiddenSize: 1, backend: 'native' });
    const hidden = Float32Array.of(3, 200000, 1, 200000, 5);
    const at = { temperature: [0, 1, 0, 1, 1], seed: 3 };
    const verdict = head.verifyDraftSync(hidden, [best, best, best, best], at);
    expect(verdict.accepted).toBe(4);
    const last = head.verifyDraftSync(hidden.subarray(4), [], { seed: 3, step: 4 });
    expect(verdict.ids[4]).toBe(last.ids[0]);
  });
});
