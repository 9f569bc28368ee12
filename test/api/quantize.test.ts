import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { createHead } from '../../lib/backend/choose';
import { dequantize } from '../../lib/dtypes/dequantize';
import { type QuantizeTarget, quantizeRow } from '../../lib/dtypes/quantize';
import { rowBytes } from '../../lib/dtypes/row-format';
import { backends } from '../support/backends';
import { rejectsKind } from '../support/errors';
import { someNumbers } from '../support/numbers';

const V = 67;
const D = 64;
const TARGETS = ['i8', 'q8_0'] as const;
const options = { vocabSize: V, hiddenSize: D };

describe.each(TARGETS)('a row as %s', dtype => {
  const quantized = (row: Float32Array) => {
    const bytes = new Uint8Array(rowBytes(dtype, row.length));
    const errors = quantizeRow(row, dtype, bytes);
    return { back: dequantize(bytes, dtype, row.length), errors };
  };

  it('is no worse than with the scale that just fits the largest number, and says how bad', () => {
    const numbers = fc.array(fc.float({ min: -1000, max: 1000, noNaN: true }), {
      minLength: 32,
      maxLength: 32,
    });
    fc.assert(
      fc.property(numbers, list => {
        const row = Float32Array.from(list);
        const { back, errors } = quantized(row);
        const largest = Math.max(...list.map(Math.abs));
        const scale = largest / 127;
        let plain = 0;
        let squares = 0;
        let max = 0;
        row.forEach((x, k) => {
          plain += scale ? (x - scale * Math.round(x / scale)) ** 2 : 0;
          squares += (x - back[k]) ** 2;
          max = Math.max(max, Math.abs(x - back[k]));
        });
        // A scale is rounded to 11 bits or 16, and its smallest is 2^-24 in q8_0.
        const slack = 32 * (largest * 2 ** -11 + 127 * 2 ** -24) ** 2;
        expect(squares).toBeLessThanOrEqual(plain + slack);
        expect(Math.abs(errors.squares - squares)).toBeLessThanOrEqual(1e-9 * squares);
        expect(errors.max).toBe(max);
      }),
    );
  });

  it('of zeros, of one number, and of the smallest numbers there are', () => {
    expect(quantized(new Float32Array(32)).back).toEqual(new Float32Array(32));
    const one = Float32Array.from({ length: 32 }, (_, k) => (k === 5 ? -0.75 : 0));
    expect(quantized(one).back[5]).toBeCloseTo(-0.75, 3);
    const tiny = new Float32Array(32).fill(2 ** -149);
    expect(quantized(tiny).back.every(x => Math.abs(x) <= 2 ** -148)).toBe(true);
  });
});

describe.runIf(backends.includes('native'))('native and reference quantize to the same bits', () => {
  const rowsOf = (backend: 'native' | 'reference', weight: Float32Array, d: number) =>
    createHead(backend, {
      vocabSize: weight.length / d,
      hiddenSize: d,
      output: { kind: 'memory', data: weight, dtype: 'f32', copy: true, layout: 'vd' },
      epilogue: {
        logitScale: 1,
        softCap: 0,
        capOrder: 'scale-then-cap',
        validVocabSize: weight.length / d,
      },
      activations: 'f32',
      threads: 2,
    });
  const same = async (weight: Float32Array, d: number, dtype: QuantizeTarget) => {
    const count = weight.length / d - 1;
    const [a, b] = await Promise.all(
      (['native', 'reference'] as const).map(async backend => {
        const bytes = new Uint8Array(rowBytes(dtype, d) * count);
        const errors = new Float64Array(3 * count);
        const head = rowsOf(backend, weight, d);
        await head.quantizeRows(dtype, 1, bytes, errors);
        head.close();
        return { bytes, errors };
      }),
    );
    expect(a).toEqual(b);
  };

  it.each([
    ['i8', 1],
    ['i8', 33],
    ['i8', 257],
    ['q8_0', 32],
    ['q8_0', 224],
  ] as const)('%s, rows of %i', async (dtype, d) => {
    await same(someNumbers(61 * d, d), d, dtype);
    const row = fc.oneof(
      fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }), { minLength: d, maxLength: d }),
      fc.array(fc.integer({ min: -(2 ** 17), max: 2 ** 17 }), { minLength: d, maxLength: d }),
      fc.double({ min: 1e-40, max: 1e6, noNaN: true }).map(x => new Array<number>(d).fill(x)),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(row, { minLength: 2, maxLength: 4 }), rows =>
        same(Float32Array.from(rows.flat()), d, dtype),
      ),
      { numRuns: 40 },
    );
  });

  it('names the first row that is not finite', async () => {
    const weight = someNumbers(3000 * 4, 2);
    for (const row of [2999, 1500, 1501, 2000]) weight[row * 4 + 3] = Number.POSITIVE_INFINITY;
    const [bytes, errors] = [new Uint8Array(rowBytes('i8', 4) * 3000), new Float64Array(3 * 3000)];
    for (const backend of ['native', 'reference'] as const) {
      const head = rowsOf(backend, weight, 4);
      await rejectsKind(() => head.quantizeRows('i8', 0, bytes, errors), 'RANGE', 'weight', 'row 1500');
      head.close();
      await head.idle();
    }
  });
});

