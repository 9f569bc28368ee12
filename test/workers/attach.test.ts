import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { LMHead, LMHeadError } from '../../lib';
import type { HeadOptions } from '../../lib/types';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { busyHead, call, callSync, D, makeHead, methods, someHidden, someWeight, V } from '../support/heads';
import { someBits } from '../support/matrices';
import { someNumbers } from '../support/numbers';
import { PREAMBLE, runNode } from '../support/processes';

const hidden = someHidden(3);

const onSharedMemory = (numbers: Float32Array): Float32Array => {
  const shared = new Float32Array(new SharedArrayBuffer(numbers.byteLength));
  shared.set(numbers);
  return shared;
};

const kinds: [name: string, options: Partial<HeadOptions>, weight: unknown][] = [
  ['plain', {}, someWeight()],
  ['f16', { dtype: 'f16' }, someBits(V * D, 'f16').bits],
  ['bf16', { dtype: 'bf16' }, someBits(V * D, 'bf16').bits],
  ['transposed', { layout: 'dv' }, someWeight()],
  ['untied', { inputEmbedding: someNumbers(V * D, 8) }, someWeight()],
  ['untied, of two types', { inputEmbedding: someBits(V * D, 'f16').bits, dtype: 'f16' }, someWeight()],
  ['borrowed', { copy: false }, onSharedMemory(someWeight())],
  [
    'borrowed and untied',
    { copy: false, inputEmbedding: onSharedMemory(someNumbers(V * D, 8)) },
    onSharedMemory(someWeight()),
  ],
  ['biased', { bias: someNumbers(V, 9) }, someWeight()],
  ['capped', { softCap: 0.7, logitScale: 0.3, capOrder: 'cap-then-scale' }, someWeight()],
  ['padded', { validVocabSize: V - 4 }, someWeight()],
  ['with threads', { threads: 3 }, someWeight()],
  ['scaled at the input', { embeddingScale: 2.5 }, someWeight()],
];

describe.each(backends)('attach, %s', backend => {
  const norm = { type: 'layernorm' as const, weight: someNumbers(D, 6), bias: someNumbers(D, 7), eps: 1e-5 };

  describe.each(kinds)('to a head that is %s', (_, options, weight) => {
    const head = makeHead(backend, { norm, ...options }, weight);
    const attached = LMHead.attach(structuredClone(head.handle));
    afterAll(() => {
      attached.close();
      head.close();
    });

    it('gives a head with its properties', () => {
      for (const key of [
        'vocabSize',
        'hiddenSize',
        'dtype',
        'tied',
        'parameterCount',
        'backend',
        'threads',
      ] as const)
        expect(attached[key]).toBe(head[key]);
    });

    it.each(methods)('gives its numbers: %s', async method => {
      for (const options of [{}, { norm: true }]) {
        const wanted = callSync[method](head, hidden, options);
        expect(callSync[method](attached, hidden, options)).toEqual(wanted);
        expect(await call[method](attached, hidden, options)).toEqual(wanted);
      }
    });

    it('embeds and verifies as it does', async () => {
      expect(attached.embed([0, V - 1, 3])).toEqual(head.embed([0, V - 1, 3]));
      expect(await attached.verify(hidden)).toEqual(await head.verify(hidden));
    });

    it('can be attached to in its turn', () => {
      using third = LMHead.attach(attached.handle);
      expect(third.logitsSync(hidden)).toEqual(head.logitsSync(hidden));
    });
  });

  describe('closing', () => {
    it('one head leaves the others open, in whatever order', () => {
      const head = makeHead(backend);
      const wanted = head.logitsSync(hidden);
      const second = LMHead.attach(head.handle);
      const third = LMHead.attach(second.handle);
      head.close();
      expect(second.logitsSync(hidden)).toEqual(wanted);
      const fourth = LMHead.attach(second.handle);
      second.close();
      expect(third.logitsSync(hidden)).toEqual(wanted);
      third.close();
      expect(fourth.logitsSync(hidden)).toEqual(wanted);
      throwsKind(() => third.logitsSync(hidden), 'CLOSED');
      throwsKind(() => third.handle, 'CLOSED');
      fourth.close();
    });

    it('one head rejects its own queued calls and no others', async () => {
      const { head, long, short } = busyHead(backend);
      const attached = LMHead.attach(head.handle);
      const [mine, its] = [head, attached].map(of => [
        long(of),
        ...Array.from({ length: 20 }, () => short(of)),
      ]);
      attached.close();
      const [, ...waiting] = await Promise.allSettled(its);
      for (const result of waiting) expect(result).toMatchObject({ reason: { code: 'ERR_LMHEAD_CLOSED' } });
      await Promise.all(mine);
    });
  });

  describe('refuses', () => {
    const head = makeHead(backend);
    const { handle } = head;

    it.each([
      ['undefined', undefined],
      ['null', null],
      ['a number', 3],
      ['a string', 'lmhead/1'],
      ['an empty object', {}],
      ['an array', []],
      ['a head', head],
      ['a handle of another version', { ...(handle as object), form: 'lmhead/999' }],
    ])('%s', (_, value) => {
      throwsKind(() => LMHead.attach(value), 'ARGUMENT', 'handle');
    });

    it.each([
      ['vocabSize', V + 1],
      ['vocabSize', -1],
      ['hiddenSize', 'seven'],
      ['output', null],
      ['output', { kind: 'file', path: '/etc/passwd', offset: 0, dtype: 'f32', mmap: true, layout: 'vd' }],
      ['output', { kind: 'memory', data: someWeight(), dtype: 'f32', copy: false, layout: 'vd' }],
      ['input', 5],
      ['settings', undefined],
      ['settings', { bias: new Float32Array(3) }],
      ['settings', { threads: 1e9 }],
      ['settings', { validVocabSize: V + 1 }],
    ])('a handle whose %s is %j', (name, value) => {
      throwsKind(() => LMHead.attach({ ...(handle as object), [name]: value }), 'ARGUMENT', 'handle');
    });

    it('a handle with whatever in it: it attaches, or says why not', () => {
      const keys = Object.keys(handle as object).filter(key => key !== 'backend');
      fc.assert(
        fc.property(fc.constantFrom(...keys), fc.anything({ withTypedArray: true }), (key, value) => {
          try {
            LMHead.attach({ ...(handle as object), [key]: value }).close();
          } catch (error) {
            expect(error).toBeInstanceOf(LMHeadError);
          }
        }),
        { numRuns: 500 },
      );
      expect(head.argmaxSync(hidden)).toEqual(makeHead(backend).argmaxSync(hidden));
    });

    it('to show what it is made of', () => {
      const clone = structuredClone(handle) as { settings: { embeddingScale: number } };
      clone.settings.embeddingScale = 9;
      expect(() => Object.assign(handle as object, { output: undefined })).toThrow(TypeError);
      expect(head.handle).toBe(handle);
      expect(LMHead.attach(head.handle).embed([1])).toEqual(head.embed([1]));
    });
  });
});

