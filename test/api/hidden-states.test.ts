import { describe, expect, it } from 'vitest';
import type { ErrorKind } from '../../lib/errors';
import { candidatesOf, sampleFrom } from '../../lib/pass/given-logits';
import type { Hidden } from '../../lib/types';
import { backends } from '../support/backends';
import {
  call,
  callSync,
  D,
  headUnderTest,
  makeHead,
  methods,
  someHidden,
  someWeight,
  V,
} from '../support/heads';
import { expectNear, products, someBits } from '../support/matrices';

type Case = [what: string, hidden: unknown, options: object, kind: ErrorKind, ...words: string[]];

const tensor = (data: unknown, dims: unknown, type?: unknown) => ({ data, dims, type });
const data = someHidden(2);
const halves = new Uint16Array(2 * D);

const cases: Case[] = [
  ['undefined', undefined, {}, 'ARGUMENT', 'hidden', 'undefined'],
  ['null', null, {}, 'ARGUMENT', 'hidden', 'null'],
  ['a number', 7, {}, 'ARGUMENT', 'hidden', 'got 7'],
  ['a bigint', 7n, {}, 'ARGUMENT', 'hidden', '7n'],
  ['a string', 'hidden', {}, 'ARGUMENT', 'hidden', '"hidden"'],
  ['a symbol', Symbol('h'), {}, 'ARGUMENT', 'hidden', 'Symbol(h)'],
  ['a function', () => data, {}, 'ARGUMENT', 'hidden', 'a function'],
  ['a plain array', Array.from(data), {}, 'ARGUMENT', 'hidden', 'an array', 'Float32Array'],
  ['a buffer', data.buffer, {}, 'ARGUMENT', 'hidden', 'undefined'],
  ['a DataView', new DataView(data.buffer), {}, 'ARGUMENT', 'hidden', 'a DataView'],
  ['a proxy of an array', new Proxy(data, {}), {}, 'ARGUMENT', 'hidden', 'an object'],
  ['float64', new Float64Array(D), {}, 'DTYPE', 'hidden', 'Float64Array'],
  ['int8', new Int8Array(D), {}, 'DTYPE', 'hidden', 'Int8Array'],
  ['bigints', new BigUint64Array(D), {}, 'DTYPE', 'hidden', 'BigUint64Array'],
  ['one number too few', data.subarray(1), {}, 'SHAPE', 'hidden', `${2 * D - 1}`, `hiddenSize ${D}`],
  ['one number too many', new Float32Array(2 * D + 1), {}, 'SHAPE', 'hidden', `${2 * D + 1}`],
  ['16 bits of an unknown kind', halves, {}, 'DTYPE', 'hiddenDtype', 'undefined', 'bf16'],
  ['16 bits said to be f32', halves, { hiddenDtype: 'f32' }, 'DTYPE', 'hiddenDtype', '"f32"'],
  ['32 bits said to be f16', data, { hiddenDtype: 'f16' }, 'DTYPE', 'hiddenDtype', '"f16"', 'Float32Array'],
  ['an unknown hiddenDtype', data, { hiddenDtype: 'f64' }, 'DTYPE', 'hiddenDtype', '"f64"'],
  ['a hiddenDtype of a wrong type', data, { hiddenDtype: 2 }, 'ARGUMENT', 'hiddenDtype', 'got 2'],
  ['norm where the head has none', data, { norm: true }, 'RANGE', 'norm', 'without one'],
  ['norm of a wrong type', data, { norm: 1 }, 'ARGUMENT', 'norm', 'got 1', 'true or false'],
  // Tensors.
  ['a tensor without data', tensor(undefined, [2, D]), {}, 'ARGUMENT', 'hidden', 'data undefined'],
  ['a tensor of an array', tensor(Array.from(data), [2, D]), {}, 'ARGUMENT', 'hidden', 'data an array'],
  ['a tensor without dims', tensor(data, undefined), {}, 'ARGUMENT', 'hidden.dims', 'undefined'],
  ['a tensor with dims of text', tensor(data, '2,7'), {}, 'ARGUMENT', 'hidden.dims', '"2,7"'],
  ['a tensor of no dims', tensor(data, []), {}, 'SHAPE', 'hidden.dims', '[]', `[n, ${D}]`],
  ['a tensor of other columns', tensor(data, [D, 2]), {}, 'SHAPE', 'hidden.dims', `[${D}, 2]`],
  ['a tensor with fewer rows', tensor(data, [1, D]), {}, 'SHAPE', 'hidden.data', `${2 * D}`, `want ${D}`],
  ['a tensor with more rows', tensor(data, [3, D]), {}, 'SHAPE', 'hidden.data', `want ${3 * D}`],
  ['a batch of two', tensor(data, [2, 1, D]), {}, 'SHAPE', 'hidden.dims', `[2, 1, ${D}]`],
  ['four dimensions', tensor(data, [1, 1, 2, D]), {}, 'SHAPE', 'hidden.dims'],
  ['−1 rows', tensor(data, [-1, D]), {}, 'SHAPE', 'hidden.dims', '-1'],
  ['half a row', tensor(data, [1.5, D]), {}, 'SHAPE', 'hidden.dims', '1.5'],
  ['rows in quotes', tensor(data, ['2', D]), {}, 'SHAPE', 'hidden.dims', '"2"'],
  ['bigint dims', tensor(data, [2n, BigInt(D)]), {}, 'SHAPE', 'hidden.dims', '2n'],
  ['2^53 rows', tensor(data, [2 ** 53, D]), {}, 'SHAPE', 'hidden.data'],
  [
    'a tensor of int64',
    tensor(new BigInt64Array(2 * D), [2, D], 'int64'),
    {},
    'DTYPE',
    'hidden.type',
    '"int64"',
  ],
  ['a tensor of a type from the prototype', tensor(data, [2, D], 'constructor'), {}, 'DTYPE', 'hidden.type'],
  ['a tensor whose type is a number', tensor(data, [2, D], 1), {}, 'DTYPE', 'hidden.type', 'got 1'],
  ['float32 in 16 bits', tensor(halves, [2, D], 'float32'), {}, 'DTYPE', 'hidden.type'],
  ['float16 in 32 bits', tensor(data, [2, D], 'float16'), {}, 'DTYPE', 'hidden.type', 'f16'],
  ['16 bits without a type', tensor(halves, [2, D]), {}, 'DTYPE', 'hiddenDtype', 'undefined'],
  [
    'a type that hiddenDtype contradicts',
    tensor(halves, [2, D], 'float16'),
    { hiddenDtype: 'bf16' },
    'DTYPE',
    'hiddenDtype',
    '"bf16"',
    "'f16'",
  ],
];