describe.each(backends)('%s: quantize', backend => {
  const weight = someNumbers(V * D, 3);
  const hidden = someNumbers(9 * D, 4);
  const make = (more: object = {}) => LMHead.from(weight, { ...options, backend, ...more });

  it.each(TARGETS)('to %s: another head, and what has changed', async dtype => {
    const norm = { type: 'rmsnorm', weight: someNumbers(D, 9), eps: 1e-6 } as const;
    const head = make({
      softCap: 5,
      bias: someNumbers(V, 6),
      validVocabSize: V - 3,
      norm,
      embeddingScale: 8,
    });
    const { head: small, error } = await head.quantize(dtype, { hidden });
    expect([small.dtype, small.vocabSize, small.hiddenSize, small.tied]).toEqual([dtype, V, D, true]);
    expect(small.backend).toBe(backend);
    expect(error.weights.relative).toBeGreaterThan(1e-4);
    expect(error.weights.relative).toBeLessThan(0.01);
    expect(error.weights.max).toBeLessThan(0.5 / 127 + 2 ** -9);
    // The figures, from the two heads' own answers.
    const [a, b] = [head.logitsSync(hidden), small.logitsSync(hidden)];
    const [p, q] = [head.logProbsSync(hidden), small.logProbsSync(hidden)];
    const valid = [...a.keys()].filter(i => i % V < V - 3);
    const differences = valid.map(i => Math.abs(a[i] - b[i]));
    const { logits } = error;
    expect(logits!.positions).toBe(9);
    expect(logits!.max).toBe(Math.max(...differences));
    expect(logits!.rms).toBeCloseTo(Math.sqrt(differences.reduce((s, x) => s + x * x, 0) / valid.length), 9);
    expect(logits!.klDivergence).toBeCloseTo(
      valid.reduce((s, i) => s + Math.exp(p[i]) * (p[i] - q[i]), 0) / 9,
      6, // by float32 log-probabilities
    );
    const ids = small.argmaxSync(hidden);
    expect(logits!.argmaxAgreement).toBe(head.argmaxSync(hidden).filter((id, i) => id === ids[i]).length / 9);
    // The same options hold, and it is a head of its own.
    head.close();
    expect(small.logitsSync(hidden, { norm: true })).not.toEqual(b);
    expect(small.embed([3])[0]).toBeCloseTo(8 * weight[3 * D], 1);
    expect(await small.verify(hidden)).toMatchObject({ ok: true });
  });

  it('without hidden states it says what became of the weights', async () => {
    const { error } = await make().quantize('i8');
    expect(Object.keys(error)).toEqual(['weights']);
  });

  it('an input embedding of its own is kept as it is', async () => {
    const inputEmbedding = someNumbers(V * D, 8);
    const { head } = await make({ inputEmbedding }).quantize('i8');
    expect(head.tied).toBe(false);
    expect(head.embed([2])).toEqual(inputEmbedding.slice(2 * D, 3 * D));
  });

  it.each([0, 1, 2, 3])('stops for a signal: while it does its part %i', async part => {
    const [vocabSize, hiddenSize] = [4000, 32];
    const large = LMHead.from(someNumbers(vocabSize * hiddenSize), { vocabSize, hiddenSize, backend });
    const some = someNumbers(2 * hiddenSize, 7);
    const first = large.topKSync(some, 3);
    const controller = new AbortController();
    const { signal } = controller;
    const reason = new Error('not needed any more');
    const quantizing = large.quantize('i8', { hidden: someNumbers(20 * hiddenSize, 2), signal });
    // Calls of the same head lie between its parts.
    for (let i = 0; i < part; i++) await large.argmax(some);
    controller.abort(reason);
    const error = await rejectsKind(() => quantizing, 'ABORTED');
    expect(error.cause).toBe(reason);
    expect(await large.topK(some, 3)).toEqual(first);
    await large[Symbol.asyncDispose]();
  });

  it('does not begin for a signal that has fired, and ends where one does not fire', async () => {
    const head = make();
    await rejectsKind(() => head.quantize('i8', { signal: AbortSignal.abort() }), 'ABORTED');
    const { signal } = new AbortController();
    const [a, b] = [await head.quantize('i8', { hidden, signal }), await head.quantize('i8', { hidden })];
    expect(a.error).toEqual(b.error);
    expect(a.head.logitsSync(hidden)).toEqual(b.head.logitsSync(hidden));
    await rejectsKind(() => head.quantize('i8', { signal: {} as never }), 'ARGUMENT', 'signal');
  });

  it('refuses what cannot be', async () => {
    const head = make();
    await rejectsKind(() => head.quantize('q4_0' as never), 'RANGE', 'dtype', '"q4_0"', 'i8');
    await rejectsKind(() => head.quantize('i8', { hidden: hidden.subarray(1) }), 'SHAPE', 'hidden');
    await rejectsKind(() => head.quantize('i8', 3 as never), 'ARGUMENT', 'options');
    const odd = LMHead.from(someNumbers(V * 7), { vocabSize: V, hiddenSize: 7, backend });
    await rejectsKind(() => odd.quantize('q8_0'), 'SHAPE', 'weight', '7', '32');
    expect((await odd.quantize('i8')).head.hiddenSize).toBe(7);
    const sick = LMHead.from(weight.with(5 * D, Number.NaN), { ...options, backend });
    await rejectsKind(() => sick.quantize('i8'), 'RANGE', 'weight', 'row 5');
    const closing = head.quantize('i8');
    head.close();
    await rejectsKind(() => closing, 'CLOSED');
    await rejectsKind(() => head.quantize('i8'), 'CLOSED');
  });
});
