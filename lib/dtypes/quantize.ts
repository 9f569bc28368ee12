/**
 * From float32 rows to int8 ones, with scales chosen for the least squared error: `i8` and `q8_0` of lib/dtypes/row-format.ts.
 * native/core/quantize.cc does the same, to the bit.
 */
import { LMHeadError } from '../errors';
import { halfToNumber } from './half';
import { rowBytes } from './row-format';

/** The dtypes that a head can be quantized to. */
export type QuantizeTarget = 'i8' | 'q8_0';

/** What rounding to the format has changed. */
export interface WeightErrorSums {
  /** Largest |w − ŵ|. */
  max: number;
  /** Σ (w − ŵ)² */
  squares: number;
  /** Σ w² */
  total: number;
}

/** Scales are tried in such steps, from the one that just fits the largest weight down to half of it. */
const STEP = 0.04;
const SMALLEST_FIT = 0.5;
/** Added and taken away, it leaves a double rounded to the nearest integer, ties to even. */
export const ROUNDER = 1.5 * 2 ** 52;

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

/** Rounded to sixteen significant bits, so that its product with an int8 is a float32 exactly. */
function shortFloat(x: number): number {
  float[0] = x;
  word[0] = (word[0] + 0x80) & 0xffffff00;
  return float[0];
}

/** The bits of the half nearest to x ≥ 0, the largest finite one at most. Ties are as good either way here. */
function nearestHalf(x: number): number {
  if (x >= 65504) return 0x7bff;
  // A unit in the last place is 2^-24 below 2^-13, and doubles with each power of two above.
  const exponent = Math.max(Math.floor(Math.log2(x)), -14);
  // The implicit leading bit adds itself to the exponent; so does a carry out of the fraction.
  return ((exponent + 14) << 10) + Math.round(x / 2 ** (exponent - 10));
}

/** The integers nearest to w/scale in [−127, 127], into q; Σ w·q and Σ q². */
function nearest(w: Float32Array, scale: number, q: Int8Array): { wq: number; qq: number } {
  const inverse = 1 / scale;
  let wq = 0;
  let qq = 0;
  for (let k = 0; k < w.length; k++) {
    const x = w[k];
    let n = x * inverse + ROUNDER - ROUNDER;
    if (n > 127) n = 127;
    else if (n < -127) n = -127;
    q[k] = n;
    wq += x * n;
    qq += n * n;
  }
  return { wq, qq };
}

/**
 * For a given scale the nearest integers are the best, and for given integers q the scale Σwq/Σq², which leaves the
 * error Σw² − (Σwq)²/Σq². Scales that clip the largest weights more and more are tried until two in a row are worse.
 * @param q [w.length]; is filled
 * @param round to what the format can hold
 * @returns the scale
 */
function bestFit(w: Float32Array, q: Int8Array, round: (scale: number) => number): number {
  let largest = 0;
  for (let k = 0; k < w.length; k++) largest = Math.max(largest, Math.abs(w[k]));
  const widest = largest / 127;
  // So small a scale would itself be rounded away.
  if (!(round(widest / 2) > 0)) {
    q.fill(0);
    return 0;
  }
  const trial = new Int8Array(w.length);
  let scale = 0;
  let most = 0;
  for (let part = 1, worse = 0; part >= SMALLEST_FIT && worse < 2; part -= STEP) {
    const { wq, qq } = nearest(w, widest * part, trial);
    const explained = (wq * wq) / qq;
    if (explained > most) {
      most = explained;
      scale = round(wq / qq);
      q.set(trial);
      worse = 0;
    } else {
      worse++;
    }
  }
  return scale;
}

/** Of a row that can't be quantized. */
export function notFinite(row: number): LMHeadError {
  return new LMHeadError('RANGE', `weight: got NaN or an infinity in row ${row}; want finite values`);
}

function addErrors(w: Float32Array, q: Int8Array, scale: number, errors: WeightErrorSums): void {
  for (let k = 0; k < w.length; k++) {
    const rest = w[k] - scale * q[k];
    errors.max = Math.max(errors.max, Math.abs(rest));
    errors.squares += rest * rest;
    errors.total += w[k] * w[k];
  }
}

/**
 * Quantizes one row.
 * @param w [d], finite; for q8_0 d is a multiple of 32
 * @param bytes rowBytes(dtype, d) of them; are filled
 * @returns what that has changed
 */
export function quantizeRow(w: Float32Array, dtype: QuantizeTarget, bytes: Uint8Array): WeightErrorSums {
  const errors: WeightErrorSums = { max: 0, squares: 0, total: 0 };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const block = dtype === 'i8' ? w.length : 32;
  const size = rowBytes(dtype, block);
  for (let k = 0, at = 0; k < w.length; k += block, at += size) {
    const part = w.subarray(k, k + block);
    const q = new Int8Array(bytes.buffer, bytes.byteOffset + at + size - block, block);
    const scale = bestFit(part, q, dtype === 'i8' ? shortFloat : x => halfToNumber(nearestHalf(x)));
    if (dtype === 'i8') view.setFloat32(at, scale, true);
    else view.setUint16(at, nearestHalf(scale), true);
    addErrors(part, q, scale, errors);
  }
  return errors;
}
