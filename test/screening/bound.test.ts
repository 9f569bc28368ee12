/** The bound of screening, on every row of every matrix: that of its proof in float64, and that of the native copy. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { nativeUnavailable } from '../../lib/backend/addon';
import { type BlockDtype, isFloat } from '../../lib/dtypes/row-format';
import { CopyReader, checkCopy } from '../../lib/head/check-copy';
import { passesOf } from '../../lib/head/head-properties';
import {
  boundOf,
  dequantizeRow,
  estimateOf,
  lengthOf,
  type QuantizedRow,
  quantizeRow,
  type Rotation,
  rotated,
  rotationOf,
  searchedState,
} from '../../lib/reference/screening';
import type { FloatDtype } from '../../lib/types';
import { narrow } from '../support/half';
import { someNumbers } from '../support/numbers';
import { someQuantized } from '../support/quantized';
import { Random } from '../support/random';

const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += a[k] * b[k];
  return sum;
};

type Make = (random: Random, row: number, k: number) => number;
const unit = (random: Random) => random.below(2 ** 30) / 2 ** 29 - 1;
/** Matrices, and states, number by number. */
const KINDS: Record<string, Make> = {
  plain: random => unit(random),
  'of outlying columns': (random, _, k) => unit(random) * (k % 61 === 3 ? 1000 : 1),
  'of outlying rows': (random, row) => unit(random) * 4 ** (row % 7),
  sparse: (random, _, k) => (k % 19 === 5 ? unit(random) : 0),
  'of one number': (_, row, k) => (k === row ? 3 : 0),
  'of signs': random => (random.below(2) ? 1 : -1),
  'the same in all rows': (_, _row, k) => Math.sin(k),
  'far from 0': random => 100 + unit(random) / 16,
  zeros: () => 0,
  'near 2^-97': random => unit(random) * 2 ** -97,
  'near 2^97': random => unit(random) * 2 ** 97,
  subnormal: random => unit(random) * 2 ** -130,
  'of all sizes': random => unit(random) * 2 ** (random.below(120) - 60),
};
const make = (kind: string, rows: number, d: number, seed: number) => {
  const random = new Random(seed);
  return Float32Array.from({ length: rows * d }, (_, i) => KINDS[kind](random, Math.floor(i / d), i % d));
};
const rowsOf = (matrix: Float32Array, d: number) =>
  Array.from({ length: matrix.length / d }, (_, i) => matrix.subarray(i * d, (i + 1) * d));
/** Of the rows, or nothing. */
function meanOf(rows: Float32Array[], d: number): Float32Array {
  const mean = Float32Array.from(
    { length: d },
    (_, k) => rows.reduce((sum, row) => sum + row[k], 0) / rows.length,
  );
  return mean.every(Number.isFinite) ? mean : new Float32Array(d);
}

/** That a row is held as it says. */
function expectHeld(
  rotation: Rotation,
  held: QuantizedRow,
  row: Float32Array,
  mean: Float32Array,
  what: string,
) {
  const x = Float64Array.from(row, (each, k) => each - mean[k]);
  const y = rotated(rotation, x);
  expect(held.norm, what).toBeGreaterThanOrEqual(lengthOf(x));
  expect(held.rho, what).toBeGreaterThanOrEqual(lengthOf(dequantizeRow(held).map((each, k) => y[k] - each)));
}

describe('the bound in float64', () => {
  const kinds = fc.constantFrom(...Object.keys(KINDS));
  const sizes = fc.record({
    d: fc.constantFrom(1, 2, 7, 63, 64, 65, 100, 128, 192, 300),
    rows: fc.integer({ min: 1, max: 9 }),
    seed: fc.integer({ min: 0, max: 1e6 }),
  });
  it('holds for every row, state and kind', () => {
    const check = (
      ofRows: string,
      ofStates: string,
      { d, rows: count, seed }: { d: number; rows: number; seed: number },
    ) => {
      const rotation = rotationOf(d);
      const rows = rowsOf(make(ofRows, count, d, seed), d);
      const states = rowsOf(make(ofStates, 3, d, seed + 7), d).concat(rows.slice(0, 1));
      const mean = meanOf(rows, d);
      for (const [i, row] of rows.entries()) {
        const held = quantizeRow(rotation, row, mean);
        expectHeld(rotation, held, row, mean, `row ${i}`);
        for (const h of states) {
          const state = searchedState(rotation, h, mean);
          const [estimate, bound] = [estimateOf(state, held), boundOf(state, held, mean)];
          expect(Math.abs(dot(h, row) - estimate), `row ${i}: ${estimate} ± ${bound}`).toBeLessThanOrEqual(
            bound,
          );
        }
      }
    };
    fc.assert(fc.property(kinds, kinds, sizes, check), { numRuns: 300 });
  });

  it('is near what is lost: a sixteenth of a range of three deviations or so', () => {
    for (const d of [256, 896]) {
      const rotation = rotationOf(d);
      const rows = rowsOf(make('plain', 20, d, 1), d);
      const mean = meanOf(rows, d);
      for (const row of rows) {
        const { rho, norm } = quantizeRow(rotation, row, mean);
        expect(rho / norm).toBeGreaterThan(0.05);
        expect(rho / norm).toBeLessThan(0.13);
      }
    }
  });

  it('is of a rotation: lengths and products are what they were', () => {
    for (const d of [1, 60, 64, 96, 640, 896]) {
      const rotation = rotationOf(d);
      const [a, b] = [someNumbers(d, 3), someNumbers(d, 4)];
      const [qa, qb] = [rotated(rotation, a), rotated(rotation, b)];
      expect(qa.length).toBe(Math.ceil(d / 64) * 64);
      expect(dot(qa, qb)).toBeCloseTo(dot(a, b), 10);
      expect(lengthOf(qa)).toBeCloseTo(lengthOf(a), 10);
    }
  });

  it('says nothing of what is not finite', () => {
    const rotation = rotationOf(9);
    const mean = new Float32Array(9);
    for (const odd of [NaN, Infinity, -Infinity]) {
      const held = quantizeRow(rotation, new Float32Array(9).fill(odd, 3, 4), mean);
      expect(held.rho).toBe(Infinity);
      expect(boundOf(searchedState(rotation, new Float32Array(9).fill(1), mean), held, mean)).toBe(Infinity);
    }
  });
});

