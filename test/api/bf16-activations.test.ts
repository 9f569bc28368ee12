/** Hidden states rounded to bfloat16, over weights that are: what is computed with them, and that it is computed right. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { floats } from '../../lib/dtypes/half';
import { roundedActivations } from '../../lib/dtypes/quantized-activations';
import { boundedLogitOf } from '../../lib/reference/logits';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { narrow } from '../support/half';
import { someNumbers } from '../support/numbers';
import { expectSameBits } from '../support/same-bits';

const folder = temporaryFolder();
const activations = 'bf16';

describe('the nearest bfloat16', () => {
  it('is that of the definition; of a NaN a NaN, above the largest an infinity', () => {
    const state = fc.array(fc.float(), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(state, numbers => {
        const h = Float32Array.from(numbers);
        expect(Float32Array.from(roundedActivations(h, h.length, 'bf16'))).toEqual(
          floats(narrow(h, 'bf16'), 'bf16'),
        );
      }),
    );
    const most = 2 ** 127 * (2 - 2 ** -7);
    const rounded = roundedActivations(
      Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8, most, 3.4e38, -1e-40),
      5,
      'bf16',
    );
    expect([...rounded.subarray(0, 4)]).toEqual([1, 1 + 2 ** -6, most, Number.POSITIVE_INFINITY]);
    expect(Math.abs(rounded[4] + 1e-40)).toBeLessThanOrEqual(2 ** -134);
  });
});

describe.each(backends)("%s: activations 'bf16'", backend => {
  const weightOf = (V: number, d: number) => narrow(someNumbers(V * d, d), 'bf16');
  const headOf = (V: number, d: number, more = {}) =>
    LMHead.from(weightOf(V, d), {
      vocabSize: V,
      hiddenSize: d,
      dtype: 'bf16',
      activations,
      backend,
      ...more,
    });

  it('logits are those of the rounded states, within the bound', () => {
    let worst = 0;
    for (const d of [1, 7, 31, 33, 64, 300]) {
      const [V, n] = [backend === 'native' ? 263 : 37, 1 + (d % 9)];
      const epilogue = { bias: someNumbers(V, 3), logitScale: 0.75, softCap: 30 };
      const head = headOf(V, d, epilogue);
      const hidden = someNumbers(n * d, 5).map((x, i) => (i % 17 === 0 ? 9 * x : x));
      const u = head.logitsSync(hidden);
      const wide = floats(weightOf(V, d), 'bf16');
      const rounded = roundedActivations(hidden, d, activations);
      const all = { ...epilogue, capOrder: 'scale-then-cap', validVocabSize: V } as const;
      for (let row = 0; row < n; row++) {
        for (let id = 0; id < V; id++) {
          const { logit, bound } = boundedLogitOf(
            rounded.subarray(row * d, (row + 1) * d),
            wide,
            id,
            id,
            all,
          );
          worst = Math.max(worst, Math.abs(u[row * V + id] - logit) / bound);
        }
      }
      if (d > 60) expect(u).not.toEqual(headOf(V, d, { ...epilogue, activations: 'f32' }).logitsSync(hidden));
    }
    expect(worst).toBeGreaterThan(0);
    expect(worst).toBeLessThanOrEqual(1);
  });

  it('are those of a head without them, for states that are bfloat16', () => {
    const [V, d, n] = [61, 96, 5];
    const hidden = narrow(someNumbers(n * d, 6), 'bf16') as Uint16Array;
    const exact = headOf(V, d, { activations: 'f32' });
    expect(headOf(V, d).logitsSync(hidden, { hiddenDtype: 'bf16' })).toEqual(
      exact.logitsSync(hidden, { hiddenDtype: 'bf16' }),
    );
  });

  it('the same bits in any batch, for any number of threads, and from every method', async () => {
    const [V, d, n] = [backend === 'native' ? 1100 : 61, 203, 23];
    const head = headOf(V, d);
    const hidden = someNumbers(n * d, 6);
    const u = head.logitsSync(hidden);
    await expectSameBits(head, hidden, u);
    if (backend === 'native') expect(headOf(V, d, { threads: 1 }).logitsSync(hidden)).toEqual(u);
    const together = await Promise.all(
      Array.from({ length: n }, (_, i) => head.logits(hidden.subarray(i * d, (i + 1) * d))),
    );
    together.forEach((alone, i) => {
      expect(alone).toEqual(u.slice(i * V, (i + 1) * V));
    });
    const best = head.argmaxSync(hidden);
    expect(head.verifyDraftSync(hidden, best.subarray(0, n - 1), { temperature: 0 }).ids).toEqual(best);
    expect(await head.verify(hidden.subarray(0, 2 * d))).toMatchObject({ ok: true, argmaxAgrees: true });
  });

  it('similarities are of vectors as they are', () => {
    const vector = someNumbers(64, 8);
    for (const metric of ['dot', 'cosine'] as const)
      expect(headOf(37, 64).nearestSync(vector, 5, { metric })).toEqual(
        headOf(37, 64, { activations: 'f32' }).nearestSync(vector, 5, { metric }),
      );
  });

  it('attached heads have them; files get them where they are opened', () => {
    const head = headOf(37, 64);
    expect(LMHead.attach(structuredClone(head.handle)).activations).toBe(activations);
    const path = folder.path(`${backend}.safetensors`);
    head.saveSync(path);
    expect(LMHead.openSync(path, { backend }).activations).toBe('f32');
    const opened = LMHead.openSync(path, { backend, activations });
    const hidden = someNumbers(64, 9);
    expect(opened.logitsSync(hidden)).toEqual(head.logitsSync(hidden));
  });

  it('other weights are refused, and so is a copy to be read first', async () => {
    const options = { vocabSize: 3, hiddenSize: 32, backend, activations } as const;
    const words = ["activations: got 'bf16' for weights in", 'want weights in bf16'];
    throwsKind(() => LMHead.from(someNumbers(96), options), 'DTYPE', ...words);
    throwsKind(() => LMHead.from(new Uint16Array(96), { ...options, dtype: 'f16' }), 'DTYPE', ...words);
    const head = headOf(3, 32);
    await rejectsKind(() => head.quantize('i8', { activations }), 'DTYPE', ...words);
    expect((await head.quantize('i8')).head.activations).toBe('f32');
    if (backend === 'native')
      throwsKind(() => headOf(40, 64, { screen: true }), 'RANGE', "activations 'bf16'");
  });
});
