import { describe, expect, it } from 'vitest';
import { type ErrorKind, LMHead } from '../../lib';
import { dequantize } from '../../lib/dtypes/dequantize';
import { backends } from '../support/backends';
import { throwsKind } from '../support/errors';
import { someNumbers } from '../support/numbers';
import { QUANTIZED, someQuantized, validWidth } from '../support/quantized';

const V = 37;

describe.each(backends)('%s: quantized weights', backend => {
  it.each(QUANTIZED)('%s: every method works, as over the numbers that they stand for', async dtype => {
    const d = validWidth(dtype, 64);
    const weight = someQuantized(dtype, V, d);
    const wide = dequantize(weight, dtype, d);
    const options = { vocabSize: V, hiddenSize: d, backend } as const;
    const head = LMHead.from(weight, { ...options, dtype });
    const same = LMHead.from(wide, options);
    const hidden = someNumbers(6 * d, 3);
    const request = { logits: true, logProbs: true, top: 5, argmax: true, sample: true, seed: 1 } as const;
    const targets = [1, 2, 3, 4, 5, 36];
    expect(head.dtype).toBe(dtype);
    expect(head.runSync(hidden, { ...request, targets })).toEqual(
      same.runSync(hidden, { ...request, targets }),
    );
    expect(await head.run(hidden, request)).toEqual(await same.run(hidden, request));
    expect(head.probsSync(hidden)).toEqual(same.probsSync(hidden));
    expect(head.embed([36, 0])).toEqual(same.embed([36, 0]));
    expect(head.parameterCount).toBe(same.parameterCount);
    expect(await head.verify(hidden)).toMatchObject({ ok: true, argmaxAgrees: true });
  });

  it('may be shared, and may serve a head whose input embedding is another', () => {
    const d = 32;
    const bytes = someQuantized('q8_0', V, d);
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
    shared.set(bytes);
    const options = { vocabSize: V, hiddenSize: d, dtype: 'q8_0', backend } as const;
    const hidden = someNumbers(d);
    const wanted = LMHead.from(bytes, options).logitsSync(hidden);
    expect(LMHead.from(shared, { ...options, copy: false }).logitsSync(hidden)).toEqual(wanted);
    const inputEmbedding = someNumbers(V * d, 4);
    const untied = LMHead.from(bytes, { ...options, inputEmbedding });
    expect(untied.tied).toBe(false);
    expect(untied.logitsSync(hidden)).toEqual(wanted);
    expect(untied.embed([3])).toEqual(inputEmbedding.slice(3 * d, 4 * d));
  });

  it('another head attaches to them', () => {
    const options = { vocabSize: V, hiddenSize: 256, dtype: 'q6_k', backend } as const;
    const head = LMHead.from(someQuantized('q6_k', V, 256), options);
    const attached = LMHead.attach(structuredClone(head.handle));
    expect(attached.dtype).toBe('q6_k');
    expect(attached.logitsSync(someNumbers(256))).toEqual(head.logitsSync(someNumbers(256)));
    expect(attached.embed([36])).toEqual(head.embed([36]));
  });

  it.each(QUANTIZED.filter(dtype => dtype !== 'i8'))(
    '%s: rows that are no whole blocks are refused',
    dtype => {
      const hiddenSize = validWidth(dtype, 1) + 1;
      const options = { vocabSize: V, hiddenSize, dtype, backend };
      throwsKind(() => LMHead.from(new Uint8Array(100), options), 'SHAPE', 'weight', `${hiddenSize}`, dtype);
    },
  );

  it.each<[string, object, ErrorKind, ...string[]]>([
    ['bytes of an unknown kind', {}, 'DTYPE', 'undefined', 'q8_0'],
    ['a dtype that there is not', { dtype: 'iq2_xs' }, 'DTYPE', '"iq2_xs"', 'q8_0'],
    ['a floating-point dtype', { dtype: 'f16' }, 'DTYPE', '"f16"', 'Uint8Array'],
    ['a name of an object’s own', { dtype: '__proto__' }, 'DTYPE', '__proto__'],
    ['a dtype that is no string', { dtype: 8 }, 'ARGUMENT', 'got 8'],
    ['a transposed matrix', { dtype: 'q8_0', layout: 'dv' }, 'RANGE', 'layout', "'vd'"],
    ['too few bytes', { dtype: 'q8_0', vocabSize: V + 1 }, 'SHAPE', `${V * 34} bytes`, `${(V + 1) * 34}`],
    ['memory that is not shared', { dtype: 'q8_0', copy: false }, 'RANGE', 'copy'],
  ])('%s: refused', (_, options, kind, ...words) => {
    const weight = someQuantized('q8_0', V, 32);
    const all = { vocabSize: V, hiddenSize: 32, backend, ...options } as never;
    throwsKind(() => LMHead.from(weight, all), kind, ...words);
  });

  it('no other array holds them, and no hidden states are', () => {
    const options = { vocabSize: V, hiddenSize: 32, dtype: 'q8_0', backend } as const;
    throwsKind(() => LMHead.from(new Uint16Array(V * 17), options), 'DTYPE', '"q8_0"');
    throwsKind(() => LMHead.from(new Float32Array(V * 32), options), 'DTYPE', '"q8_0"');
    const head = LMHead.from(someQuantized('q8_0', V, 32), options);
    throwsKind(() => head.logitsSync(new Uint8Array(34) as never), 'DTYPE', 'hidden');
  });
});
