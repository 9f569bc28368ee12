/** Sequences that are banned or biased, ids that are not drawn first, ids that XTC spares, and filters that leave enough. */
import { describe, expect, it } from 'vitest';
import { candidatesOf, LMHead, type SampleOptions, sampleFrom } from '../../lib';
import { backends } from '../support/backends';
import { throwsKind } from '../support/errors';
import { D, headUnderTest, makeHead, someHidden, V } from '../support/heads';

const FLAT = new Float32Array(4);
const left = (options: SampleOptions, logits = FLAT) => [...candidatesOf(logits, logits.length, options).ids];
/** ln p(1)/p(0), of logits that are equal. */
function odds(options: SampleOptions): number {
  const { ids, probs } = candidatesOf(FLAT, 4, options);
  return Math.log(probs[ids.indexOf(1)] / probs[ids.indexOf(0)]);
}

describe('bannedSequences', () => {
  it('bans the token that would complete one', () => {
    const bannedSequences = [[2, 3, 1], Uint32Array.of(3, 0), [2]];
    expect(left({ history: [], bannedSequences })).toEqual([0, 1, 3]);
    expect(left({ history: [2, 3], bannedSequences })).toEqual([3]);
    expect(left({ history: [3], bannedSequences })).toEqual([1, 3]);
    expect(left({ history: [2, 3, 1], bannedSequences })).toEqual([0, 1, 3]);
    expect(left({ history: [[2, 3]], bannedSequences: [] })).toEqual([0, 1, 2, 3]);
  });

  it('has what each row has before it', () => {
    const { ids, offsets } = candidatesOf(new Float32Array(8), 4, {
      history: [[1], [2]],
      bannedSequences: [[1, 0]],
    });
    expect([...ids.subarray(0, offsets[1])]).toEqual([1, 2, 3]);
    expect([...ids.subarray(offsets[1])]).toEqual([0, 1, 2, 3]);
  });

  it.each(backends)('follows a sampler, and a draft of its, %s', backend => {
    const head = makeHead(backend);
    const rows = Array.from({ length: 6 }, (_, i) => someHidden(6).subarray(i * D, (i + 1) * D));
    const [a, b] = head.argmaxSync(someHidden(6));
    const options = { temperature: 0, bannedSequences: [[a, b]] };
    const sampler = head.sampler(options);
    const drawn = rows.map(hidden => sampler.nextSync(hidden).id);
    expect(drawn[0]).toBe(a);
    expect(drawn[1]).not.toBe(b);
    expect(sampler.clone().toJSON()).toEqual(sampler.toJSON());
    const verified = head.sampler(options).verifySync(someHidden(6), drawn.slice(0, 5));
    expect([...verified.ids]).toEqual(drawn);
    // A clone bans what its origin does.
    const first = head.sampler(options);
    first.nextSync(rows[0]);
    expect(first.clone().nextSync(rows[1]).id).toBe(drawn[1]);
  });
});

describe('biasedSequences', () => {
  const biasedSequences = [
    { ids: [2, 1], bias: 1.5 },
    { ids: [3, 2, 1], bias: 0.5 },
    { ids: [1], bias: -0.25 },
  ];

  it('adds to the logit of the token that would complete one, of several their sum', () => {
    expect(odds({ history: [], biasedSequences })).toBeCloseTo(-0.25, 6);
    expect(odds({ history: [2], biasedSequences })).toBeCloseTo(1.25, 6);
    expect(odds({ history: [3, 2], biasedSequences })).toBeCloseTo(1.75, 6);
  });

  it('comes before penalties, beside logitBias', () => {
    const more = { biasedSequences, logitBias: { 1: 1 } };
    expect(odds({ history: [1, 2], ...more, repetitionPenalty: 2 })).toBeCloseTo((1.25 + 1) / 2, 6);
    expect(odds({ history: [2], ...more, bannedSequences: [[2, 0]] })).toBeNaN();
    const ban = { ids: [2, 1], bias: -Infinity };
    expect(left({ history: [2], biasedSequences: [ban, ...biasedSequences] })).toEqual([0, 2, 3]);
  });
});

describe('beginSuppressIds', () => {
  it('are not the first token', () => {
    const options = { beginSuppressIds: [0, 2] };
    expect(left(options)).toEqual([1, 3]);
    expect(left({ ...options, history: [1] })).toEqual([0, 1, 2, 3]);
    expect(left({ ...options, history: [1], promptLength: 1 })).toEqual([1, 3]);
    expect(left({ ...options, length: 1 })).toEqual([0, 1, 2, 3]);
  });

  it.each(backends)('of a sampler, whose history is the prompt, %s', backend => {
    const head = makeHead(backend);
    const hidden = someHidden(1);
    const [best] = head.argmaxSync(hidden);
    const sampler = head.sampler({ temperature: 0, history: [best], beginSuppressIds: [best] });
    expect(sampler.nextSync(hidden).id).not.toBe(best);
    expect(sampler.nextSync(hidden).id).toBe(best);
  });
});

