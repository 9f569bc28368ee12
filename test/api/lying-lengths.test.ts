/** Lists that are not as long as they say, or much longer than what is in them. */
import { describe, expect, it } from 'vitest';
import { candidatesOf, type Ids, LMHead, logSoftmax, sampleFrom, topKOf } from '../../lib';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { D, makeHead, someHidden, someWeight, V } from '../support/heads';

type Numbers = Float32Array | Float64Array | Uint32Array | Uint16Array | BigInt64Array | Int32Array;

/** A typed array that says what it likes of itself, and whose methods do what they like. */
function lying<T extends Numbers>(array: T, length: number): T {
  const no = () => {
    throw new Error('asked the array');
  };
  const methods = ['subarray', 'slice', 'set', 'at', 'fill', 'map', 'every'];
  const properties = { length, byteLength: 4 * length, byteOffset: 1, buffer: new ArrayBuffer(8) };
  for (const name of methods) Object.defineProperty(array, name, { value: no });
  for (const [name, value] of Object.entries(properties)) Object.defineProperty(array, name, { value });
  return array;
}

describe.each(backends)('arrays that lie about themselves, %s', backend => {
  const norm = { type: 'layernorm', weight: new Float32Array(D).fill(2), eps: 1e-5 } as const;
  const bias = new Float32Array(V).fill(0.5);
  const head = makeHead(backend, { norm: { ...norm, bias: norm.weight }, bias });
  const hidden = someHidden();
  const logits = head.logitsSync(hidden);

  it.each([0, 1, 4, 1e9, -1, Number.NaN])('are taken for what they are: length %s', async length => {
    const lie = <T extends Numbers>(array: T): T => lying(array.slice() as T, length);
    const odd = makeHead(
      backend,
      {
        bias: lie(bias),
        norm: { ...norm, weight: lie(norm.weight), bias: lie(norm.weight) },
        inputEmbedding: lie(someWeight()),
      },
      lie(someWeight()),
    );
    expect(odd.logitsSync(hidden, { norm: true })).toEqual(head.logitsSync(hidden, { norm: true }));

    const states = lie(hidden);
    const halves = new Uint16Array(2 * D).fill(0x3c00);
    for (const options of [{}, { norm: true }]) {
      expect(head.logitsSync(states, options)).toEqual(head.logitsSync(hidden, options));
      expect(await head.logits(states, options)).toEqual(head.logitsSync(hidden, options));
      const f16 = { hiddenDtype: 'f16', ...options } as const;
      expect(head.logitsSync(lie(halves), f16)).toEqual(head.logitsSync(halves, f16));
    }
    expect(head.logitsSync({ data: states, dims: [2, D] })).toEqual(logits);
    expect(head.nearestSync(lie(someHidden(1)), 3, { metric: 'cosine' })).toEqual(
      head.nearestSync(someHidden(1), 3, { metric: 'cosine' }),
    );
    expect(await head.verify(states)).toEqual(await head.verify(hidden));
    expect(topKOf(lie(logits), V, 3)).toEqual(topKOf(logits, V, 3));
    expect(sampleFrom(lie(logits), V, { seed: 1 })).toEqual(sampleFrom(logits, V, { seed: 1 }));
    expect(candidatesOf(lie(halves.slice(0, V)), V, { hiddenDtype: 'f16', topK: 3 })).toEqual(
      candidatesOf(halves.slice(0, V), V, { hiddenDtype: 'f16', topK: 3 }),
    );

    for (const array of [Uint32Array.of(3, 5), Int32Array.of(3, 5), BigInt64Array.of(3n, 5n)]) {
      const ids = lie(array);
      expect(head.embed(ids)).toEqual(head.embed([3, 5]));
      expect(head.scoreSync(hidden, ids)).toEqual(head.scoreSync(hidden, [3, 5]));
      expect(head.logitsSync(hidden, { rows: ids })).toEqual(head.logitsSync(hidden, { rows: [3, 5] }));
      for (const name of ['bannedIds', 'allowedIds'])
        expect(head.candidatesSync(hidden, { [name]: ids })).toEqual(
          head.candidatesSync(hidden, { [name]: [3, 5] }),
        );
    }
    const allowedMask = lie(Uint32Array.of(40));
    expect(head.candidatesSync(hidden, { allowedMask })).toEqual(
      head.candidatesSync(hidden, { allowedIds: [3, 5] }),
    );
    const topP = lie(Float64Array.of(0.5, 0.7)) as never;
    expect(head.candidatesSync(hidden, { topP })).toEqual(head.candidatesSync(hidden, { topP: [0.5, 0.7] }));
    const draft = new Float32Array(V).fill(-Math.log(V));
    const at = { seed: 3 };
    const verdict = head.verifyDraftSync(hidden, [4], { draftLogProbs: draft, ...at });
    expect(head.verifyDraftSync(hidden, [4], { draftLogProbs: lie(draft), ...at })).toEqual(verdict);
    expect(await head.verifyDraft(hidden, [4], { draftLogProbs: lie(draft), ...at })).toEqual(verdict);

    const out = lie(new Float32Array(2 * V));
    expect(head.logitsSync(hidden, { out })).toBe(out);
    expect([...Array(2 * V).keys()].map(i => out[i])).toEqual([...logits]);
    for (let i = 0; i < 2 * V; i++) out[i] = 0;
    expect(await head.logits(hidden, { out })).toBe(out);
    expect([...Array(2 * V).keys()].map(i => out[i])).toEqual([...logits]);
    const probs = lie(new Float32Array(2 * V));
    logSoftmax(logits, V, { out: probs });
    expect(probs[2 * V - 1]).toBe(logSoftmax(logits, V)[2 * V - 1]);
    const rows = lie(new Float32Array(2 * D));
    head.embed([1, 2], rows);
    expect(rows[D]).toBe(head.embed([2])[0]);
  });
});

