import { describe, expect, it } from 'vitest';
import { candidatesOf, LMHead, type SampleOptions, sampleFrom } from '../../lib';
import { adjustmentsOf } from '../../lib/arguments/adjustments';
import { rowParameters } from '../../lib/arguments/row-parameters';
import { type LogitsJob, noCandidates } from '../../lib/backend/backend';
import { nativeLogits } from '../../lib/backend/native';
import { referenceLogits } from '../../lib/reference/backend';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { D, makeHead, someHidden, V } from '../support/heads';
import { someNumbers } from '../support/numbers';

const words = Math.ceil(V / 32);
const maskOf = (...ids: number[]) => {
  const mask = new Uint32Array(words);
  for (const id of ids) mask[id >>> 5] |= 1 << (id & 31);
  return mask;
};

describe.each(backends)('adjustments, %s', backend => {
  const head = makeHead(backend);
  const hidden = someHidden();
  const left = (options: SampleOptions, row = 0) => {
    const { ids, offsets } = head.candidatesSync(hidden, options);
    return [...ids.subarray(offsets[row], offsets[row + 1])].sort((a, b) => a - b);
  };
  const all = Array.from({ length: V }, (_, id) => id);

  it('leave what is allowed by a list of ids, whatever array it comes in', () => {
    for (const allowedIds of [
      [2, 3, 12],
      Int32Array.of(12, 2, 3, 2),
      Uint32Array.of(2, 3, 12),
      BigInt64Array.of(3n, 12n, 2n),
    ])
      expect(left({ allowedIds })).toEqual([2, 3, 12]);
    for (const word of [Uint32Array.of(5), Int32Array.of(5)]) // as long as a mask would be
      expect(left({ allowedIds: word })).toEqual([5]);
    expect(left({ allowedIds: [[1], [4, 5]] })).toEqual([1]);
    expect(left({ allowedIds: [Uint32Array.of(1), Uint32Array.of(4, 5)] }, 1)).toEqual([4, 5]);
    const { ids } = head.topKSync(hidden.subarray(0, D), 3);
    expect(left({ allowedIds: ids })).toEqual([...ids].sort((a, b) => a - b));
  });

  it('leave what is allowed by a mask of 32-bit words, signed or not', () => {
    const mask = maskOf(2, 3, 12);
    const bytes = new Uint8Array(4 * words + 4);
    const apart = new Int32Array(bytes.buffer, 4);
    apart.set(mask);
    for (const allowedMask of [mask, Int32Array.from(mask), apart]) {
      expect(left({ allowedMask })).toEqual([2, 3, 12]);
      expect(left({ allowedMask: [maskOf(1), allowedMask] }, 1)).toEqual([2, 3, 12]);
    }
    expect(left({ allowedMask: Int32Array.of(-1) })).toEqual(all);
  });

  it('take masks of all ids, or of those that are valid', () => {
    const [vocabSize, validVocabSize] = [128, 90];
    const weight = someNumbers(vocabSize * D, 2);
    const padded = makeHead(backend, { vocabSize, validVocabSize }, weight);
    for (const length of [3, 4])
      for (const fill of [0xffffffff, -1]) {
        const mask = fill < 0 ? new Int32Array(length) : new Uint32Array(length);
        expect(padded.candidatesSync(hidden, { allowedMask: mask.fill(fill) }).ids).toHaveLength(180);
        mask.fill(0)[2] = 1 << 25; // 89
        expect([...padded.candidatesSync(hidden, { allowedMask: [mask, mask] }).ids]).toEqual([89, 89]);
      }
    for (const length of [2, 5])
      throwsKind(
        () => padded.sampleSync(hidden, { allowedMask: new Uint32Array(length) }),
        'SHAPE',
        `got ${length} words`,
        'want a Uint32Array or Int32Array of 3 or 4 words',
      );
  });

  it('work on the rows that a call is about', () => {
    expect(left({ rows: [9, 2, 5], bannedIds: [2, 0] })).toEqual([5, 9]);
    expect(left({ rows: [9, 2, 5], allowedIds: [0, 9, 12], logitBias: { 3: 1, 9: 1 } })).toEqual([9]);
    throwsKind(() => head.sampleSync(hidden, { rows: [2], bannedIds: [2] }), 'RANGE', 'row 0');
  });

  it('ban ids, by name or by a bias of -Infinity', () => {
    const without = all.filter(id => id !== 0 && id !== 7);
    expect(left({ bannedIds: [0, 7, 7] })).toEqual(without);
    expect(left({ logitBias: { 0: -Infinity, 7: -Infinity } })).toEqual(without);
    expect(left({ bannedIds: [[0, 7], []] }, 1)).toEqual(all);
    expect(left({ allowedIds: [0, 7, 8], bannedIds: [7], logitBias: { 8: 50, 7: 1000 } })).toEqual([0, 8]);
  });

  it('bias the logits that are drawn from, and no others', () => {
    const logitBias = new Map([[5, 100]]);
    expect([...head.sampleSync(hidden, { temperature: 0, logitBias }).ids]).toEqual([5, 5]);
    const wanted = head.runSync(hidden, { logits: true, argmax: true, top: 3, targets: [5, 5] });
    const request = {
      logits: true,
      argmax: true,
      top: 3,
      targets: [5, 5],
      sample: true,
      seed: 1,
      logitBias,
    } as const;
    const { sample, ...rest } = head.runSync(hidden, request);
    expect(rest).toEqual(wanted);
    expect([...sample.ids]).toEqual([5, 5]);
    expect(head.sampleSync(hidden, { logitBias: [{}, { 5: 100 }], seed: 1 }).ids[1]).toBe(5);
  });

  it('shift log-probabilities as a softmax of shifted logits does', () => {
    const u = head.logitsSync(hidden).subarray(0, V);
    const { probs, ids } = head.candidatesSync(hidden.subarray(0, D), { logitBias: { 3: 1.5, 4: -2 } });
    const e = Array.from(u, (x, id) => Math.exp(x + (id === 3 ? 1.5 : id === 4 ? -2 : 0)));
    const sum = e.reduce((a, b) => a + b);
    ids.forEach((id, i) => {
      expect(probs[i]).toBeCloseTo(e[id] / sum, 5);
    });
  });

  it('are the same for a promise', async () => {
    const options = { seed: 3, allowedIds: [1, 5, 6], logitBias: { 1: 0.5 } };
    expect(await head.sample(hidden, options)).toEqual(head.sampleSync(hidden, options));
    expect(await head.candidates(hidden, options)).toEqual(head.candidatesSync(hidden, options));
  });

  it('hold an own copy of the mask', async () => {
    const allowedMask = maskOf(4);
    const pending = head.sample(hidden, { allowedMask });
    allowedMask.fill(0);
    expect([...(await pending).ids]).toEqual([4, 4]);
  });

  it.each<[string, SampleOptions]>([
    ['a mask of zeros', { allowedMask: new Uint32Array(words) }],
    ['an empty list', { allowedIds: [] }],
    ['all banned', { bannedIds: all }],
    ['only banned ones', { allowedIds: [3], bannedIds: [3] }],
    ['bits beyond V', { allowedMask: Uint32Array.of(0xffffe000) }],
  ])('that leave nothing are an error: %s', async (_, options) => {
    for (const temperature of [0, 1])
      for (const more of [{}, { topK: 2 }, { topP: 0.5 }, { minP: 0.1 }]) {
        const o = { ...options, ...more, temperature };
        throwsKind(() => head.sampleSync(hidden, o), 'RANGE', 'allowedIds', 'allowedMask', 'row 0');
        throwsKind(() => head.candidatesSync(hidden, o), 'RANGE', 'allowedIds', 'allowedMask', 'row 0');
        await rejectsKind(() => head.sample(hidden, o), 'RANGE', 'allowedIds', 'allowedMask', 'row 0');
      }
    expect(head.argmaxSync(hidden).length).toBe(2);
  });

  it.each<[unknown, string, string[]]>([
    [[V], 'RANGE', ['allowedIds[0]', `below ${V}`]],
    [Uint32Array.of(V), 'RANGE', ['allowedIds[0]', `below ${V}`]],
    [[-1], 'RANGE', ['allowedIds[0]']],
    [['1'], 'ARGUMENT', ['allowedIds[0]']],
    [5, 'ARGUMENT', ['allowedIds', 'got 5']],
    [null, 'ARGUMENT', ['allowedIds', 'got null']],
    [[[1], [2], [3]], 'SHAPE', ['allowedIds', 'got 3', '2']],
    [[[1], 5], 'ARGUMENT', ['allowedIds[1]', 'got 5']],
  ])('allowedIds is not %s', (allowedIds, kind, texts) => {
    throwsKind(() => head.sampleSync(hidden, { allowedIds } as SampleOptions), kind as 'SHAPE', ...texts);
  });

  it.each<[unknown, string, string[]]>([
    [new Uint32Array(words + 1), 'SHAPE', ['allowedMask: got 2 words', `of ${words} words`, `${V} ids`]],
    [new Int32Array(0), 'SHAPE', ['allowedMask: got 0 words', 'ids go in allowedIds']],
    [new Uint32Array(V), 'SHAPE', ['ids go in allowedIds']],
    [new Uint8Array(4 * words), 'DTYPE', ['allowedMask: got a Uint8Array', 'bytes.byteOffset']],
    [Buffer.alloc(4 * words), 'DTYPE', ['allowedMask', 'bytes.byteOffset', 'allowedIds']],
    [new Uint8Array(V), 'DTYPE', ['allowedMask', 'allowedIds']],
    [BigUint64Array.of(1n), 'DTYPE', ['allowedMask: got a BigUint64Array']],
    [[1], 'ARGUMENT', ['allowedMask: got an array', 'Uint32Array or Int32Array']],
    [[], 'ARGUMENT', ['allowedMask: got an array']],
    [5, 'ARGUMENT', ['allowedMask: got 5']],
    [new ArrayBuffer(4), 'ARGUMENT', ['allowedMask: got an object']],
    [[maskOf(1)], 'SHAPE', ['allowedMask: got 1 lists', '2, one per row']],
    [[maskOf(1), [2]], 'ARGUMENT', ['allowedMask[1]: got an array']],
    [[maskOf(1), new Uint32Array(9)], 'SHAPE', ['allowedMask[1]: got 9 words']],
  ])('allowedMask is not %s', (allowedMask, kind, texts) => {
    throwsKind(() => head.sampleSync(hidden, { allowedMask } as SampleOptions), kind as 'SHAPE', ...texts);
  });

  it('are refused where ids and a mask are given, and under the name that both have replaced', () => {
    const both: SampleOptions = { allowedIds: [1], allowedMask: maskOf(1) };
    throwsKind(() => head.sampleSync(hidden, both), 'RANGE', 'allowedMask', 'allowedIds');
    const old = { allowed: [1] } as object;
    const wanted = 'allowed: got an option that';
    for (const call of [
      () => head.sampleSync(hidden, old),
      () => head.candidatesSync(hidden, old),
      () => head.runSync(hidden, { sample: true, ...old }),
      () => head.verifyDraftSync(hidden, [1], old),
      () => head.sampler(old),
      () => head.sampler().nextSync(hidden.subarray(0, D), old),
      () => sampleFrom(new Float32Array(V), V, old),
    ])
      throwsKind(call, 'ARGUMENT', wanted, 'want allowedIds for ids, or allowedMask for a mask of bits');
  });

  it('refuse a mask whose memory has gone', () => {
    const gone = maskOf(1);
    structuredClone(gone.buffer, { transfer: [gone.buffer] });
    throwsKind(() => head.sampleSync(hidden, { allowedMask: gone }), 'SHAPE', 'allowedMask', 'detached');
  });

  it.each<[unknown, string, string[]]>([
    [{ [V]: 1 }, 'RANGE', ['logitBias', `below ${V}`]],
    [{ x: 1 }, 'ARGUMENT', ['logitBias', '"x"']],
    [{ 1: '2' }, 'ARGUMENT', ['logitBias[1]']],
    [{ 1: Number.NaN }, 'RANGE', ['logitBias[1]', 'NaN']],
    [{ 1: Infinity }, 'RANGE', ['logitBias[1]', 'Infinity']],
    [new Map([[1.5, 1]]), 'RANGE', ['logitBias', '1.5']],
    [3, 'ARGUMENT', ['logitBias', 'got 3']],
    [[1, 2], 'ARGUMENT', ['logitBias', 'an array']],
    [[{}, {}, {}], 'SHAPE', ['logitBias', 'got 3']],
    [[{}, { 99: 1 }], 'RANGE', ['logitBias[1]']],
  ])('logitBias is not %j', (logitBias, kind, texts) => {
    throwsKind(() => head.sampleSync(hidden, { logitBias } as SampleOptions), kind as 'RANGE', ...texts);
  });

  it('keep ids below validVocabSize', () => {
    const padded = makeHead(backend, { validVocabSize: V - 2 });
    throwsKind(
      () => padded.sampleSync(hidden, { bannedIds: [V - 2] }),
      'RANGE',
      'bannedIds[0]',
      `below ${V - 2}`,
    );
    throwsKind(() => padded.sampleSync(hidden, { allowedMask: maskOf(V - 1) }), 'RANGE', 'row 0');
  });
});

