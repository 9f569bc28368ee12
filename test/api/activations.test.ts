/** Hidden states rounded to integers: what is computed with them, and that it is computed right. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Activations, type ErrorKind, LMHead } from '../../lib';
import { dequantize, minimaOf } from '../../lib/dtypes/dequantize';
import { roundedActivations } from '../../lib/dtypes/quantized-activations';
import { ROW_FORMATS } from '../../lib/dtypes/row-format';
import { boundedLogitOf } from '../../lib/reference/logits';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { someNumbers } from '../support/numbers';
import { someQuantized } from '../support/quantized';
import { expectSameBits } from '../support/same-bits';

const folder = temporaryFolder();

const ROUNDED = ['i8', 'i16'] as const;
const WEIGHTS = [
  ['i8', [1, 7, 63, 64, 65, 300]],
  ['q8_0', [32, 64, 96, 320]],
  ['q6_k', [256, 512]],
  ['q5_k', [256, 768]],
  ['q4_k', [256, 512, 2304]],
  ['q4_0', [32, 64, 96, 160, 2080]],
  ['q4_1', [32, 96, 320]],
  ['q5_0', [32, 64, 96, 320]],
  ['q5_1', [32, 96, 320]],
  ['iq4_nl', [32, 96, 320]],
  ['iq4_xs', [256, 512]],
  ['mxfp4', [32, 96, 320]],
  ['q3_k', [256, 512]],
] as const;
const MOST = { i8: 127, i16: 32512 };

describe('rounded hidden states', () => {
  it('are integers times a scale, the largest of them 127 or 32512', () => {
    const h = Float32Array.of(-2, 1, 0, 0.5);
    const scale = Math.fround(2 / 127);
    expect([...roundedActivations(h, 4, 'i8')]).toEqual([-127, 64, 0, 32].map(q => q * scale));
    const fine = Math.fround(2 / 32512);
    expect([...roundedActivations(h, 4, 'i16')]).toEqual([-32512, 16256, 0, 8128].map(q => q * fine));
  });

  it.each(ROUNDED)('%s: no number is farther away than half a step', kind => {
    const state = fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }), {
      minLength: 1,
      maxLength: 40,
    });
    fc.assert(
      fc.property(state, numbers => {
        const h = Float32Array.from(numbers);
        const rounded = roundedActivations(h, h.length, kind);
        const largest = h.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
        const step = (largest / MOST[kind]) * (1 + 2 ** -23);
        const error = h.reduce((most, x, i) => Math.max(most, Math.abs(rounded[i] - x)), 0);
        // A scale below 2^-126 is rounded more coarsely than float32 numbers are, by up to 2^-150, and may be 0.
        expect(error).toBeLessThanOrEqual(step * 0.501 + MOST[kind] * 2 ** -150);
      }),
    );
  });

  it.each(ROUNDED)('%s: each state has a scale of its own, and one that is not finite is NaN', kind => {
    const rounded = roundedActivations(Float32Array.of(1, 1, NaN, 1, Infinity, 0, 1e-30, 0, 0, 0), 2, kind);
    expect([...rounded.subarray(2, 6)]).toEqual([NaN, NaN, NaN, NaN]);
    expect(rounded[0]).toBeCloseTo(1, 6);
    expect(rounded[6] / 1e-30).toBeCloseTo(1, 6);
    expect([...rounded.subarray(7)]).toEqual([0, 0, 0]);
  });
});

describe.each(backends)('%s: activations', backend => {
  const headOf = (
    dtype: (typeof WEIGHTS)[number][0],
    V: number,
    d: number,
    activations: Activations,
    more = {},
  ) =>
    LMHead.from(someQuantized(dtype, V, d, d), {
      vocabSize: V,
      hiddenSize: d,
      dtype,
      backend,
      activations,
      ...more,
    });

  describe.each(ROUNDED)('%s', activations => {
    it.each(WEIGHTS)(
      'weights %s: logits are those of the rounded states, within the bound',
      (dtype, widths) => {
        let worst = 0;
        for (const d of widths) {
          const [V, n] = [backend === 'native' && d < 1000 ? 133 : 37, 1 + (d % 9)];
          const epilogue = { bias: someNumbers(V, 3), logitScale: 0.75, softCap: 30 };
          const head = headOf(dtype, V, d, activations, epilogue);
          const wide = dequantize(someQuantized(dtype, V, d, d), dtype, d);
          const minima = minimaOf(someQuantized(dtype, V, d, d), dtype, d);
          const hidden = someNumbers(n * d, 5).map((x, i) => (i % 17 === 0 ? 9 * x : x));
          const u = head.logitsSync(hidden);
          const rounded = roundedActivations(hidden, d, activations);
          const all = { ...epilogue, capOrder: 'scale-then-cap', validVocabSize: V } as const;
          for (let row = 0; row < n; row++) {
            for (let id = 0; id < V; id++) {
              const h = rounded.subarray(row * d, (row + 1) * d);
              const { logit, bound } = boundedLogitOf(h, wide, id, id, all, minima);
              worst = Math.max(worst, Math.abs(u[row * V + id] - logit) / bound);
            }
          }
          // And not of the states as they are.
          if (d > 60) expect(u).not.toEqual(headOf(dtype, V, d, 'f32', epilogue).logitsSync(hidden));
        }
        expect(worst).toBeGreaterThan(0);
        expect(worst).toBeLessThanOrEqual(1);
      },
    );

    it.each(['q4_k', 'q5_k', 'q4_1', 'q5_1'] as const)(
      'weights %s: minima that cancel what they are added to are within the bound',
      async dtype => {
        const [V, d] = [29, 768];
        const bytes = someQuantized(dtype, V, d);
        const view = new DataView(bytes.buffer);
        const { elements, bytes: size } = ROW_FORMATS[dtype];
        const wide = elements === 256;
        const one = 0x3c00;
        for (let at = 0; at < bytes.length; at += size) {
          // All numbers as large as they can be, and minima that leave 0 of them, or nearly: E alone would bound nothing.
          bytes.fill(255, at, at + size);
          view.setUint16(at, one, true);
          view.setUint16(
            at + 2,
            wide ? (dtype === 'q4_k' ? 0x4b80 : 0x4fc0) : dtype === 'q4_1' ? 0xcb80 : 0xcfc0,
            true,
          );
        }
        const options = { vocabSize: V, hiddenSize: d, dtype, backend, activations };
        const hidden = someNumbers(3 * d, 4);
        expect(Math.max(...dequantize(bytes, dtype, d).map(Math.abs))).toBe(0);
        const verdict = await LMHead.from(bytes, options).verify(hidden);
        expect(verdict).toMatchObject({ ok: true });
        expect(verdict.bound).toBeGreaterThan(0);
        bytes.forEach((byte, i) => {
          if (i % size >= (wide ? 16 : 8) && i % 7 === 0) bytes[i] = byte & 0xee;
        });
        expect(await LMHead.from(bytes, options).verify(hidden)).toMatchObject({ ok: true });
      },
    );

    it.each(WEIGHTS)(
      'weights %s: the same bits in any batch, and from every method',
      async (dtype, widths) => {
        const d = widths[widths.length - 1];
        const [V, n] = [backend === 'reference' ? 61 : d < 400 ? 1100 : 300, 23];
        const head = headOf(dtype, V, d, activations);
        const hidden = someNumbers(n * d, 6);
        const u = head.logitsSync(hidden);
        await expectSameBits(head, hidden, u);
        if (backend === 'native')
          expect(headOf(dtype, V, d, activations, { threads: 1 }).logitsSync(hidden)).toEqual(u);
        const top = head.topKSync(hidden, 3);
        expect(top.logits).toEqual(Float32Array.from(top.ids, (id, i) => u[Math.floor(i / 3) * V + id]));
        const best = head.argmaxSync(hidden);
        expect(head.sampleSync(hidden, { temperature: 0 }).ids).toEqual(best);
        const verdict = head.verifyDraftSync(hidden, best.subarray(0, n - 1), { temperature: 0 });
        expect(verdict.ids).toEqual(best);
        const { logProbs } = head.scoreSync(hidden, best);
        expect(logProbs).toEqual(
          head.logProbsSync(hidden).filter((_, i) => i % V === best[Math.floor(i / V)]),
        );
        expect(await head.verify(hidden.subarray(0, 2 * d))).toMatchObject({ ok: true, argmaxAgrees: true });
      },
    );

    it('a state that is not finite has NaN for logits, and no other has', () => {
      const head = headOf('i8', 37, 64, activations);
      const hidden = someNumbers(3 * 64, 7);
      const before = head.logitsSync(hidden);
      for (const sick of [NaN, Infinity, -Infinity]) {
        const u = head.logitsSync(hidden.with(70, sick));
        expect(u.subarray(37, 74).every(Number.isNaN)).toBe(true);
        expect(u.subarray(0, 37)).toEqual(before.subarray(0, 37));
        expect(u.subarray(74)).toEqual(before.subarray(74));
        throwsKind(() => head.argmaxSync(hidden.with(70, sick)), 'NAN', 'row 1');
      }
    });

    it('similarities are of vectors as they are', () => {
      const head = headOf('q8_0', 37, 64, activations);
      const vector = someNumbers(64, 8);
      for (const metric of ['dot', 'cosine'] as const)
        expect(head.nearestSync(vector, 5, { metric })).toEqual(
          headOf('q8_0', 37, 64, 'f32').nearestSync(vector, 5, { metric }),
        );
    });

    it('attached heads have them; saved ones get them where they are opened', () => {
      const head = headOf('i8', 37, 64, activations);
      const hidden = someNumbers(64, 9);
      expect(head.activations).toBe(activations);
      const attached = LMHead.attach(structuredClone(head.handle));
      expect(attached.activations).toBe(activations);
      expect(attached.logitsSync(hidden)).toEqual(head.logitsSync(hidden));
      const path = folder.path(`${activations}.safetensors`);
      head.saveSync(path);
      expect(LMHead.openSync(path, { backend }).activations).toBe('f32');
      const opened = LMHead.openSync(path, { backend, activations });
      expect(opened.logitsSync(hidden)).toEqual(head.logitsSync(hidden));
    });

    it('quantize makes such heads, and its error is that of both roundings', async () => {
      const [V, d] = [50, 96];
      const head = LMHead.from(someNumbers(V * d), { vocabSize: V, hiddenSize: d, backend });
      const hidden = someNumbers(8 * d, 10);
      const { head: plain, error } = await head.quantize('q8_0', { hidden });
      const { head: rounded, error: both } = await head.quantize('q8_0', { hidden, activations });
      expect([plain.activations, rounded.activations]).toEqual(['f32', activations]);
      expect(both.weights).toEqual(error.weights);
      expect(both.logits!.rms).not.toBe(error.logits!.rms);
      if (activations === 'i8') expect(both.logits!.rms).toBeGreaterThan(error.logits!.rms);
      else expect(both.logits!.rms).toBeCloseTo(error.logits!.rms, 4);

      // And what rounding hidden states does alone: that verify says too.
      expect(error.rounded).toBeUndefined();
      const [u, exact] = [rounded.logitsSync(hidden), plain.logitsSync(hidden)];
      const differences = u.map((x, i) => x - exact[i]);
      expect(both.rounded).toMatchObject({ positions: 8, max: Math.max(...differences.map(Math.abs)) });
      expect(both.rounded!.rms).toBeCloseTo(
        Math.sqrt(differences.reduce((sum, x) => sum + x * x, 0) / u.length),
        9,
      );
      const best = rounded.argmaxSync(hidden);
      const agreeing = plain.argmaxSync(hidden).filter((id, i) => id === best[i]).length;
      expect(both.rounded!.argmaxAgreement).toBe(agreeing / 8);
      const { rounded: verified } = await rounded.verify(hidden);
      expect(verified!.positions).toBe(8);
      expect(verified!.max).toBeCloseTo(both.rounded!.max, 5);
      expect(verified!.rms).toBeCloseTo(both.rounded!.rms, 6);
      expect(verified!.klDivergence).toBeCloseTo(both.rounded!.klDivergence, 6);
      expect((await plain.verify(hidden)).rounded).toBeUndefined();
    });
  });

  it('are float32 where nothing is said', () => {
    const options = { vocabSize: 5, hiddenSize: 4, backend };
    expect(LMHead.from(someNumbers(20), options).activations).toBe('f32');
    expect(LMHead.from(someNumbers(20), { ...options, activations: 'f32' }).activations).toBe('f32');
  });

  it.each<[string, 'f32' | 'q2_k', object, ErrorKind, ...string[]]>([
    [
      'weights of floating-point numbers',
      'f32',
      { activations: 'i8' },
      'DTYPE',
      'weights in f32',
      'q8_0, q6_k, q5_k',
    ],
    ['weights of two bits', 'q2_k', { activations: 'i16', dtype: 'q2_k' }, 'DTYPE', 'weights in q2_k'],
    ['a kind that there is not', 'f32', { activations: 'i4' }, 'RANGE', '"i4"', "'i16'"],
    ['no kind', 'f32', { activations: 8 }, 'ARGUMENT', 'activations: got 8'],
  ])('%s: refused', (_, dtype, options, kind, ...words) => {
    const weight = dtype === 'f32' ? someNumbers(3 * 256) : someQuantized(dtype, 3, 256);
    const all = { vocabSize: 3, hiddenSize: 256, backend, ...options } as never;
    throwsKind(() => LMHead.from(weight, all), kind, ...words);
  });

  it('hidden sizes whose sums would not fit are refused, and the largest fits', () => {
    const most = 2 ** 17;
    const weight = new Uint8Array(4 + most).fill(0x80); // −128, all of them
    new DataView(weight.buffer).setFloat32(0, 1, true);
    const options = { vocabSize: 1, hiddenSize: most, dtype: 'i8', activations: 'i8', backend } as const;
    const head = LMHead.from(weight, options);
    expect(head.logitsSync(new Float32Array(most).fill(127))[0]).toBe(-128 * 127 * most);
    const wider = new Uint8Array(5 + most);
    throwsKind(
      () => LMHead.from(wider, { ...options, hiddenSize: most + 1 }),
      'RANGE',
      `hidden size of ${most + 1}`,
      `at most ${most}`,
    );
  });

  it('quantize refuses them before it looks at the weights', async () => {
    const hiddenSize = 2 ** 17 + 1;
    const weight = new Float32Array(hiddenSize).fill(Number.NaN);
    const head = LMHead.from(weight, { vocabSize: 1, hiddenSize, backend });
    await rejectsKind(
      () => head.quantize('i8', { activations: 'i8' }),
      'RANGE',
      `hidden size of ${hiddenSize}`,
    );
  });
});