describe.skipIf(nativeUnavailable())('the native copy', () => {
  const V = 45;
  const states = (d: number) =>
    Float32Array.from([
      ...make('plain', 2, d, 5),
      ...make('sparse', 1, d, 6),
      ...make('of all sizes', 1, d, 7),
    ]);
  const headOf = (weight: Float32Array | Uint16Array | Uint8Array, d: number, dtype: string) =>
    LMHead.from(weight as Float32Array, {
      vocabSize: V,
      hiddenSize: d,
      dtype: dtype as 'f32',
      backend: 'native',
      screen: true,
      threads: 2,
    });

  const kinds = Object.keys(KINDS).flatMap(kind => [70, 192].map(d => [kind, d] as const));
  it.each(kinds)('of rows %s, d = %i: every row, and every product of kernels', async (kind, d) => {
    const weight = make(kind, V, d, 3);
    if (kind === 'plain') weight.set([NaN, Infinity, -Infinity], 5 * d - 1);
    const head = headOf(weight, d, 'f32');
    const { backend } = passesOf(head);
    const found = await checkCopy(backend, V, states(d), d);
    expect(found).toMatchObject({ ok: true, badRow: undefined });
    // Rows that are too small are not held, nor those with what is not finite.
    const least = { subnormal: 0, 'near 2^-97': 1, plain: V - 2 }[kind] ?? V;
    expect(found.held).toBeGreaterThanOrEqual(least);
    if (kind === 'plain') expect(found.held).toBe(V - 2);

    const copy = new CopyReader(backend, V, d);
    for (const h of rowsOf(states(d), d)) {
      const logits = head.logitsSync(h);
      const state = searchedState(copy.rotation, h, copy.mean);
      for (let first = 0; first < V; first += 32) {
        const rowAt = copy.tileAt(first);
        for (let i = first; i < Math.min(first + 32, V); i++) {
          const held = rowAt(i - first);
          if (held.rho === Infinity) continue;
          const off = Math.abs(logits[i] - estimateOf(state, held));
          if (Number.isFinite(logits[i])) expect(off).toBeLessThanOrEqual(boundOf(state, held, copy.mean));
        }
      }
    }
  });

  it.each(['f16', 'bf16', 'i8', 'q8_0', 'q6_k', 'q5_k', 'q5_0', 'q5_1'])('of weights in %s', async dtype => {
    const d = 256;
    const weight = isFloat(dtype as FloatDtype)
      ? narrow(make('plain', V, d, 1), dtype as FloatDtype)
      : someQuantized(dtype as BlockDtype, V, d);
    const head = headOf(weight, d, dtype);
    expect(await checkCopy(passesOf(head).backend, V, states(d), d)).toMatchObject({ ok: true, held: V });
  });

  it('is what the proof makes of the same rows, but for roundings', async () => {
    const d = 192;
    const weight = make('plain', V, d, 2);
    const head = headOf(weight, d, 'f32');
    const copy = new CopyReader(passesOf(head).backend, V, d);
    const rowAt = copy.tileAt(0);
    let same = 0;
    for (let i = 0; i < 32; i++) {
      const wanted = quantizeRow(copy.rotation, weight.subarray(i * d, (i + 1) * d), copy.mean);
      const held = rowAt(i);
      expect(held.rho / wanted.rho).toBeCloseTo(1, 1);
      expect(held.norm / wanted.norm).toBeCloseTo(1, 1);
      expect(held.scale / wanted.scale).toBeCloseTo(1, 2);
      held.codes.forEach((code, k) => {
        expect(Math.abs(code - wanted.codes[k])).toBeLessThanOrEqual(1);
        same += code === wanted.codes[k] ? 1 : 0;
      });
    }
    expect(same).toBeGreaterThan(0.95 * 32 * d);
  });

  it('is read only where there is one', () => {
    const head = LMHead.from(make('plain', V, 64, 1), { vocabSize: V, hiddenSize: 64, backend: 'native' });
    expect(() => new CopyReader(passesOf(head).backend, V, 64)).toThrow('screen');
  });
});