describe.each(backends)('hidden states, %s', backend => {
  const { head, refuses, worksOn } = headUnderTest(backend);

  it.each(cases)('are not %s', async (_, hidden, options, ...expected) => {
    for (const method of methods) await refuses(method, [hidden, options], ...expected);
  });

  it('whose data cannot be read are an error that keeps the cause', async () => {
    const cause = new Error('the data is not on CPU');
    const tensor = {
      dims: [1, D],
      get data(): never {
        throw cause;
      },
    };
    for (const method of methods) {
      await refuses(method, [tensor], 'ARGUMENT', 'hidden', 'in memory');
      await expect(call[method](head, tensor)).rejects.toMatchObject({ cause });
    }
  });

  it('may be a view in the middle of a buffer', () => {
    const large = new Float32Array(2 * D + 5);
    large.set(data, 3);
    for (const method of methods) {
      expect(callSync[method](head, large.subarray(3, 3 + 2 * D))).toEqual(callSync[method](head, data));
    }
  });

  it('may lie in shared memory', async () => {
    const shared = new Float32Array(new SharedArrayBuffer(2 * D * 4));
    shared.set(data);
    expect(head.logitsSync(shared)).toEqual(head.logitsSync(data));
    expect(await head.logits(shared)).toEqual(head.logitsSync(data));
  });

  it('may be a tensor of [d], [n,d] or [1,n,d]', async () => {
    const wanted = head.logitsSync(data);
    for (const dims of [[2, D], [1, 2, D], Object.freeze([2, D]), Int32Array.of(2, D)] as number[][]) {
      expect(head.logitsSync({ data, dims })).toEqual(wanted);
      expect(await head.logits({ data, dims, type: 'float32' })).toEqual(wanted);
    }
    expect(head.logitsSync({ data: data.subarray(0, D), dims: [D] })).toEqual(wanted.subarray(0, V));
    expect(head.argmaxSync({ data: new Float32Array(0), dims: [0, D] })).toEqual(new Uint32Array(0));
  });

  it.each(['f16', 'bf16'] as const)('may be %s, as an array or as a tensor', async hiddenDtype => {
    const { bits, numbers } = someBits(2 * D, hiddenDtype);
    const type = hiddenDtype === 'f16' ? 'float16' : 'bfloat16';
    const wanted = products(numbers, someWeight(), D);
    const forms: [Hidden, object][] = [
      [bits, { hiddenDtype }],
      [{ data: bits, dims: [2, D], type }, {}],
      [{ data: bits, dims: [2, D], type }, { hiddenDtype }],
      [{ data: bits, dims: [2, D] }, { hiddenDtype }],
    ];
    const first = head.logitsSync(...forms[0]);
    expectNear(first, wanted);
    for (const [hidden, options] of forms) {
      expect(head.logitsSync(hidden, options)).toEqual(first);
      expect(await head.logits(hidden, options)).toEqual(first);
    }
    worksOn();
  });

  it.runIf('Float16Array' in globalThis)('may be a Float16Array', async () => {
    const { bits } = someBits(2 * D, 'f16');
    const Float16Array = (globalThis as unknown as { Float16Array: new (b: ArrayBufferLike) => never })
      .Float16Array;
    const wanted = head.logitsSync(bits, { hiddenDtype: 'f16' });
    expect(head.logitsSync(new Float16Array(bits.buffer))).toEqual(wanted);
    expect(await head.logits({ data: new Float16Array(bits.buffer), dims: [2, D] })).toEqual(wanted);
  });
});

