/** Lists of ids of every length, against what the options say in words. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { candidatesOf, LMHead, type SampleOptions, sampleFrom } from '../../lib';
import { backends } from '../support/backends';

const VOCAB = 700;
const flat = new Float32Array(VOCAB);
const everyId = Array.from({ length: VOCAB }, (_, id) => id);
/** What may be drawn, ascending. */
const left = (options: SampleOptions) => [...candidatesOf(flat, VOCAB, options).ids].sort((a, b) => a - b);
const without = (ids: Iterable<number>) => {
  const banned = new Set(ids);
  return everyId.filter(id => !banned.has(id));
};
const ids = (maxLength: number) =>
  fc.array(fc.nat({ max: VOCAB - 1 }), { maxLength, size: 'max' }).map(list => Uint32Array.from(list));

/** Options that ban a list of ids, each in its way. */
const banning: Record<string, (list: number[]) => SampleOptions> = {
  bannedIds: list => ({ bannedIds: list }),
  logitBias: list => ({ logitBias: new Map(list.map(id => [id, -Infinity])) }),
  endIds: list => ({ endIds: list, minLength: 1, length: 0 }),
  noRepeatNgram: list => ({ history: list, noRepeatNgram: 1 }),
};

describe('lists of ids', () => {
  it.each(Object.keys(banning))('of 0 to 300 are all banned by %s', name => {
    for (let count = 0; count <= 300; count++) {
      const list = Array.from({ length: count }, (_, i) => (i * 389 + 5) % VOCAB);
      expect(left(banning[name](list)), `${count} ids`).toEqual(without(list));
    }
  });

  it('are biased and penalized each by what is said of it, whatever else is', () => {
    fc.assert(
      fc.property(ids(300), ids(300), ids(300), ids(400), (biased, banned, ends, history) => {
        const { ids, probs } = candidatesOf(flat, VOCAB, {
          logitBias: new Map([...biased].map(id => [id, 1])),
          bannedIds: banned,
          endIds: ends,
          minLength: 1,
          length: 0,
          history,
          frequencyPenalty: 0.25,
          presencePenalty: 0.5,
        });
        const counts = new Float64Array(VOCAB);
        for (const id of history) counts[id]++;
        const excluded = new Set([...banned, ...ends]);
        const plus = new Set(biased);
        const weights = everyId.map(id =>
          excluded.has(id)
            ? 0
            : Math.exp((plus.has(id) ? 1 : 0) - 0.25 * counts[id] - (counts[id] > 0 ? 0.5 : 0)),
        );
        const sum = weights.reduce((a, b) => a + b, 0);
        const got = new Float64Array(VOCAB);
        ids.forEach((id, i) => {
          got[id] = probs[i];
        });
        for (const id of everyId) expect(got[id]).toBeCloseTo(weights[id] / sum, 6);
      }),
      { numRuns: 100 },
    );
  });

  it.each(backends)('of a sampler are never drawn, %s', backend => {
    const banned = everyId.slice(0, VOCAB - 3);
    const head = LMHead.from(new Float32Array(VOCAB), { vocabSize: VOCAB, hiddenSize: 1, backend });
    const sampler = head.sampler({ bannedIds: banned, seed: 1 });
    for (let i = 0; i < 200; i++)
      expect(sampler.nextSync(Float32Array.of(1)).id).toBeGreaterThanOrEqual(VOCAB - 3);
    head.close();
  });
});

describe('a token that would extend a long repetition', () => {
  const block = Array.from({ length: 300 }, (_, i) => (i * i + 3 * i) % 47);
  const history = [...block, 48, ...block];

  it.each([
    {},
    { temperature: 0 },
    { temperature: 0.5 },
    { dryMultiplier: 1e300 },
    { dryBase: 1e10 },
    { dryBase: 1.0000001 },
    { dryBase: 1e300, dryMultiplier: 5, presencePenalty: 2 },
  ])('is drawn where it alone is allowed: %o', options => {
    const bannedIds = without([48]);
    expect([...sampleFrom(flat, VOCAB, { history, dryMultiplier: 0.8, bannedIds, ...options }).ids]).toEqual([
      48,
    ]);
  });

  it('loses less than one that is banned, and more than any other', () => {
    const options = { history, dryMultiplier: 0.8, temperature: 0 };
    expect(sampleFrom(flat, VOCAB, { ...options, bannedIds: without([48, 60]) }).ids[0]).toBe(60);
  });
});
