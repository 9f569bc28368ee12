import { inspect } from 'node:util';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import type { ErrorKind } from '../../lib/errors';
import { LMHead } from '../../lib/lm-head';
import type { HeadOptions } from '../../lib/types';
import { backends } from '../support/backends';
import { throwsKind } from '../support/errors';
import { D, makeHead, someHidden, someWeight, V } from '../support/heads';
import { someNumbers } from '../support/numbers';

const f32 = (length: number) => new Float32Array(length);
const norm = { type: 'rmsnorm' as const, weight: f32(D), eps: 1e-6 };

/** [what, weight, options beside good ones, kind, words of the message] */
type Case = [what: string, weight: unknown, options: object, kind: ErrorKind, ...words: string[]];
const good = undefined;

const sizes: Case[] = (['vocabSize', 'hiddenSize'] as const).flatMap(name => [
  ...[0, -1, 1.5, Number.NaN, Infinity, 2 ** 32].map(
    (size): Case => [`${name} ${size}`, good, { [name]: size }, 'RANGE', name, `got ${size}`, 'integer'],
  ),
  ...['13', null, true, 13n, [13], { valueOf: () => 13 }].map(
    (size): Case => [
      `${name} of a wrong type: ${typeof size}`,
      good,
      { [name]: size },
      'ARGUMENT',
      name,
      'got',
      'integer',
    ],
  ),
  [`${name} left out`, good, { [name]: undefined }, 'ARGUMENT', name, 'undefined'],
]);

