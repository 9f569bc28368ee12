/** Lists of ids of every length, against what the options say in words. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LMHead, type NextOptions, type SampleOptions, sampleFrom } from '../../lib';
import { backends } from '../support/backends';
import { throwsKind } from '../support/errors';
import { someNumbers } from '../support/numbers';

const VOCAB = 700;
const flat = new Float32Array(VOCAB);
const everyId = Array.from({ length: VOCAB }, (_, id) => id);
/** So many ids, apart from one another. */
const some = (count: number) => Array.from({ length: count }, (_, i) => (i * 389 + 5) % VOCAB);
const without = (ids: Iterable<number>) => {
  const banned = new Set(ids);
  return everyId.filter(id => !banned.has(id));
};
const ascending = (ids: Iterable<number>) => [...new Set(ids)].sort((a, b) => a - b);
const ids = (maxLength: number) =>
  fc.array(fc.nat({ max: VOCAB - 1 }), { maxLength, size: 'max' }).map(list => Uint32Array.from(list));
const maskOf = (ids: Iterable<number>) => {
  const mask = new Int32Array(Math.ceil(VOCAB / 32));
  for (const id of ids) mask[id >>> 5] |= 1 << (id & 31);
  return mask;
};

/** What may be drawn by options that take a list of ids, each in its way. */
const drawable: Record<
  string,
  { options: (list: number[]) => SampleOptions; left: (list: number[]) => number[] }
> = {
  bannedIds: { options: list => ({ bannedIds: list }), left: without },
  logitBias: {
    options: list => ({ logitBias: Object.fromEntries(list.map(id => [id, -Infinity])) }),
    left: without,
  },
  'logitBias, a Map': {
    options: list => ({ logitBias: new Map(list.map(id => [id, -Infinity])) }),
    left: without,
  },
  eosIds: { options: list => ({ eosIds: list, minLength: 1, length: 0 }), left: without },
  noRepeatNgramSize: { options: list => ({ history: list, noRepeatNgramSize: 1 }), left: without },
  beginSuppressIds: { options: list => ({ beginSuppressIds: list }), left: without },
  bannedSequences: {
    options: list => ({ history: [3], bannedSequences: list.map((id, i) => (i % 2 ? [id] : [3, id])) }),
    left: without,
  },
  'bannedSequences, one long one': {
    options: list => ({ history: list, bannedSequences: [[...list, 7]] }),
    left: () => without([7]),
  },
  biasedSequences: {
    options: list => ({ history: [], biasedSequences: list.map(id => ({ ids: [id], bias: -Infinity })) }),
    left: without,
  },
  // All are as likely: of those that are not protected the last stays.
  xtcProtectedIds: {
    options: list => ({ xtcProbability: 1, xtcThreshold: 0, xtcProtectedIds: list, seed: 1 }),
    left: list => ascending([...list, VOCAB - 1]),
  },
  allowedIds: { options: list => ({ allowedIds: list }), left: ascending },
  allowedMask: { options: list => ({ allowedMask: maskOf(list) }), left: ascending },
  // All that have occurred are repetitions of one token, unless it is a breaker.
  dryBreakers: {
    options: list => ({
      history: everyId.flatMap(id => [id, id]).concat(VOCAB - 1),
      dryMultiplier: 1e6,
      dryAllowedLength: 1,
      dryBreakers: list,
      minP: 0.5,
    }),
    left: list => (new Set(list).has(VOCAB - 1) ? everyId : without([VOCAB - 1])),
  },
};

