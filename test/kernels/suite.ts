/** Every kernel of one instruction set against the float64 reference. A process has one set, so a file has one, too. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { rowParameters } from '../../lib/arguments/row-parameters';
import { nativeUnavailable } from '../../lib/backend/addon';
import { type Epilogue, type LogitsJob, noCandidates, type PassJob } from '../../lib/backend/backend';
import { nativeCapabilities, nativeLogits } from '../../lib/backend/native';
import { dequantize, unpackedRows } from '../../lib/dtypes/dequantize';
import { floats } from '../../lib/dtypes/half';
import { INTEGER_DTYPES } from '../../lib/dtypes/quantized-activations';
import { type BlockDtype, rowBytes } from '../../lib/dtypes/row-format';
import { referenceLogits } from '../../lib/reference/backend';
import { boundedLogitOf } from '../../lib/reference/logits';
import type { CapOrder, Dtype, FloatDtype, SampleOptions } from '../../lib/types';
import { narrow } from '../support/half';
import { expectClose, someNumbers } from '../support/numbers';
import { QUANTIZED, someQuantized, validWidth } from '../support/quantized';

const DTYPES: FloatDtype[] = ['f32', 'f16', 'bf16'];
/** Around every vector length, and around the widths that the kernels unroll by. */
const SIZES = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 127, 129, 257, 768];
const NONE: Epilogue = { logitScale: 1, softCap: 0, capOrder: 'scale-then-cap', validVocabSize: 0 };

/** What float32 results may differ from the reference's: an exp and a sum, rounded once. */
const ROUNDED = { relative: 2 ** -22, absolute: 2 ** -40 };