describe.each(backends)('a call with no hidden states, %s', backend => {
  it.each(methods)('%s gives empty results', async method => {
    const head = makeHead(backend);
    const none = new Float32Array(0);
    const options = { temperature: [], top: 3, targets: [] };
    if (method === 'run') Object.assign(options, { sample: true, seed: [], step: [], logits: true });
    if (method === 'sample') Object.assign(options, { seed: [], step: [] });
    const result = callSync[method](head, none, options) as unknown as Record<string, unknown>;
    expect(await call[method](head, none, options)).toEqual(result);
    const arrays = [result, ...Object.values(result)].filter(ArrayBuffer.isView);
    for (const array of arrays) expect(array.byteLength).toBe(0);
    if (method === 'score')
      expect(result).toMatchObject({ count: 0, nll: Number.NaN, perplexity: Number.NaN });
    if (method === 'topK') expect(result).toMatchObject({ n: 0, k: 3 });
  });

  it.each([
    { history: [1] },
    { history: [1], repetitionPenalty: 1.1, frequencyPenalty: 1, presencePenalty: 1, penaltyWindow: 1 },
    { history: [1, 2, 1, 2], dryMultiplier: 1, dryBreakers: [3], noRepeatNgramSize: 2 },
    { history: [1], repetitionPenalty: [] },
    { bannedIds: [1] },
    { logitBias: { 1: 2 } },
    { logitBias: new Map([[1, -Infinity]]) },
    { minLength: 3, eosIds: [1], length: 0 },
    { allowedIds: [1] },
    { allowedMask: Uint32Array.of(2) },
    { topK: 2, topP: 0.5, temperature: 0.7 },
  ])('and %o gives empty results', async options => {
    const head = makeHead(backend);
    const none = new Float32Array(0);
    for (const ids of [
      head.sampleSync(none, options).ids,
      (await head.sample(none, options)).ids,
      head.candidatesSync(none, options).ids,
      (await head.candidates(none, options)).ids,
      sampleFrom(none, V, options).ids,
      candidatesOf(none, V, options).ids,
    ])
      expect(ids).toEqual(new Uint32Array(0));
  });
});

describe.each(backends)('the smallest sizes, %s', backend => {
  const sizes: [v: number, d: number, n: number][] = [
    [1, 1, 1],
    [1, 5, 3],
    [5, 1, 3],
    [2, 1, 1],
  ];
  it.each(sizes)('V = %i, d = %i, n = %i', async (v, d, n) => {
    const weight = Float32Array.from({ length: v * d }, (_, i) => (i % 3) - 1);
    const hidden = Float32Array.from({ length: n * d }, (_, i) => 1 + (i % 2));
    const head = makeHead(backend, { vocabSize: v, hiddenSize: d }, weight);
    const logits = products(hidden, weight, d); // small integers: exact
    const row = (i: number) => logits.slice(i * v, (i + 1) * v);
    const best = Array.from({ length: n }, (_, i) => row(i).indexOf(Math.max(...row(i))));
    const sums = Array.from({ length: n }, (_, i) => Math.log(row(i).reduce((s, u) => s + Math.exp(u), 0)));
    const logProbs = logits.map((u, i) => u - sums[Math.floor(i / v)]);

    const o = { top: v, temperature: 1 };
    expect([...head.logitsSync(hidden)]).toEqual(logits);
    expectNear(head.logProbsSync(hidden), logProbs);
    expectNear(head.probsSync(hidden), logProbs.map(Math.exp));
    expect([...head.argmaxSync(hidden)]).toEqual(best);
    const top = head.topKSync(hidden, v);
    expect(best).toEqual(Array.from({ length: n }, (_, i) => top.ids[i * v]));
    expectNear(top.logSumExp, sums);
    expect([...head.sampleSync(hidden, { temperature: 0 }).ids]).toEqual(best);
    expectNear(
      head.scoreSync(hidden, best).logProbs,
      best.map((id, i) => logProbs[i * v + id]),
    );
    for (const method of methods) {
      expect(await call[method](head, hidden, o)).toEqual(callSync[method](head, hidden, o));
    }
    expect([...head.embed([v - 1])]).toEqual([...weight.subarray((v - 1) * d)]);
    expect(await head.verify(hidden)).toMatchObject({ ok: true, argmaxAgrees: true });
  });
});