describe('xtcProtectedIds', () => {
  const logits = Float32Array.of(3, 2.5, 2, -4);
  const xtc = { xtcProbability: 1, xtcThreshold: 0.1 };
  it('stay, and the last of the others', () => {
    expect(left(xtc, logits)).toEqual([2, 3]);
    expect(left({ ...xtc, xtcProtectedIds: [0] }, logits)).toEqual([0, 2, 3]);
    expect(left({ ...xtc, xtcProtectedIds: [2, 3, 3] }, logits)).toEqual([2, 3]);
  });
});

describe('minKeep', () => {
  const logits = Float32Array.of(9, 1, 8.9, 1, 0);
  it.each<[string, SampleOptions, number[]]>([
    ['topP', { topP: 0.5 }, [0, 2, 1]],
    ['minP', { minP: 1 }, [0, 2, 1]],
    ['typicalP', { typicalP: 0.01 }, [0, 2, 1]],
    ['epsilonCutoff', { epsilonCutoff: 1 }, [0, 2, 1]],
    ['etaCutoff', { etaCutoff: 1 }, [0, 2, 1]],
    ['topNSigma', { topNSigma: 1e-9 }, [0, 2, 1]],
    ['pLess', { pLess: true }, [0, 2, 1]],
    ['maxSurprisal', { maxSurprisal: 0 }, [0, 2, 1]],
    ['XTC, which would leave fewer', { xtcProbability: 1, xtcThreshold: 0 }, [0, 2, 1, 3, 4]],
    ['but not topK', { topK: 2, topP: 0.1 }, [0, 2]],
  ])('%s', (_, options, wanted) => {
    expect(left({ ...options, minKeep: 3 }, logits)).toEqual(wanted);
  });

  it('is one for each row, and no more than there are', () => {
    const { offsets } = candidatesOf(new Float32Array(12).fill(0), 4, { topP: 0, minKeep: [1, 3, 1e9] });
    expect([...offsets]).toEqual([0, 1, 4, 8]);
  });
});

describe('a seed left open for single rows', () => {
  it('is drawn anew there, and there alone', () => {
    const logits = new Float32Array(3 * 1000);
    const seed = [7, undefined, 7n];
    const draw = () => sampleFrom(logits, 1000, { seed, step: [0, 0, 0] }).ids;
    const all = Array.from({ length: 4 }, draw);
    for (const ids of all) expect([ids[0], ids[2]]).toEqual([all[0][0], all[0][0]]);
    expect(new Set(all.map(ids => ids[1])).size).toBeGreaterThan(1);
  });
});

describe.each(backends)('wrong values, %s', backend => {
  const { refuses } = headUnderTest(backend);
  const h = someHidden();
  it.each<[object, 'ARGUMENT' | 'RANGE' | 'SHAPE', string]>([
    [{ history: [], bannedSequences: [3] }, 'ARGUMENT', 'bannedSequences[0]'],
    [{ history: [], bannedSequences: [[]] }, 'RANGE', 'bannedSequences[0]: got no ids'],
    [{ history: [], bannedSequences: [[1, V]] }, 'RANGE', 'bannedSequences[0][1]'],
    [{ history: [], bannedSequences: { 0: [1] } }, 'ARGUMENT', 'bannedSequences'],
    [{ history: [], biasedSequences: [[1, 2]] }, 'ARGUMENT', 'biasedSequences[0].ids'],
    [{ history: [], biasedSequences: [null] }, 'ARGUMENT', 'biasedSequences[0]: got null'],
    [{ history: [], biasedSequences: [{ ids: [1], bias: Infinity }] }, 'RANGE', 'biasedSequences[0].bias'],
    [{ history: [], biasedSequences: [{ ids: [1], bias: Number.NaN }] }, 'RANGE', 'biasedSequences[0].bias'],
    [{ history: [], biasedSequences: [{ ids: [1] }] }, 'ARGUMENT', 'biasedSequences[0].bias'],
    [{ beginSuppressIds: [V] }, 'RANGE', 'beginSuppressIds[0]'],
    [{ xtcProtectedIds: [-1] }, 'RANGE', 'xtcProtectedIds[0]'],
    [{ minKeep: 0 }, 'RANGE', 'minKeep'],
    [{ minKeep: [1, 1.5] }, 'RANGE', 'minKeep[1]'],
    [{ minKeep: [1] }, 'SHAPE', 'minKeep'],
    [{ seed: [1, 'x'] }, 'ARGUMENT', 'seed[1]'],
  ])('%o', async (options, kind, words) => {
    await refuses('sample', [h, options], kind, words);
  });

  it('of a sampler, when it is made', () => {
    const head = LMHead.from(new Float32Array(V * D), { vocabSize: V, hiddenSize: D, backend });
    throwsKind(() => head.sampler({ bannedSequences: [[V]] }), 'RANGE', 'bannedSequences[0][0]');
    throwsKind(() => head.sampler({ logits: 3 as never }), 'ARGUMENT', 'logits');
  });
});