/** Registers the suite for `isa`; skips, and says so, where this machine lacks it. */
export function kernelSuite(isa: string): void {
  process.env.LMHEAD_ISA = isa;
  const missing = nativeUnavailable();
  describe.skipIf(missing)(
    `kernels for ${isa}${missing ? ` (${missing.message.split('\n')[0]})` : ''}`,
    () => {
      it('are those in use', () => {
        expect(nativeCapabilities().isa).toBe(isa);
      });

      describe.each(DTYPES)('weights %s', dtype => {
        it.each(DTYPES)(
          'and hidden states %s: logits within c·ε·Σ|h·E| + 5·d·2^-126 of float64',
          hiddenDtype => {
            let worst = 0;
            for (const d of SIZES) {
              const V = d < 200 ? 263 : 37; // a chunk of 256 and a rest
              const n = 1 + (d % 14); // every number of columns that is treated apart
              worst = Math.max(worst, checkLogits(V, d, n, dtype, hiddenDtype, NONE));
            }
            expect(worst).toBeGreaterThan(0); // it measured something
            expect(worst).toBeLessThanOrEqual(1);
          },
        );

        it('with numbers of every size: subnormal, tiny, huge', () => {
          for (const d of [1, 9, 33, 100]) {
            const V = 41;
            const spread = (count: number, seed: number) =>
              someNumbers(count, seed).map(
                (x, i) => x * 2 ** (((i * 37) % (dtype === 'f16' ? 24 : 100)) - (dtype === 'f16' ? 20 : 60)),
              );
            expect(
              checkNumbers(spread(V * d, 3), spread(3 * d, 4), V, d, 3, dtype, 'f32', NONE),
            ).toBeLessThanOrEqual(1);
          }
        });

        it('NaN and infinities go where float64 has them, and nowhere else', () => {
          const [V, d] = [70, 19];
          const weight = narrow(someNumbers(V * d, 5), dtype);
          const put = (row: number, column: number, value: number) => {
            weight[row * d + column] = narrow(Float32Array.of(value), dtype)[0];
          };
          put(3, 0, NaN);
          put(16, 18, Infinity);
          put(17, 7, -Infinity);
          put(69, 2, Infinity);
          const hidden = someNumbers(2 * d, 6);
          const head = LMHead.from(weight, {
            vocabSize: V,
            hiddenSize: d,
            dtype: dtype === 'f32' ? undefined : dtype,
          });
          const u = head.logitsSync(hidden);
          const wide = floats(weight, dtype);
          for (let row = 0; row < 2; row++) {
            const h = hidden.subarray(row * d, (row + 1) * d);
            for (let id = 0; id < V; id++) {
              const { logit, bound } = boundedLogitOf(h, wide, id, id, NONE);
              if (Number.isFinite(logit))
                expect(Math.abs(u[row * V + id] - logit)).toBeLessThanOrEqual(bound);
              else expect(u[row * V + id]).toBe(logit);
            }
          }
          // A NaN in one hidden state leaves the other alone.
          const bad = hidden.slice();
          bad[4] = NaN;
          const v = head.logitsSync(bad);
          expect(v.subarray(0, V).every(Number.isNaN)).toBe(true);
          expect(v.subarray(V)).toEqual(u.subarray(V));
        });
      });

      it.each(QUANTIZED)('weights %s: logits within the same bound, embed the exact numbers', dtype => {
        let worst = 0;
        for (const wanted of [...SIZES, 2048]) {
          const d = validWidth(dtype, wanted);
          const V = d < 300 ? 263 : 37;
          const n = 1 + (wanted % 14);
          const weight = someQuantized(dtype, V, d, wanted);
          const hidden = someNumbers(n * d, V * d);
          worst = Math.max(worst, checkWeight(weight, hidden, V, d, n, dtype, 'f32', NONE));
          const head = LMHead.from(weight, { vocabSize: V, hiddenSize: d, dtype });
          expect(head.embed([V - 1, 0, 7])).toEqual(
            Float32Array.from([V - 1, 0, 7].flatMap(id => [...unpackedRow(weight, dtype, d, id)])),
          );
        }
        expect(worst).toBeGreaterThan(0);
        expect(worst).toBeLessThanOrEqual(1);
      });

      it.each(INTEGER_DTYPES)('weights %s and hidden states of integers: within the bound', async dtype => {
        for (const activations of ['i8', 'i16'] as const) {
          for (const wanted of [33, 65, 257, 2300]) {
            const d = validWidth(dtype as BlockDtype, wanted);
            const weight = someQuantized(dtype as BlockDtype, 37, d, wanted);
            const head = LMHead.from(weight, { vocabSize: 37, hiddenSize: d, dtype, activations });
            const found = await head.verify(someNumbers((1 + (wanted % 9)) * d, d));
            expect(found).toMatchObject({ ok: true, argmaxAgrees: true });
            expect(found.maxError).toBeGreaterThan(0);
          }
        }
      });

      it.each([
        ['bias', { bias: someNumbers(263, 8) }],
        ['scale', { logitScale: -0.37 }],
        ['soft-cap', { softCap: 1.5 }],
        ['soft-cap far beyond and far below', { softCap: 1e-3 }],
        ['a soft-cap that does nothing', { softCap: 1e6 }],
        ['bias, scale and soft-cap', { bias: someNumbers(263, 8), logitScale: 1.7, softCap: 3 }],
        [
          'the same, capped first',
          { bias: someNumbers(263, 8), logitScale: 1.7, softCap: 3, capOrder: 'cap-then-scale' as CapOrder },
        ],
      ])('the epilogue: %s', (_, epilogue) => {
        expect(checkLogits(263, 50, 5, 'f32', 'f32', { ...NONE, ...epilogue })).toBeLessThanOrEqual(1);
      });

      // Of these only products are their own: native/test holds the rest of their tables against AVX-512's, or NEON's.
      describe.skipIf(isa === 'avx512bf16' || isa.startsWith('amx') || isa.startsWith('neon_'))(
        'everything that follows from the same logits',
        () => {
          const rows: [string, (V: number) => Float32Array][] = [
            ['plain', V => someNumbers(V, 9).map(x => 4 * x)],
            ['peaked', V => someNumbers(V, 10).map(x => (x > 0.9 ? 60 * x : 5 * x))],
            ['flat', V => new Float32Array(V).fill(1.25)],
            ['full of ties', V => someNumbers(V, 11).map(x => Math.round(2 * x))],
            ['wide', V => someNumbers(V, 12).map(x => 1e30 * x)],
            ['tiny', V => someNumbers(V, 13).map(x => 1e-40 * x)],
            [
              'nearly all -Infinity',
              V => new Float32Array(V).fill(-Infinity).map((u, i) => (i % 97 === V % 97 ? i / V : u)),
            ],
          ];
          it.each(rows)('%s rows: distributions, order, ranks, entropy', (_, make) => {
            for (const V of [1, 2, 15, 17, 255, 256, 257, 1000, 5000]) {
              const u = make(V);
              if (!u.some(Number.isFinite)) u[V >> 1] = 1;
              for (const temperature of [1, 0.3, 2.5]) compareRow(u, temperature);
            }
          });

          it.each(rows)('%s rows: the same token, always', (_, make) => {
            let draws = 0;
            for (const V of [1, 2, 17, 256, 700, 5000]) {
              const u = make(V);
              if (!u.some(Number.isFinite)) u[V >> 1] = 1;
              for (const options of samplings(V)) draws += compareSamples(u, V, options, V > 1000 ? 3 : 7);
            }
            console.log(`${isa}: ${draws} draws, native and reference the same`);
          });
        },
      );

      it('end to end a draw differs from the reference only inside the stated bound', () => {
        const [V, d, n, times] = [1500, 96, 10, 8];
        const weight = someNumbers(V * d, 14);
        const native = LMHead.from(weight, { vocabSize: V, hiddenSize: d });
        const reference = LMHead.from(weight, { vocabSize: V, hiddenSize: d, backend: 'reference' });
        const counts = { draws: 0, differ: 0 };
        for (let i = 0; i < times; i++) {
          const hidden = someNumbers(n * d, 100 + i);
          const [u, twinU] = [native.logitsSync(hidden), reference.logitsSync(hidden)];
          for (const options of samplings(V)) {
            const at = { ...options, seed: i, step: 1000 * i };
            const { ids } = native.sampleSync(hidden, at);
            for (let row = 0; row < n; row++) {
              const table = rowParameters({ ...at, step: at.step + row }, 1, V, 'sample', true)!;
              const twin = (logits: Float32Array) =>
                referenceSample(logits.subarray(row * V, (row + 1) * V), V, table);
              counts.draws++;
              if (ids[row] === twin(twinU)) continue;
              counts.differ++;
              // Then it was the logits that differed, and not the draw: the reference agrees, given the native logits.
              expect(twin(u)).toBe(ids[row]);
            }
          }
        }
        console.log(
          `${isa}: end to end ${counts.differ} of ${counts.draws} draws differ, all by logits within their bound`,
        );
        expect(counts.differ).toBeLessThan(counts.draws / 1000);
      });
    },
  );
}

