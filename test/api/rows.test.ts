/** The option `rows`: the numbers of a few rows of E, without the others. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LMHead } from '../../lib';
import { LMHead as Head } from '../../lib';
import type { CallOptions, HeadOptions, SampleOptions } from '../../lib/types';
import { backends } from '../support/backends';
import { headUnderTest, methods } from '../support/heads';
import { expectClose, someNumbers } from '../support/numbers';

const ROUNDED = { relative: 2 ** -21, absolute: 1e-9 };

/** Integers: their dot products are exact, so that every backend has the same logits, and ties. */
const whole = (count: number, seed: number) => someNumbers(count, seed).map(x => Math.round(4 * x));

function head(
  backend: 'native' | 'reference',
  V: number,
  d: number,
  options: Partial<HeadOptions> = {},
): LMHead {
  return Head.from(whole(V * d, 7), { vocabSize: V, hiddenSize: d, backend, ...options });
}

/** [n, ids.length] out of [n, V]. */
function pick(all: Float32Array, V: number, ids: readonly number[]): Float32Array {
  const n = all.length / V;
  return Float32Array.from({ length: n * ids.length }, (_, at) => {
    const row = Math.floor(at / ids.length);
    return all[row * V + ids[at % ids.length]];
  });
}

const samplings: (SampleOptions & { topK?: number })[] = [
  {},
  { temperature: 0 },
  { temperature: 0.4 },
  { topK: 3 },
  { topK: 2000 },
  { topP: 0.7, temperature: 1.3 },
  { minP: 0.2 },
  { topK: 50, topP: 0.9, minP: 0.01 },
];

