import { describe, expect, it } from 'vitest';
import type { LMHeadError } from '../../lib/errors';
import type { SampleOptions } from '../../lib/types';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { call, callSync, D, headUnderTest, type Method, makeHead, V } from '../support/heads';

const chosen: Method[] = ['argmax', 'topK', 'sample'];
const inf = Infinity;

/** A head whose logits of any hidden state of zeros are these. */
const logitsOf = (backend: 'native' | 'reference', logits: number[]) =>
  makeHead(
    backend,
    { vocabSize: logits.length, bias: Float32Array.from(logits) },
    new Float32Array(logits.length * D),
  );
const zero = new Float32Array(D);

describe.each(backends)('NaN, %s', backend => {
  const { head, hidden, worksOn } = headUnderTest(backend);
  // Row 1 of three is all NaN, so id 0 is the first.
  const three = new Float32Array(3 * D);
  three.set(hidden.subarray(0, D));
  three[D + 2] = Number.NaN;
  three.set(hidden.subarray(0, D), 2 * D);

  it.each(chosen)('%s refuses it, and says where', async method => {
    throwsKind(() => callSync[method](head, three), 'NAN', 'row 1', 'id 0', 'NaN');
    await rejectsKind(() => call[method](head, three), 'NAN', 'row 1', 'id 0', 'NaN');
    throwsKind(() => callSync[method](head, three, { temperature: [1, 1, 1] }), 'NAN', 'row 1');
    worksOn();
  });

  it.each(chosen)('%s names the first id of the first row', async method => {
    const sparse = logitsOf(backend, [3, 1, Number.NaN, 2, Number.NaN]);
    throwsKind(() => callSync[method](sparse, zero), 'NAN', 'row 0', 'id 2');
    await rejectsKind(() => call[method](sparse, zero), 'NAN', 'row 0', 'id 2');
  });

  it('greedy sampling and filters refuse it too', () => {
    const options = [{ temperature: 0 }, { topK: 1 }, { topP: 0.5 }, { minP: 0.1 }];
    for (const o of options) throwsKind(() => head.sampleSync(three, o), 'NAN', 'row 1', 'id 0');
  });

  it('run refuses it only where a token is to be chosen', async () => {
    for (const request of [{ argmax: true }, { top: 1 }, { sample: true }])
      throwsKind(() => head.runSync(three, { logits: true, ...request }), 'NAN', 'row 1', 'id 0');
    const plain = head.runSync(three, { logits: true, logProbs: true, targets: [0, 0, 0] });
    expect([...plain.logSumExp].map(Number.isNaN)).toEqual([false, true, false]);
    expect(await head.run(three, { logits: true, logProbs: true, targets: [0, 0, 0] })).toEqual(plain);
  });

  it('numeric results carry it in its row alone', () => {
    const clean = hidden.subarray(0, D);
    for (const method of ['logits', 'logProbs', 'probs'] as const) {
      const rows = callSync[method](head, three) as Float32Array;
      const wanted = callSync[method](head, clean) as Float32Array;
      expect(rows.subarray(0, V)).toEqual(wanted);
      expect([...rows.subarray(V, 2 * V)].every(Number.isNaN)).toBe(true);
      expect(rows.subarray(2 * V)).toEqual(wanted);
    }
    const score = head.scoreSync(three, [1, 1, 1], { entropy: true });
    const alone = head.scoreSync(clean, [1], { entropy: true });
    expect([...score.logProbs]).toEqual([alone.logProbs[0], Number.NaN, alone.logProbs[0]]);
    expect([...score.ranks]).toEqual([alone.ranks[0], 0, alone.ranks[0]]);
    expect([...score.entropy!]).toEqual([alone.entropy![0], Number.NaN, alone.entropy![0]]);
    expect([score.count, score.nll, score.perplexity]).toEqual([3, Number.NaN, Number.NaN]);
    const ignored = head.scoreSync(three, [1, -1, 1], { ignoreIndex: -1, entropy: true });
    expect([ignored.count, ignored.entropy![1]]).toEqual([2, 0]);
    expect(ignored.nll).toBeCloseTo(-alone.logProbs[0], 6);
  });

  it('in a padding row of the weights harms nothing', () => {
    const weight = new Float32Array(V * D).fill(0.5);
    weight.fill(Number.NaN, (V - 1) * D);
    const padded = makeHead(backend, { validVocabSize: V - 1 }, weight);
    expect([...padded.argmaxSync(hidden)]).toEqual([0, 0]);
    expect(padded.logitsSync(hidden)[V - 1]).toBe(-inf);
  });

  it('in one row of a batch leaves the others their bits', () => {
    const token = head.sampleSync(hidden, { seed: 1, step: [4, 5] });
    expect(head.sampleSync(hidden.subarray(0, D), { seed: 1, step: 4 }).ids[0]).toBe(token.ids[0]);
    const error = throwsKind(() => head.sampleSync(three, { seed: 1 }), 'NAN') as LMHeadError;
    expect(error.code).toBe('ERR_LMHEAD_NAN');
  });
});