function unpackedRow(weight: Uint8Array, dtype: BlockDtype, d: number, id: number): Float32Array {
  return dequantize(weight.subarray(id * rowBytes(dtype, d), (id + 1) * rowBytes(dtype, d)), dtype, d);
}

/** Largest error over its bound. */
function checkLogits(
  V: number,
  d: number,
  n: number,
  dtype: FloatDtype,
  hiddenDtype: FloatDtype,
  epilogue: Epilogue,
): number {
  return checkNumbers(
    someNumbers(V * d, V + d),
    someNumbers(n * d, V * d),
    V,
    d,
    n,
    dtype,
    hiddenDtype,
    epilogue,
  );
}

function checkNumbers(
  weights: Float32Array,
  hiddenStates: Float32Array,
  V: number,
  d: number,
  n: number,
  dtype: FloatDtype,
  hiddenDtype: FloatDtype,
  epilogue: Epilogue,
): number {
  return checkWeight(narrow(weights, dtype), hiddenStates, V, d, n, dtype, hiddenDtype, epilogue);
}

function checkWeight(
  weight: Float32Array | Uint16Array | Uint8Array,
  hiddenStates: Float32Array,
  V: number,
  d: number,
  n: number,
  dtype: Dtype,
  hiddenDtype: FloatDtype,
  epilogue: Epilogue,
): number {
  const hidden = narrow(hiddenStates, hiddenDtype);
  const head = LMHead.from(weight, {
    vocabSize: V,
    hiddenSize: d,
    dtype: dtype === 'f32' ? undefined : dtype,
    bias: epilogue.bias,
    logitScale: epilogue.logitScale,
    softCap: epilogue.softCap || undefined,
    capOrder: epilogue.capOrder,
  });
  const u = head.logitsSync(hidden, { hiddenDtype: hiddenDtype === 'f32' ? undefined : hiddenDtype });
  const [e, h] = [unpackedRows(weight, dtype, d), floats(hidden, hiddenDtype)];
  let worst = 0;
  for (let row = 0; row < n; row++) {
    for (let id = 0; id < V; id++) {
      const { logit, bound } = boundedLogitOf(h.subarray(row * d, (row + 1) * d), e, id, id, epilogue);
      const error = Math.abs(u[row * V + id] - logit);
      if (!(error <= bound))
        expect.fail(`V=${V} d=${d} row ${row} id ${id}: got ${u[row * V + id]}, want ${logit} ± ${bound}`);
      worst = Math.max(worst, error / bound);
    }
  }
  return worst;
}