describe.each(backends)('rows: %s', backend => {
  const V = 29;
  const d = 11;
  const n = 3;
  const hidden = whole(n * d, 3);
  const all = head(backend, V, d, { bias: whole(V, 9), logitScale: 0.5, softCap: 20 });
  const ids = [17, 3, 4, 5, 28, 0];

  it('logits have the bits of those of a full pass, in the order given', async () => {
    const wanted = pick(all.logitsSync(hidden), V, ids);
    expect(all.logitsSync(hidden, { rows: ids })).toEqual(wanted);
    expect(await all.logits(hidden, { rows: Uint32Array.from(ids) })).toEqual(wanted);
    expect(all.runSync(hidden, { rows: ids, logits: true }).logits).toEqual(wanted);
    expect((await all.run(hidden, { rows: ids.map(BigInt) as never, logits: true })).logits).toEqual(wanted);
  });

  it('probabilities are over the rows', () => {
    const u = pick(all.logitsSync(hidden), V, ids);
    for (let row = 0; row < n; row++) {
      const its = [...u.subarray(row * ids.length, (row + 1) * ids.length)].map(x => Math.exp(x / 0.7));
      const sum = its.reduce((a, b) => a + b);
      const at = { rows: ids, temperature: 0.7 };
      const h = hidden.subarray(row * d, (row + 1) * d);
      expectClose(
        all.probsSync(h, at),
        its.map(x => x / sum),
        ROUNDED,
      );
      expectClose(
        all.logProbsSync(h, at),
        its.map(x => Math.log(x / sum)),
        ROUNDED,
      );
      expectClose(all.runSync(h, at).logSumExp, [Math.log(sum)], ROUNDED);
    }
  });

  it('or over the vocabulary: the bits of a full pass', async () => {
    const at = { rows: ids, over: 'vocabulary', temperature: [0.7, 1, 2] } as const;
    const { temperature } = at;
    expect(all.logProbsSync(hidden, at)).toEqual(pick(all.logProbsSync(hidden, { temperature }), V, ids));
    expect(await all.probs(hidden, at)).toEqual(pick(all.probsSync(hidden, { temperature }), V, ids));
    expect(all.runSync(hidden, at).logSumExp).toEqual(all.runSync(hidden, { temperature }).logSumExp);
    const full = all.scoreSync(hidden, [3, 28, 17], { temperature, entropy: true });
    const { logProbs, entropy } = all.scoreSync(hidden, [3, 28, 17], { ...at, entropy: true });
    expect({ logProbs, entropy }).toEqual({ logProbs: full.logProbs, entropy: full.entropy });
  });

  it('tokens are ranked among the rows, and ids stay ids', () => {
    const k = ids.length;
    const order = all.topKSync(hidden, V);
    const top = all.topKSync(hidden, k, { rows: ids });
    const over = all.topKSync(hidden, k, { rows: ids, over: 'vocabulary' });
    for (let row = 0; row < n; row++) {
      const wanted = [...order.ids.subarray(row * V, (row + 1) * V)].filter(id => ids.includes(id));
      const places = wanted.map(id => order.ids.subarray(row * V, (row + 1) * V).indexOf(id));
      const at = row * k;
      expect([...top.ids.subarray(at, at + k)]).toEqual(wanted);
      expect([...top.logits.subarray(at, at + k)]).toEqual(places.map(p => order.logits[row * V + p]));
      expect([...over.logProbs.subarray(at, at + k)]).toEqual(places.map(p => order.logProbs[row * V + p]));
      expect(all.argmaxSync(hidden, { rows: ids })[row]).toBe(wanted[0]);
      const targets = new Array(n).fill(wanted[2]);
      expect(all.scoreSync(hidden, targets, { rows: ids }).ranks[row]).toBe(3);
    }
    expect(over.ids).toEqual(top.ids);
  });

  it('all rows are no subset: every result has the same bits', () => {
    const every = Array.from({ length: V }, (_, id) => id);
    const request = {
      logits: true,
      logProbs: true,
      argmax: true,
      top: 5,
      targets: [1, 2, 3],
      entropy: true,
    } as const;
    expect(all.runSync(hidden, { ...request, rows: every })).toEqual(all.runSync(hidden, request));
    for (const options of samplings.map(o => ({ ...o, topK: Math.min(o.topK ?? 0, V), seed: 5 })))
      expect(all.sampleSync(hidden, { ...options, rows: every })).toEqual(all.sampleSync(hidden, options));
  });

  it('`out` is written in the order given', () => {
    const out = new Float32Array(n * ids.length + 2).fill(9);
    expect(all.probsSync(hidden, { rows: ids, out })).toBe(out);
    expect(out.subarray(0, -2)).toEqual(all.probsSync(hidden, { rows: ids }));
    expect([...out.subarray(-2)]).toEqual([9, 9]);
  });

  it('rows outside may hold anything, unless probabilities are over them', () => {
    const weight = whole(V * d, 7);
    weight[1 * d] = NaN;
    weight[2 * d] = Infinity;
    const odd = Head.from(weight, { vocabSize: V, hiddenSize: d, backend });
    const h = hidden.map(x => x || 1);
    for (const id of odd.sampleSync(h, { rows: ids, seed: 1 }).ids) expect(ids).toContain(id);
    expect(odd.logProbsSync(h, { rows: ids }).every(Number.isFinite)).toBe(true);
    expect(odd.logProbsSync(h, { rows: ids, over: 'vocabulary' }).every(Number.isNaN)).toBe(true);
    expect(() => odd.argmaxSync(h, { rows: [4, 1] })).toThrow('NaN in row 0 at id 1');
    expect(() => odd.sampleSync(h.map(Math.abs), { rows: [4, 2] })).toThrow('+Infinity in row 0 at id 2');
  });

  describe('errors', () => {
    const { hidden: h, refuses } = headUnderTest(backend, { validVocabSize: 11 });
    it.each(methods)('%s', async method => {
      await refuses(method, [h, { rows: [] }], 'RANGE', 'rows: got no ids');
      await refuses(method, [h, { rows: [1, 4, 2, 1] }], 'RANGE', 'rows: got 1 more than once');
      await refuses(method, [h, { rows: [1, 11] }], 'RANGE', 'rows[1]: got 11; want an id below 11');
      await refuses(method, [h, { rows: [-1] }], 'RANGE', 'rows[0]: got -1');
      await refuses(method, [h, { rows: [0.5] }], 'RANGE', 'rows[0]: got 0.5');
      await refuses(method, [h, { rows: 3 }], 'ARGUMENT', 'rows: got 3; want an array of token ids');
      await refuses(method, [h, { rows: ['1'] }], 'ARGUMENT', 'rows[0]: got "1"');
      await refuses(method, [h, { rows: [1], over: 'all' }], 'RANGE', 'over: got "all"');
      await refuses(method, [h, { rows: [1], over: 1 }], 'ARGUMENT', 'over: got 1');
    });
    it('what must be among the rows', async () => {
      await refuses('topK', [h, { rows: [1, 2], top: 3 }], 'RANGE', 'k: got 3; want an integer from 1 to 2');
      await refuses('score', [h, { rows: [1, 2], targets: [2, 3] }], 'RANGE', 'targets[1]: got 3', 'rows');
      await refuses('logits', [h, { rows: [1, 2], out: new Float32Array(3) }], 'SHAPE', 'out', '4');
    });
  });
});