describe.each(backends)('lists of 0 to 300 ids, %s', backend => {
  const head = LMHead.from(flat, { vocabSize: VOCAB, hiddenSize: 1, backend });
  const one = Float32Array.of(1);
  const two = Float32Array.of(1, 1);
  const left = (options: SampleOptions) => ascending(head.candidatesSync(one, options).ids);

  it.each(Object.keys(drawable))('are all read by %s', name => {
    const { options, left: wanted } = drawable[name];
    const first = wanted([]).length === 0 ? 1 : 0; // an error where nothing is left
    for (let count = first; count <= 300; count++) {
      const list = some(count);
      expect(left(options(list)), `${count} ids`).toEqual(wanted(list));
    }
    expect(left(options([...some(300), ...some(300)]))).toEqual(wanted(some(300)));
  });

  it.each(['bannedIds', 'allowedIds', 'history', 'logitBias'])('are read for each row by %s', name => {
    const make = (list: number[]) => (name === 'logitBias' ? new Map(list.map(id => [id, -Infinity])) : list);
    const wanted = name === 'allowedIds' ? ascending : without;
    for (let count = 1; count <= 300; count += 7) {
      const lists = [some(count), some(301 - count).map(id => (id + 1) % VOCAB)];
      const options = { [name]: lists.map(make), ...(name === 'history' && { noRepeatNgramSize: 1 }) };
      const { ids, offsets } = head.candidatesSync(two, options);
      lists.forEach((list, row) => {
        expect(ascending(ids.subarray(offsets[row], offsets[row + 1]))).toEqual(wanted(list));
      });
    }
  });

  it('are read by samplers and for one of their tokens', () => {
    const make: Record<string, (list: number[]) => NextOptions> = {
      bannedIds: list => ({ bannedIds: without(list) }),
      logitBias: list => ({ logitBias: new Map(without(list).map(id => [id, -Infinity])) }),
      allowedIds: list => ({ allowedIds: list }),
      allowedMask: list => ({ allowedMask: maskOf(list) }),
    };
    for (const mine of Object.values(make))
      for (const given of Object.values(make))
        for (const count of [1, 2, 16, 17, 31, 33, 100, 300]) {
          const own = some(count);
          const more = [...everyId.slice(600), own[count - 1]];
          const both = ascending(own.filter(id => more.includes(id)));
          const sampler = head.sampler({ ...mine(own), seed: count });
          for (let i = 0; i < 8; i++) expect(both).toContain(sampler.nextSync(one, given(more)).id);
          expect(own).toContain(sampler.nextSync(one).id);
        }
  });

  it('are rows, targets, ids to embed and drafts', () => {
    const weight = someNumbers(VOCAB, 4);
    const other = LMHead.from(weight, { vocabSize: VOCAB, hiddenSize: 1, backend });
    for (let count = 1; count <= 300; count += 13) {
      const list = some(count);
      const values = Float32Array.from(list, id => weight[id]);
      expect(other.embed(list)).toEqual(values);
      expect(other.logitsSync(one, { rows: list })).toEqual(values);
      const all = other.logProbsSync(one);
      const many = new Float32Array(count).fill(1);
      expect(other.scoreSync(many, list).logProbs).toEqual(Float32Array.from(list, id => all[id]));
      const best = other.argmaxSync(one)[0];
      const draft = list.map((id, i) => (i < count / 2 ? best : id));
      const rejected = draft.findIndex(id => id !== best);
      expect(other.verifyDraftSync(many, draft, { temperature: 0 }).accepted).toBe(
        rejected < 0 ? count : rejected,
      );
    }
  });

  it('are biased and penalized each by what is said of it, whatever else is', () => {
    fc.assert(
      fc.property(
        ids(300),
        ids(300),
        ids(300),
        ids(400),
        ids(300),
        (biased, banned, ends, history, allowed) => {
          const counts = new Float64Array(VOCAB);
          for (const id of history) counts[id]++;
          const excluded = new Set([...banned, ...ends]);
          const plus = new Set(biased);
          const may = new Set([...allowed, 0, 1, 2]);
          const weights = everyId.map(id =>
            excluded.has(id) || !may.has(id)
              ? 0
              : Math.exp((plus.has(id) ? 1 : 0) - 0.25 * counts[id] - (counts[id] > 0 ? 0.5 : 0)),
          );
          const sum = weights.reduce((a, b) => a + b, 0);
          const options = {
            logitBias: new Map([...biased].map(id => [id, 1])),
            bannedIds: banned,
            eosIds: ends,
            minLength: 1,
            length: 0,
            history,
            frequencyPenalty: 0.25,
            presencePenalty: 0.5,
            allowedIds: [...allowed, 0, 1, 2],
          };
          if (sum === 0) {
            throwsKind(() => head.candidatesSync(one, options), 'RANGE', 'no id that may be drawn');
            return;
          }
          const { ids, probs } = head.candidatesSync(one, options);
          const got = new Float64Array(VOCAB);
          ids.forEach((id, i) => {
            got[id] = probs[i];
          });
          for (const id of everyId) expect(got[id]).toBeCloseTo(weights[id] / sum, 6);
        },
      ),
      { numRuns: 100, endOnFailure: true },
    );
  });

  it('of a sampler are never drawn', () => {
    const banned = everyId.slice(0, VOCAB - 3);
    const sampler = head.sampler({ bannedIds: banned, seed: 1 });
    for (let i = 0; i < 200; i++) expect(sampler.nextSync(one).id).toBeGreaterThanOrEqual(VOCAB - 3);
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
