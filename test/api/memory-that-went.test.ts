import { describe, expect, it } from 'vitest';
import type { Ids } from '../../lib/types';
import { backends } from '../support/backends';
import { resizable } from '../support/buffers';
import { rejectsKind, throwsKind } from '../support/errors';
import {
  type AnyOptions,
  call,
  callSync,
  D,
  headUnderTest,
  makeHead,
  methods,
  someHidden,
  V,
} from '../support/heads';

type ArrayType =
  | Float32ArrayConstructor
  | Uint16ArrayConstructor
  | Uint32ArrayConstructor
  | BigInt64ArrayConstructor;

/** An array whose buffer was transferred. */
function detached<T extends ArrayType>(Type: T, length: number): InstanceType<T> {
  const array = new Type(length);
  structuredClone(0, { transfer: [array.buffer] });
  return array as InstanceType<T>;
}

/** A view of fixed length that now reaches beyond the end of its buffer. */
function shrunk<T extends ArrayType>(Type: T, length: number): InstanceType<T> {
  const bytes = length * Type.BYTES_PER_ELEMENT;
  const buffer = resizable(bytes);
  const array = new Type(buffer as never, 0, length);
  buffer.resize(bytes - Type.BYTES_PER_ELEMENT);
  return array as InstanceType<T>;
}

/** A view of all of its buffer, which now holds one number less. */
function shorter(length: number): Float32Array {
  const buffer = resizable(length * 4);
  const array = new Float32Array(buffer);
  buffer.resize(length * 4 - 4);
  return array;
}

const gone = [
  ['detached', detached, 'a detached buffer'],
  ['shrunk', shrunk, 'outside its resized buffer'],
] as const;

describe.each(backends)('memory that has gone, %s', backend => {
  const { head, hidden, refuses, worksOn } = headUnderTest(backend);

  describe.each(gone)('%s', (_, make, words) => {
    it('hidden', async () => {
      for (const method of methods) {
        await refuses(method, [make(Float32Array, 2 * D)], 'SHAPE', 'hidden', words);
        await refuses(method, [make(Uint16Array, 2 * D), { hiddenDtype: 'f16' }], 'SHAPE', 'hidden', words);
        const tensor = { data: make(Float32Array, 2 * D), dims: [2, D] };
        await refuses(method, [tensor], 'SHAPE', 'hidden.data', words);
        // An empty array that is whole is no hidden states; one that has gone is an error.
        await refuses(method, [make(Float32Array, 1)], 'SHAPE', 'hidden', words);
      }
    });

    it('weight, bias, norm, inputEmbedding', () => {
      const norm = { type: 'rmsnorm' as const, weight: make(Float32Array, D), eps: 0 };
      throwsKind(() => makeHead(backend, {}, make(Float32Array, V * D)), 'SHAPE', 'weight', words);
      throwsKind(
        () => makeHead(backend, { dtype: 'bf16' }, make(Uint16Array, V * D)),
        'SHAPE',
        'weight',
        words,
      );
      throwsKind(() => makeHead(backend, { bias: make(Float32Array, V) }), 'SHAPE', 'bias', words);
      throwsKind(() => makeHead(backend, { norm }), 'SHAPE', 'norm.weight', words);
      const inputEmbedding = make(Float32Array, V * D);
      throwsKind(() => makeHead(backend, { inputEmbedding }), 'SHAPE', 'inputEmbedding', words);
    });

    it('ids and targets', async () => {
      for (const Type of [Uint32Array, BigInt64Array]) {
        throwsKind(() => head.embed(make(Type, 2) as Ids), 'SHAPE', 'ids', words);
        await refuses('score', [hidden, { targets: make(Type, 2) }], 'SHAPE', 'targets', words);
      }
    });

    it('out', async () => {
      for (const method of ['logits', 'logProbs', 'probs'] as const)
        await refuses(method, [hidden, { out: make(Float32Array, 2 * V) }], 'SHAPE', 'out', words);
      throwsKind(() => head.embed([1], make(Float32Array, D)), 'SHAPE', 'out', words);
      worksOn();
    });

    it('temperature', async () => {
      const temperature = make(Float32Array, 2) as unknown as number[];
      await refuses('probs', [hidden, { temperature }], 'SHAPE', 'temperature');
    });
  });

  it('a view of a whole buffer that shrank is as short as that', async () => {
    await refuses('logits', [shorter(2 * D)], 'SHAPE', 'hidden', `${2 * D - 1}`);
    await refuses('logits', [hidden, { out: shorter(2 * V) }], 'SHAPE', 'out', `${2 * V - 1}`);
    throwsKind(() => makeHead(backend, {}, shorter(V * D)), 'SHAPE', 'weight', `${V * D - 1}`);
  });

  it('a resizable or growable buffer that is large enough serves', async () => {
    const bytes = 4 * 2 * D;
    const buffer = resizable(bytes, 4 * bytes);
    const input = new Float32Array(buffer, 0, 2 * D);
    input.set(hidden);
    buffer.resize(3 * bytes);
    expect(head.logitsSync(input)).toEqual(head.logitsSync(hidden));
    expect(await head.logits(input)).toEqual(head.logitsSync(hidden));
  });

  describe('hidden states that vanish while the other arguments are read', () => {
    const norm = { type: 'rmsnorm' as const, weight: new Float32Array(D), eps: 1e-6 };
    const head = makeHead(backend, { norm });

    /** Options with one value that takes the hidden states away when it is read. */
    const traps: [where: string, trap: (options: object, spoil: () => number) => void][] = [
      ['temperature', (o, spoil) => Object.defineProperty(o, 'temperature', { get: spoil })],
      ['norm', (o, spoil) => Object.defineProperty(o, 'norm', { get: () => spoil() === 1 })],
      [
        'a temperature',
        (o, get) => Object.assign(o, { temperature: Object.defineProperty([1, 1], 1, { get }) }),
      ],
      ['a target', (o, get) => Object.assign(o, { targets: Object.defineProperty([1, 1], 1, { get }) })],
    ];
    const prepared = (trap: (typeof traps)[0][1]) => {
      const gone = someHidden(2);
      const options: AnyOptions = { targets: [1, 1] };
      trap(options, () => {
        if (gone.length > 0) structuredClone(0, { transfer: [gone.buffer as ArrayBuffer] });
        return 1;
      });
      return [head, gone, options] as const;
    };

    it.each(traps)('%s', async (_, trap) => {
      throwsKind(() => callSync.score(...prepared(trap)), 'SHAPE', 'hidden', 'detached');
      await rejectsKind(() => call.score(...prepared(trap)), 'SHAPE', 'hidden', 'detached');
      worksOn();
    });

    it('the signal, out', async () => {
      const [, hidden, options] = prepared((o, get) =>
        Object.defineProperty(o, 'signal', { get: () => void get() }),
      );
      delete options.targets;
      await rejectsKind(() => head.score(hidden, [1, 1], options), 'SHAPE', 'hidden', 'detached');
      const out = (o: object, get: () => number) =>
        Object.defineProperty(o, 'out', { get: () => get() && new Float32Array(2 * V) });
      throwsKind(() => callSync.logits(...prepared(out)), 'SHAPE', 'hidden', 'detached');
      await rejectsKind(() => call.logits(...prepared(out)), 'SHAPE', 'hidden', 'detached');
      worksOn();
    });
  });
});