const cases: Case[] = [
  ...sizes,
  [
    'a product too large',
    good,
    { vocabSize: 2 ** 31, hiddenSize: 2 ** 31 },
    'RANGE',
    'vocabSize · hiddenSize',
  ],
  ['a short weight', f32(V * D - 1), {}, 'SHAPE', 'weight', `${V * D - 1}`, `${V * D}`],
  ['a long weight', f32(V * D + 1), {}, 'SHAPE', 'weight', `${V * D + 1}`, `${V * D}`],
  ['an empty weight', f32(0), {}, 'SHAPE', 'weight', '0 elements'],
  ['no weight', null, {}, 'ARGUMENT', 'weight', 'null'],
  ['a plain array as weight', Array(V * D).fill(0), {}, 'ARGUMENT', 'weight', 'an array'],
  ['a buffer as weight', new ArrayBuffer(V * D * 4), {}, 'ARGUMENT', 'weight', 'an object'],
  ['a DataView as weight', new DataView(new ArrayBuffer(V * D * 4)), {}, 'ARGUMENT', 'weight', 'a DataView'],
  ['float64 weight', new Float64Array(V * D), {}, 'DTYPE', 'weight', 'Float64Array'],
  ['bytes as weight', new Uint8Array(V * D), {}, 'DTYPE', 'weight', 'Uint8Array'],
  ['bigints as weight', new BigInt64Array(V * D), {}, 'DTYPE', 'weight', 'BigInt64Array'],
  ['16-bit weight without dtype', new Uint16Array(V * D), {}, 'DTYPE', 'dtype', 'undefined', 'bf16'],
  ['16-bit weight said to be f32', new Uint16Array(V * D), { dtype: 'f32' }, 'DTYPE', 'dtype', 'f32'],
  ['32-bit weight said to be f16', good, { dtype: 'f16' }, 'DTYPE', 'dtype', 'f16', 'Float32Array'],
  ['an unknown dtype', good, { dtype: 'q4_0' }, 'DTYPE', 'dtype', 'q4_0'],
  ['a dtype of a wrong type', good, { dtype: 16 }, 'ARGUMENT', 'dtype', '16'],
  ['an unknown layout', good, { layout: 'vv' }, 'RANGE', 'layout', '"vv"', "'dv'"],
  ['a layout of a wrong type', good, { layout: 1 }, 'ARGUMENT', 'layout'],
  ['a short bias', good, { bias: f32(V - 1) }, 'SHAPE', 'bias', `${V - 1}`, `vocabSize = ${V}`],
  ['a float64 bias', good, { bias: new Float64Array(V) }, 'DTYPE', 'bias', 'Float64Array'],
  ['an array as bias', good, { bias: Array(V).fill(0) }, 'ARGUMENT', 'bias', 'an array'],
  ['no bias', good, { bias: null }, 'ARGUMENT', 'bias', 'null'],
  ['logitScale NaN', good, { logitScale: Number.NaN }, 'RANGE', 'logitScale', 'NaN'],
  ['logitScale ∞', good, { logitScale: Infinity }, 'RANGE', 'logitScale', 'Infinity'],
  ['logitScale beyond float32', good, { logitScale: 1e39 }, 'RANGE', 'logitScale', '1e+39', 'float32'],
  ['logitScale that float32 makes 0', good, { logitScale: 1e-50 }, 'RANGE', 'logitScale', '1e-50', 'float32'],
  [
    'a bias that the scale takes beyond float32',
    good,
    { bias: f32(V).fill(-3e38, 1), logitScale: 10 },
    'RANGE',
    'bias[1]',
    'logitScale 10',
    'a product that float32 can hold',
  ],
  [
    'a softCap that the scale takes beyond float32',
    good,
    { softCap: 1e30, logitScale: 1e30, capOrder: 'cap-then-scale' },
    'RANGE',
    'softCap: got 1e+30 beside the logitScale 1e+30',
  ],
  [
    'a softCap that a scaled logit passes only beyond float32',
    good,
    { softCap: 3e38, logitScale: 3e38 },
    'RANGE',
    'softCap: got 3e+38 beside',
  ],
  [
    'a softCap that a logit and its bias pass only beyond float32',
    good,
    { softCap: 1.1e37, bias: f32(V) },
    'RANGE',
    'softCap: got 1.1e+37 beside a bias',
  ],
  ['softCap beyond float32', good, { softCap: 1e39 }, 'RANGE', 'softCap', '1e+39', 'float32'],
  ['softCap that float32 makes 0', good, { softCap: 1e-50 }, 'RANGE', 'softCap', '1e-50', 'above 0'],
  ['logitScale in quotes', good, { logitScale: '1' }, 'ARGUMENT', 'logitScale', '"1"'],
  ['softCap 0', good, { softCap: 0 }, 'RANGE', 'softCap', 'got 0', 'above 0'],
  ['softCap below 0', good, { softCap: -30 }, 'RANGE', 'softCap', '-30'],
  ['softCap NaN', good, { softCap: Number.NaN }, 'RANGE', 'softCap', 'NaN'],
  ['softCap null', good, { softCap: null }, 'ARGUMENT', 'softCap', 'null'],
  ['an unknown capOrder', good, { capOrder: 'cap' }, 'RANGE', 'capOrder', '"cap"', 'scale-then-cap'],
  ['validVocabSize 0', good, { validVocabSize: 0 }, 'RANGE', 'validVocabSize', 'got 0', `from 1 to ${V}`],
  ['validVocabSize V+1', good, { validVocabSize: V + 1 }, 'RANGE', 'validVocabSize', `from 1 to ${V}`],
  ['validVocabSize in quotes', good, { validVocabSize: '3' }, 'ARGUMENT', 'validVocabSize', '"3"'],
  ['embeddingScale NaN', good, { embeddingScale: Number.NaN }, 'RANGE', 'embeddingScale', 'NaN'],
  ['norm null', good, { norm: null }, 'ARGUMENT', 'norm', 'null'],
  ['norm by name', good, { norm: 'rmsnorm' }, 'ARGUMENT', 'norm', '"rmsnorm"'],
  ['norm without type', good, { norm: { ...norm, type: undefined } }, 'ARGUMENT', 'norm.type', 'undefined'],
  ['norm of an unknown type', good, { norm: { ...norm, type: 'batch' } }, 'RANGE', 'norm.type', '"batch"'],
  ['norm without weight', good, { norm: { ...norm, weight: undefined } }, 'ARGUMENT', 'norm.weight'],
  [
    'norm with a short weight',
    good,
    { norm: { ...norm, weight: f32(D - 1) } },
    'SHAPE',
    'norm.weight',
    `${D}`,
  ],
  ['norm with a long bias', good, { norm: { ...norm, bias: f32(D + 1) } }, 'SHAPE', 'norm.bias', `${D + 1}`],
  ['norm without eps', good, { norm: { ...norm, eps: undefined } }, 'ARGUMENT', 'norm.eps', 'undefined'],
  ['norm.eps below 0', good, { norm: { ...norm, eps: -1e-6 } }, 'RANGE', 'norm.eps', 'at least 0'],
  ['norm.offset NaN', good, { norm: { ...norm, offset: Number.NaN } }, 'RANGE', 'norm.offset', 'NaN'],
  ['a short inputEmbedding', good, { inputEmbedding: f32(V * D - 1) }, 'SHAPE', 'inputEmbedding', `${V * D}`],
  ['inputEmbedding null', good, { inputEmbedding: null }, 'ARGUMENT', 'inputEmbedding', 'null'],
  ['16-bit inputEmbedding without dtype', good, { inputEmbedding: new Uint16Array(V * D) }, 'DTYPE', 'dtype'],
  ['threads 0', good, { threads: 0 }, 'RANGE', 'threads', 'got 0', 'from 1'],
  ['threads 1.5', good, { threads: 1.5 }, 'RANGE', 'threads', '1.5'],
  ['threads in quotes', good, { threads: '2' }, 'ARGUMENT', 'threads', '"2"'],
  ['too many threads', good, { threads: 1025 }, 'RANGE', 'threads', '1024'],
  ['copy 0', good, { copy: 0 }, 'ARGUMENT', 'copy', 'got 0', 'true or false'],
  ['copy: false of an ArrayBuffer', good, { copy: false }, 'RANGE', 'copy', 'SharedArrayBuffer'],
];