/** Every result but samples, of one row of logits. */
function compareRow(u: Float32Array, temperature: number): void {
  const V = u.length;
  for (const target of [0, V >> 1, V - 1]) {
    const job = (): LogitsJob => ({
      ...emptyJob(V),
      givenLogits: u,
      vocabSize: V,
      rowParameters: rowParameters({ temperature }, 1, V, 'distribution', false),
      score: {
        targets: Uint32Array.of(target),
        logProbs: new Float32Array(1),
        ranks: new Uint32Array(1),
        entropy: new Float32Array(1),
      },
    });
    const [native, reference] = [job(), job()];
    nativeLogits().runLogits(native);
    referenceLogits.runLogits(reference);
    expect(native.logits).toEqual(reference.logits);
    expectClose(native.logProbs!, reference.logProbs!, ROUNDED);
    expectClose(native.probs!, reference.probs!, { ...ROUNDED, absolute: 2 ** -126 });
    expect(native.argmax).toEqual(reference.argmax);
    expect(native.top!.ids).toEqual(reference.top!.ids);
    expect(native.top!.logits).toEqual(reference.top!.logits);
    expectClose(native.top!.logProbs!, reference.top!.logProbs!, ROUNDED);
    expectClose(native.logSumExp!, reference.logSumExp!, ROUNDED);
    expectClose(native.score!.logProbs, reference.score!.logProbs, ROUNDED);
    expect(native.score!.ranks).toEqual(reference.score!.ranks);
    expectClose(native.score!.entropy!, reference.score!.entropy!, { relative: 1e-6, absolute: 1e-9 });
  }
}

function emptyJob(V: number): PassJob {
  const k = V > 1000 ? 1100 : Math.max(1, V - 1); // beyond what a heap is for, too
  return {
    n: 1,
    logits: new Float32Array(V),
    logProbs: new Float32Array(V),
    probs: new Float32Array(V),
    argmax: new Uint32Array(1),
    top: { k, ids: new Uint32Array(k), logits: new Float32Array(k), logProbs: new Float32Array(k) },
    logSumExp: new Float32Array(1),
  };
}

/** Every way through the filters. */
function samplings(V: number): SampleOptions[] {
  return [
    {},
    { temperature: 0 },
    { temperature: 0.4 },
    { temperature: 3 },
    { temperature: 1e-30 },
    { topK: 1 },
    { topK: Math.min(V, 40), temperature: 0.8 },
    { topK: V },
    { topK: Math.max(1, V - 1), topP: 0.9 },
    { topP: 0 },
    { topP: 0.1 },
    { topP: 0.9, temperature: 1.5 },
    { topP: 0.999 },
    { minP: 1 },
    { minP: 0.05 },
    { minP: 1e-9, temperature: 0.7 },
    { topK: Math.min(V, 50), topP: 0.95, minP: 0.05, temperature: 0.8 },
  ];
}

/** `count` draws of one row, as a batch and one by one. */
function compareSamples(u: Float32Array, V: number, options: SampleOptions, count: number): number {
  const held = new Float32Array(V * count);
  for (let i = 0; i < count; i++) held.set(u, i * V);
  const table = rowParameters(
    { ...options, seed: 0xdeadbeefn * BigInt(V), step: 7 },
    count,
    V,
    'sample',
    true,
  )!;
  const job = (): LogitsJob => ({
    n: count,
    givenLogits: held,
    vocabSize: V,
    rowParameters: table,
    sample: { ids: new Uint32Array(count), logProbs: new Float32Array(count) },
    candidates: noCandidates(),
  });
  const [native, reference] = [job(), job()];
  nativeLogits().runLogits(native);
  referenceLogits.runLogits(reference);
  expect(native.sample!.ids, JSON.stringify(options)).toEqual(reference.sample!.ids);
  expectClose(native.sample!.logProbs!, reference.sample!.logProbs!, ROUNDED);
  const left = native.candidates!;
  const wanted = reference.candidates!;
  expect(left.ids).toEqual(wanted.ids);
  expect(left.offsets).toEqual(wanted.offsets);
  expectClose(left.probs, wanted.probs, { ...ROUNDED, absolute: 2 ** -126 });
  return count;
}

function referenceSample(u: Float32Array, V: number, table: Float64Array): number {
  const sample = { ids: new Uint32Array(1), logProbs: new Float32Array(1) };
  referenceLogits.runLogits({ n: 1, givenLogits: u, vocabSize: V, rowParameters: table, sample });
  return sample.ids[0];
}