describe.skipIf(!backends.includes('native'))('handles of native weights', () => {
  const token = (handle: unknown) => (handle as { output: { token: string } }).output.token;
  const withToken = (handle: unknown, token: string) => {
    const { output } = handle as { output: object };
    return { ...(handle as object), output: { ...output, token } };
  };

  it('are stale once every head is closed', async () => {
    const head = makeHead('native');
    const { handle } = head;
    const attached = LMHead.attach(handle);
    head.close();
    attached.close();
    for (let i = 0; i < 2; i++)
      throwsKind(() => LMHead.attach(handle), 'CLOSED', 'handle', 'every head over its weights is closed');
    // Weights that came later are others.
    const later = makeHead('native', {}, someNumbers(V * D, 99));
    expect(token(later.handle)).not.toBe(token(handle));
    throwsKind(() => LMHead.attach(handle), 'CLOSED');
  });

  it('serve while a job runs on a head that was closed', async () => {
    const head = makeHead('native');
    const { handle } = head;
    const running = head.logProbs(someHidden(2000));
    head.close();
    // Whether the job still runs is a matter of time; either way there is an answer.
    try {
      LMHead.attach(handle).close();
    } catch (error) {
      expect((error as LMHeadError).code).toBe('ERR_LMHEAD_CLOSED');
    }
    await running.catch(error => expect(error.code).toBe('ERR_LMHEAD_CLOSED'));
  });

  it('of another process are refused', () => {
    const { stdout } = runNode(`${PREAMBLE}
      const head = LMHead.from(new Float32Array(${V * D}), { vocabSize: ${V}, hiddenSize: ${D} });
      console.log(JSON.stringify(head.handle));`);
    const theirs = JSON.parse(stdout) as object;
    const ours = makeHead('native');
    expect(token(theirs)).toMatch(/-1$/);
    throwsKind(() => LMHead.attach(theirs), 'ARGUMENT', 'handle', 'another process');
    ours.close();
  });

  it('are not to be guessed', () => {
    const head = makeHead('native');
    const { handle } = head;
    const real = token(handle);
    const [key, number] = real.split('-');
    const forged = fc.oneof(
      fc.string(),
      fc.string().map(tail => `${key}-${tail}`),
      fc.bigInt().map(n => `${key}-${n}`),
      fc.nat(60).map(length => real.slice(0, length)),
      fc.string({ minLength: 1 }).map(tail => real + tail),
      fc.constantFrom(
        `${key}-`,
        `${key}-0`,
        `${key}-${'9'.repeat(40)}`,
        `${key}-${Number(number) + 1}`,
        `\0${real}`,
      ),
    );
    fc.assert(
      fc.property(forged, token => {
        try {
          const attached = LMHead.attach(withToken(handle, token));
          expect(attached.logitsSync(hidden).length).toBe(3 * V);
          attached.close();
        } catch (error) {
          expect((error as LMHeadError).code).toMatch(/^ERR_LMHEAD_(ARGUMENT|CLOSED)$/);
        }
      }),
    );
    head.close();
  });

  it('name weights of one shape and type', () => {
    const [small, large] = [
      makeHead('native'),
      makeHead('native', { vocabSize: V + 1 }, someNumbers((V + 1) * D)),
    ];
    throwsKind(() => LMHead.attach(withToken(small.handle, token(large.handle))), 'ARGUMENT', 'handle');
    const half = makeHead('native', { dtype: 'f16' }, someBits(V * D, 'f16').bits);
    throwsKind(() => LMHead.attach(withToken(small.handle, token(half.handle))), 'ARGUMENT', 'handle');
  });

  it('a closed head has none', async () => {
    const head = makeHead('native');
    head.close();
    throwsKind(() => head.handle, 'CLOSED');
    await rejectsKind(() => head.logits(hidden), 'CLOSED');
  });
});