describe.each(backends)('LMHead.from, %s', backend => {
  it.each(cases)('refuses %s', (_, weight, options, kind, ...words) => {
    throwsKind(
      () => makeHead(backend, options as HeadOptions, weight ?? (weight === null ? null : someWeight())),
      kind,
      ...words,
    );
  });

  it('takes the number -0 for no size, and leaves options it refuses as they are', () => {
    const options = { vocabSize: -0, hiddenSize: D, backend };
    throwsKind(() => LMHead.from(someWeight(), options), 'RANGE', 'vocabSize');
    expect(options).toEqual({ vocabSize: -0, hiddenSize: D, backend });
  });

  it("refuses copy: false with layout 'dv', which would have to be repacked", () => {
    const weight = new Float32Array(new SharedArrayBuffer(V * D * 4));
    throwsKind(() => makeHead(backend, { copy: false, layout: 'dv' }, weight), 'RANGE', 'copy', "'dv'");
  });

  it('borrows only what truly lies in a SharedArrayBuffer, whatever the array says of itself', () => {
    const shared = new SharedArrayBuffer(V * D * 4);
    class Posing extends Float32Array {
      override get buffer(): never {
        return shared as never;
      }
    }
    const ownBuffer = Object.defineProperty(f32(V * D), 'buffer', { value: shared });
    const posingBuffer = Object.setPrototypeOf(new ArrayBuffer(V * D * 4), SharedArrayBuffer.prototype);
    for (const weight of [ownBuffer, new Posing(V * D), new Float32Array(posingBuffer)]) {
      throwsKind(() => makeHead(backend, { copy: false }, weight), 'RANGE', 'copy', 'SharedArrayBuffer');
      throwsKind(
        () => makeHead(backend, { copy: false, inputEmbedding: weight }, new Float32Array(shared)),
        'RANGE',
        'inputEmbedding',
      );
      const handle = structuredClone(makeHead(backend, { copy: false }, new Float32Array(shared)).handle);
      Object.assign((handle as { output: object }).output, { data: weight });
      throwsKind(() => LMHead.attach(handle), 'ARGUMENT', 'handle', 'SharedArrayBuffer');
    }
    // The other way round: shared memory whose array says that it is not.
    const modest = Object.defineProperty(new Float32Array(shared), 'buffer', { value: new ArrayBuffer(8) });
    expect(makeHead(backend, { copy: false }, modest).argmaxSync(f32(D))).toEqual(new Uint32Array([0]));
    const ofAnotherRealm = runInNewContext('new Float32Array(new SharedArrayBuffer(bytes))', {
      bytes: V * D * 4,
    });
    expect(makeHead(backend, { copy: false }, ofAnotherRealm).argmaxSync(f32(D))[0]).toBe(0);
  });

  it('asks a matrix itself for its length', () => {
    const weight = Object.defineProperty(f32(1), 'length', { value: V * D });
    throwsKind(() => makeHead(backend, {}, weight), 'SHAPE', 'weight', 'got 1 elements');
    const bias = Object.defineProperty(f32(1), 'length', { value: V });
    throwsKind(() => makeHead(backend, { bias }), 'SHAPE', 'bias', 'got 1 elements');
  });

  it('says what the head is made of', () => {
    const bias = f32(V);
    const norm = { type: 'layernorm' as const, weight: f32(D), bias: f32(D), eps: 0 };
    const plain = makeHead(backend);
    expect([plain.vocabSize, plain.hiddenSize, plain.dtype, plain.tied]).toEqual([V, D, 'f32', true]);
    expect(plain.backend).toBe(backend);
    expect(plain.parameterCount).toBe(V * D);
    expect(makeHead(backend, { bias, norm }).parameterCount).toBe(V * D + V + 2 * D);
    const untied = makeHead(backend, { bias, inputEmbedding: f32(V * D) });
    expect([untied.tied, untied.parameterCount]).toEqual([false, 2 * V * D + V]);
  });

  it('takes an inputEmbedding on the very bytes of the weight for a tie', () => {
    const weight = someWeight();
    const same = makeHead(backend, { inputEmbedding: new Float32Array(weight.buffer) }, weight);
    expect([same.tied, same.parameterCount]).toEqual([true, V * D]);
    expect(makeHead(backend, { inputEmbedding: weight.slice() }, weight).tied).toBe(false);
    // The transpose of the same numbers is another matrix.
    expect(makeHead(backend, { inputEmbedding: weight, layout: 'dv' }, weight).tied).toBe(false);
  });

  it('copies the weights and every vector', () => {
    const weight = someWeight();
    const bias = someNumbers(V, 8);
    const inputEmbedding = someNumbers(V * D, 9);
    const norm = {
      type: 'layernorm' as const,
      weight: someNumbers(D, 10),
      bias: someNumbers(D, 11),
      eps: 1e-5,
    };
    const head = makeHead(backend, { bias, inputEmbedding, norm }, weight);
    const answer = () => [
      head.logitsSync(someHidden()),
      head.logitsSync(someHidden(), { norm: true }),
      head.embed([0, V - 1]),
    ];
    const before = answer();
    for (const array of [weight, bias, inputEmbedding, norm.weight, norm.bias]) array.fill(9);
    norm.eps = 100;
    expect(answer()).toEqual(before);
    structuredClone(0, { transfer: [weight.buffer as ArrayBuffer, bias.buffer as ArrayBuffer] });
    expect(answer()).toEqual(before);
  });
});