describe.each(backends)('infinite logits, %s', backend => {
  const nan = Number.NaN;

  it('−∞ beside finite numbers is probability 0', async () => {
    const head = logitsOf(backend, [-inf, 0, -inf, 0, -inf]);
    expect([...head.probsSync(zero)]).toEqual([0, 0.5, 0, 0.5, 0]);
    expect([...head.logProbsSync(zero)]).toEqual([
      -inf,
      Math.fround(-Math.LN2),
      -inf,
      Math.fround(-Math.LN2),
      -inf,
    ]);
    const top = await head.topK(zero, 5);
    expect([...top.ids]).toEqual([1, 3, 0, 2, 4]);
    expect([...top.logProbs].slice(2)).toEqual([-inf, -inf, -inf]);
    const many = new Float32Array(200 * D);
    expect(new Set(head.sampleSync(many, { seed: 1 }).ids)).toEqual(new Set([1, 3]));
    expect(new Set(head.sampleSync(many, { seed: 1, topK: 4, temperature: 9 }).ids)).toEqual(new Set([1, 3]));
    const score = head.scoreSync(zero, [4], { entropy: true });
    expect(score).toMatchObject({ count: 1, nll: inf, perplexity: inf });
    expect([score.ranks[0], score.entropy![0]]).toEqual([5, Math.fround(Math.LN2)]);
  });

  it('a row of only −∞ has probabilities of NaN, and a best id but no draw', async () => {
    const head = logitsOf(backend, Array(5).fill(-inf));
    expect([...head.logitsSync(zero)]).toEqual(Array(5).fill(-inf));
    expect([...head.probsSync(zero)]).toEqual(Array(5).fill(nan));
    expect([...head.logProbsSync(zero)]).toEqual(Array(5).fill(nan));
    expect(head.runSync(zero, {}).logSumExp[0]).toBe(-inf);
    expect([...head.argmaxSync(zero)]).toEqual([0]);
    const top = head.topKSync(zero, 3);
    expect([[...top.ids], [...top.logProbs]]).toEqual([
      [0, 1, 2],
      [nan, nan, nan],
    ]);
    expect(head.scoreSync(zero, [2], { entropy: true })).toMatchObject({ count: 1, nll: nan });
    const options: SampleOptions[] = [{}, { topK: 2 }, { topP: 0.5 }, { minP: 0.5 }];
    options.push({ bannedIds: [] }, { bannedIds: [1] }, { history: [1], presencePenalty: 1 });
    options.push({ logitBias: { 3: 5 } }, { allowedIds: [2] });
    for (const o of [...options, ...options.map(o => ({ ...o, temperature: 0 }))]) {
      throwsKind(() => head.sampleSync(zero, o), 'NAN', 'only -Infinity', 'row 0');
      await rejectsKind(() => head.sample(zero, o), 'NAN', 'only -Infinity', 'row 0');
      throwsKind(() => head.candidatesSync(zero, o), 'NAN', 'only -Infinity', 'row 0');
      throwsKind(() => head.verifyDraftSync(zero, [0], o), 'NAN', 'only -Infinity', 'row 0');
    }
  });

  it('beside +∞ there is no probability, as in PyTorch and SciPy, and it is the best', async () => {
    const head = logitsOf(backend, [1, inf, 0, -inf, inf]);
    expect([...head.probsSync(zero)]).toEqual(Array(5).fill(nan));
    expect([...head.logProbsSync(zero)]).toEqual([-inf, nan, -inf, -inf, nan]);
    expect(head.runSync(zero, {}).logSumExp[0]).toBe(inf);
    expect([...head.argmaxSync(zero)]).toEqual([1]);
    expect([...(await head.topK(zero, 5)).ids]).toEqual([1, 4, 0, 2, 3]);
    const options: SampleOptions[] = [{}, { topK: 2 }, { topP: 0.5 }, { logitBias: { 0: 5 } }];
    for (const o of [...options, ...options.map(o => ({ ...o, temperature: 0 }))]) {
      throwsKind(() => head.sampleSync(zero, o), 'NAN', '+Infinity', 'row 0', 'id 1');
      throwsKind(() => head.candidatesSync(zero, o), 'NAN', '+Infinity', 'row 0', 'id 1');
      throwsKind(() => head.verifyDraftSync(zero, [1], o), 'NAN', '+Infinity', 'row 0', 'id 1');
    }
    expect(head.sampleSync(zero, { bannedIds: [1, 4], temperature: 0 }).ids[0]).toBe(0);
    throwsKind(() => head.sampleSync(zero, { bannedIds: [1], temperature: 0 }), 'NAN', '+Infinity', 'id 4');
  });

  it('a bias that carries a logit beyond float32 is told as what it makes', () => {
    const V = 600;
    const head = logitsOf(backend, Array(V).fill(0));
    for (const id of [2, 300, 599])
      for (const temperature of [0, 1])
        for (const more of [{}, { topP: 0.5 }, { allowedIds: [1, id] }]) {
          const o: SampleOptions = { logitBias: { [id]: 1e39 }, seed: 1, temperature, ...more };
          const words = ['+Infinity in row 0', `at id ${id};`];
          throwsKind(() => head.sampleSync(zero, o), 'NAN', ...words);
          throwsKind(() => head.candidatesSync(zero, o), 'NAN', ...words);
          throwsKind(() => head.verifyDraftSync(zero, [0], o), 'NAN', ...words);
        }
  });

  it('what adjustments alone leave nothing of is told so, though few may be drawn', () => {
    const head = logitsOf(
      backend,
      Array.from({ length: 600 }, (_, id) => (id < 9 ? -inf : 0)),
    );
    for (const temperature of [0, 1]) {
      const o = { allowedIds: [3, 5], temperature };
      throwsKind(() => head.sampleSync(zero, o), 'RANGE', 'no id that may be drawn in row 0');
      throwsKind(() => head.verifyDraftSync(zero, [3], o), 'RANGE', 'no id that may be drawn');
    }
  });

  it('hidden states that overflow float32 behave like that', () => {
    const huge = makeHead(backend, { vocabSize: 3, hiddenSize: 2 }, Float32Array.of(1, 1, -1, -1, 0, 0));
    const overflowing = Float32Array.of(3e38, 3e38);
    expect([...huge.logitsSync(overflowing)]).toEqual([inf, -inf, 0]);
    expect([...huge.argmaxSync(overflowing)]).toEqual([0]);
  });

  it('finite but far apart, they keep their small differences', () => {
    const head = logitsOf(backend, [3e38, 3e38, -3e38]);
    expect([...head.probsSync(zero)]).toEqual([0.5, 0.5, 0]);
    const close = logitsOf(backend, [1e6, 1e6 + 1]);
    const p = 1 / (1 + Math.exp(-1));
    expect(close.logProbsSync(zero)[1]).toBeCloseTo(Math.log(p), 6);
  });
});