describe.skipIf(backends.length < 2)('rows: native and reference', () => {
  it('agree on any subset of any head', () => {
    const cases = fc.record({
      V: fc.integer({ min: 1, max: 900 }),
      d: fc.integer({ min: 1, max: 40 }),
      n: fc.integer({ min: 1, max: 5 }),
      keep: fc.integer({ min: 1, max: 100 }),
      seed: fc.integer({ min: 0, max: 1e9 }),
      threads: fc.integer({ min: 1, max: 3 }),
      over: fc.constantFrom<CallOptions['over']>(undefined, 'rows', 'vocabulary'),
    });
    fc.assert(
      fc.property(cases, ({ V, d, n, keep, seed, threads, over }) => {
        const noise = someNumbers(V, seed);
        const rows = Array.from({ length: V }, (_, id) => id)
          .filter(id => noise[id] < keep / 50 - 1)
          .sort((a, b) => noise[(a * 7) % V] - noise[(b * 7) % V]);
        if (rows.length === 0) rows.push(V - 1);
        const hidden = whole(n * d, seed);
        const at = { rows, over };
        const targets = Array.from({ length: n }, (_, i) => rows[(i * 5) % rows.length]);
        const request = {
          ...at,
          logits: true,
          logProbs: true,
          argmax: true,
          targets,
          entropy: true,
        } as const;
        const [native, reference] = backends.map(backend => head(backend, V, d, { threads }));
        const [a, b] = [native, reference].map(h => h.runSync(hidden, { ...request, top: rows.length }));
        expect(a.logits).toEqual(b.logits);
        expect(a.argmax).toEqual(b.argmax);
        expect(a.top.ids).toEqual(b.top.ids);
        expect(a.score.ranks).toEqual(b.score.ranks);
        expectClose(a.logProbs, b.logProbs, ROUNDED);
        expectClose(a.top.logProbs, b.top.logProbs, ROUNDED);
        expectClose(a.score.entropy!, b.score.entropy!, { relative: 1e-6, absolute: 1e-6 });
        for (const options of samplings) {
          const drawn = { ...at, ...options, topK: Math.min(options.topK ?? 0, V), seed, step: n };
          const [s, t] = [native.sampleSync(hidden, drawn), reference.sampleSync(hidden, drawn)];
          expect(s.ids).toEqual(t.ids);
          expectClose(s.logProbs, t.logProbs, { relative: 2 ** -21, absolute: 1e-6 });
        }
      }),
      { numRuns: 150, seed: 11 },
    );
  });

  it('the bits are the same for any number of threads, any batch and any order', () => {
    const [V, d, n] = [6000, 130, 5];
    const hidden = someNumbers(n * d, 2);
    const weight = someNumbers(V * d, 4);
    const make = (threads: number) =>
      Head.from(weight, { vocabSize: V, hiddenSize: d, backend: 'native', threads });
    const rows = Array.from({ length: 2500 }, (_, i) => (i * 2377) % V); // 2377 is prime to V
    const request = { logits: true, logProbs: true, top: 1300, sample: true, topP: 0.9, seed: 3 } as const;
    const one = make(1).runSync(hidden, { ...request, rows });
    expect(make(7).runSync(hidden, { ...request, rows })).toEqual(one);
    const backwards = make(2).runSync(hidden, { ...request, rows: rows.slice().reverse() });
    expect(backwards.top).toEqual(one.top);
    expect(backwards.sample).toEqual(one.sample);
    const second = make(3).runSync(hidden.subarray(d, 2 * d), { ...request, rows, step: 1 });
    expect(second.logProbs).toEqual(one.logProbs.subarray(rows.length, 2 * rows.length));
    expect(second.sample.ids[0]).toBe(one.sample.ids[1]);
  });
});