describe('a head', () => {
  it('is made by from and open, not by new', () => {
    const constructors = LMHead as unknown as (new (...args: unknown[]) => LMHead)[] & typeof LMHead;
    const Class = constructors as unknown as new (...args: unknown[]) => LMHead;
    for (const args of [[], [someWeight(), { vocabSize: V, hiddenSize: D }], [{}, Symbol('LMHead')]])
      throwsKind(() => new Class(...args), 'ARGUMENT', 'LMHead.from', 'LMHead.open');
  });

  it.each(['gpu', 'Native', ''])("has no backend '%s'", name => {
    throwsKind(() => makeHead(name as 'native'), 'RANGE', 'backend', `"${name}"`, "'reference'");
  });

  it.each([null, 0, {}])('has no backend %s', value => {
    throwsKind(() => makeHead(value as unknown as 'native'), 'ARGUMENT', 'backend');
  });

  it.each([undefined, null, 7, 'x', [], new Float32Array(1)])('has no options %s', options => {
    throwsKind(
      () => LMHead.from(someWeight(), options as unknown as HeadOptions),
      'ARGUMENT',
      'options',
      'an object',
    );
  });
});

it.each(backends)('shows its shape where it is printed, open or closed, %s', backend => {
  const head = LMHead.from(f32(6), { vocabSize: 3, hiddenSize: 2, backend, threads: 1 });
  const shown = `LMHead {
  vocabSize: 3,
  hiddenSize: 2,
  dtype: 'f32',
  backend: '${backend}',
  tied: true,
  threads: 1
}`;
  expect(inspect(head)).toBe(shown);
  head.close();
  expect(inspect(head)).toBe(shown);
});