describe('lists with much less in them than they say', () => {
  const head = LMHead.from(someWeight(), { vocabSize: V, hiddenSize: D });
  const hidden = someHidden();
  const holes = new Array(1e8);
  const alike = { length: 2 ** 32 - 1, 0: 1, 1: 2 };

  it.each(['bannedIds', 'allowedIds', 'history', 'rows', 'eosIds'])(
    '%s stop at the first hole',
    async name => {
      for (const [list, place] of [
        [holes, 0],
        [alike, 2],
      ] as const) {
        const options = { [name]: list, ...(name === 'eosIds' && { minLength: 1 }) };
        const message = `${name}[${place}]: got undefined`;
        throwsKind(() => head.sampleSync(hidden, options), 'ARGUMENT', message);
        await rejectsKind(() => head.sample(hidden, options), 'ARGUMENT', message);
        if (name !== 'rows')
          throwsKind(() => sampleFrom(new Float32Array(V), V, options), 'ARGUMENT', message);
        if (name !== 'history') continue;
        throwsKind(() => head.sampler({ history: list as Ids }), 'ARGUMENT', message);
        const state = { ...head.sampler().toJSON(), history: list as number[] };
        throwsKind(() => head.sampler().restore(state), 'ARGUMENT', `state.history[${place}]`);
      }
    },
  );

  it('ids to embed, targets and drafts too', () => {
    throwsKind(() => head.embed(holes), 'ARGUMENT', 'ids[0]: got undefined');
    throwsKind(() => head.embed(alike as Ids), 'ARGUMENT', 'ids[2]: got undefined');
    for (const list of [holes, alike as Ids]) {
      throwsKind(() => head.scoreSync(hidden, list), 'SHAPE', 'targets: got');
      throwsKind(() => head.verifyDraftSync(hidden, list), 'SHAPE', 'draftIds: got');
      throwsKind(() => head.nearestSync(1, 2, { rows: list }), 'ARGUMENT', 'rows[');
    }
  });

  it('stages and breakers stop at the first hole', () => {
    throwsKind(
      () => head.sampleSync(hidden, { stageOrder: holes }),
      'ARGUMENT',
      'stageOrder[0]: got undefined',
    );
    const again = new Array(1e8).fill('topK', 0, 2);
    throwsKind(
      () => head.sampleSync(hidden, { stageOrder: again }),
      'RANGE',
      "stageOrder[1]: got 'topK' again",
    );
    const options = { history: [1], dryMultiplier: 1 };
    const someHoles = [[1, 2], 4];
    someHoles[3] = 5;
    for (const dryBreakers of [holes, someHoles])
      throwsKind(() => head.sampleSync(hidden, { ...options, dryBreakers }), 'ARGUMENT', 'dryBreakers[');
    const sequence = [alike as never];
    throwsKind(() => head.sampleSync(hidden, { ...options, dryBreakers: sequence }), 'ARGUMENT', '[0][2]');
  });

  it('numbers of millions of digits are refused by their size', () => {
    const long = 1n << 16777216n;
    const message = 'got a bigint of more than 128 bits';
    throwsKind(() => head.sampleSync(hidden, { seed: long }), 'RANGE', `seed: ${message}`);
    throwsKind(() => head.sampleSync(hidden, { seed: [1, -long] }), 'RANGE', `seed[1]: ${message}`);
    throwsKind(() => head.sampler({ seed: long }), 'RANGE', `seed: ${message}`);
    throwsKind(() => head.embed([long] as never), 'RANGE', `ids[0]: ${message}`);
    throwsKind(() => head.sampler().accept(long), 'RANGE', `id[0]: ${message}`);
    throwsKind(() => head.nearestSync(-long, 2), 'RANGE', message);
    throwsKind(() => head.sampleSync(hidden, { step: long as never }), 'ARGUMENT', `step: ${message}`);
    const list = new Proxy([], {
      get: (target, key) => (key === 'length' ? long : Reflect.get(target, key)),
    });
    const length = 'an array of length a bigint of more than 128 bits';
    throwsKind(() => head.verifyDraftsSync(list), 'ARGUMENT', `drafts: got ${length}`);
    throwsKind(() => head.nextAllSync(list, hidden), 'ARGUMENT', `samplers: got ${length}`);
    const state = { ...head.sampler().toJSON(), seed: '9'.repeat(2e6) };
    throwsKind(() => head.sampler().restore(state), 'ARGUMENT', 'state.seed');
    expect(head.sampler({ seed: 2n ** 64n - 1n }).toJSON().seed).toBe(`${2n ** 64n - 1n}`);
    throwsKind(() => head.sampler({ seed: 2n ** 64n }), 'RANGE', `got ${2n ** 64n}n`);
  });

  it('numbers per row are counted first', () => {
    for (const name of [
      'temperature',
      'topK',
      'seed',
      'step',
      'stream',
      'pLess',
      'temperatureRange',
      'minLength',
    ])
      throwsKind(
        () => head.sampleSync(hidden, { [name]: holes, ...(name === 'minLength' && { eosIds: [1] }) }),
        'SHAPE',
        `${name}: got 100000000 values`,
      );
    const first = [{ 1: 2 }];
    first.length = 1e8;
    throwsKind(
      () => head.sampleSync(hidden, { logitBias: first }),
      'SHAPE',
      'logitBias: got 100000000 lists',
    );
    const lists = [[1]];
    lists.length = 1e8;
    throwsKind(() => head.sampleSync(hidden, { bannedIds: lists }), 'SHAPE', 'bannedIds: got 100000000');
  });

  it('more ids than there is room for at first are all read', () => {
    for (const count of [4095, 4096, 4097, 8192, 8193, 50_000]) {
      const ids = Array.from({ length: count }, (_, i) => (7 * i) % V);
      const bytes = (list: Ids) => Buffer.from(head.embed(list).buffer);
      expect(bytes(ids).equals(bytes(Uint32Array.from(ids)))).toBe(true);
      throwsKind(() => head.embed([...ids, V]), 'RANGE', `ids[${count}]: got ${V}`);
    }
  });
});