describe('adjustments of given logits', () => {
  it('are taken by the functions', () => {
    const u = Float32Array.of(0, 1, 2, 3);
    expect([...candidatesOf(u, 4, { allowedIds: [0, 2] }).ids]).toEqual([2, 0]);
    expect([...sampleFrom(u, 4, { bannedIds: [3], temperature: 0 }).ids]).toEqual([2]);
    throwsKind(() => candidatesOf(u, 4, { allowedMask: new Uint32Array(2) }), 'SHAPE', 'allowedMask');
  });

  it('give the same tokens natively and by the reference, whichever way they are drawn', () => {
    const [v, n] = [1500, 6];
    const logits = someNumbers(n * v, 11).map(x => 4 * x);
    const bias = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [i * 5, ((i * 7) % 11) - 5]));
    const mask = Uint32Array.from({ length: Math.ceil(v / 32) }, (_, i) =>
      i % 5 === 0 ? 0 : 0x5bd1e995 * (i + 1),
    );
    for (const filter of [
      {},
      { temperature: 0 },
      { topK: 20 },
      { topP: 0.9 },
      { minP: 0.05 },
      { minP: 1e-12 },
      { topK: 1200 },
    ])
      for (const adjust of [
        { logitBias: bias },
        { bannedIds: [1, 2, 3, 700] },
        { allowedMask: mask },
        { logitBias: bias, allowedMask: mask },
      ]) {
        const options = { seed: 5, ...filter, ...adjust };
        const job = (): LogitsJob => ({
          n,
          givenLogits: logits,
          vocabSize: v,
          rowParameters: rowParameters(options, n, v, 'sample', true),
          adjustments: adjustmentsOf(options, n, v, v),
          sample: { ids: new Uint32Array(n), logProbs: new Float32Array(n) },
          candidates: noCandidates(),
        });
        const [native, reference] = [job(), job()];
        nativeLogits().runLogits(native);
        referenceLogits.runLogits(reference);
        expect(native.sample!.ids).toEqual(reference.sample!.ids);
        expect(native.candidates!.ids).toEqual(reference.candidates!.ids);
        for (const id of native.candidates!.ids)
          if (adjust.allowedMask) expect((mask[id >>> 5] >>> (id & 31)) & 1).toBe(1);
      }
  });

  it('do not change tokens with the number of rows', () => {
    const head = LMHead.from(someNumbers(700 * 9, 4), { vocabSize: 700, hiddenSize: 9 });
    const hidden = someNumbers(20 * 9, 5);
    const lists = Array.from({ length: 20 }, (_, row) =>
      Array.from({ length: 30 }, (_, i) => (row * 31 + i * 17) % 700),
    );
    for (const more of [{}, { topP: 0.7 }, { topK: 5 }]) {
      const whole = head.sampleSync(hidden, { seed: 8, allowedIds: lists, ...more });
      for (let row = 0; row < 20; row++) {
        const one = head.sampleSync(hidden.subarray(row * 9, row * 9 + 9), {
          seed: 8,
          step: row,
          allowedIds: lists[row],
          ...more,
        });
        expect([one.ids[0], one.logProbs[0]]).toEqual([whole.ids[row], whole.logProbs[row]]);
        expect(lists[row]).toContain(one.ids[0]);
      }
    }
  });
});
