/**
 * Screening, in float64: what the bounded copy holds of a row of E, the estimate of a product that is made of it, and how far that is at
 * most from the product that a kernel makes. It is written to be read as a proof; docs/screening.md has it in words, and
 * native/core/screen is the fast one. Nothing computes by this: tests hold the native copy, row by row, to it.
 *
 * Its own rounding is left out of the formulas: float64's is 2^-29 of float32's, and what is bounded here is rounded up by more.
 */

/** Elements of a row that have a step in common, and rows of a tile. */
export const BLOCK = 64;
export const TILE_ROWS = 32;
/** The sixteen levels of an element within its step: q − 7.5, q from 0 to 15. */
const MIDDLE = 7.5;
/** Largest magnitude of a state's integers, and of a block's factor. */
const MOST_INTEGER = 127;
const MOST_FACTOR = 255;
/** 2^-23, the spacing of float32 values at 1, and the smallest normal one. */
const EPSILON = 2 ** -23;
const SMALLEST_NORMAL = 2 ** -126;
/** Of a rotation in float32, relative to the length of what is rotated: 33 steps at most, each of which rounds by ε/2. */
const ROTATION_ERROR = 2 ** -18;
/** Of an estimate and a bound in float32, relative to the values that they are sums of: fewer than 64 steps. */
const FLOAT_ERROR = 2 ** -18;

// ---- rotation ---------------------------------------------------------------------------------------------------------------

/**
 * Q, an orthogonal map of [columns] into [padded] values: signs, a Hadamard transform of every span, an order that mixes the spans,
 * and signs and transforms once more. It spreads a row evenly, so that few steps suit all of its values.
 */
export interface Rotation {
  columns: number;
  /** Whole blocks; zeros are behind the columns. */
  padded: number;
  /** Of a transform: the largest power of two that divides `padded`. */
  span: number;
  before: Float64Array;
  between: Float64Array;
}

export function rotationOf(columns: number): Rotation {
  const padded = Math.ceil(columns / BLOCK) * BLOCK;
  let span = 1;
  while (padded % (2 * span) === 0) span *= 2;
  return { columns, padded, span, before: signs(padded, 1n), between: signs(padded, 2n) };
}

/** SplitMix64's uppermost bits. */
function signs(count: number, seed: bigint): Float64Array {
  const word = (x: bigint) => BigInt.asUintN(64, x);
  return Float64Array.from({ length: count }, (_, i) => {
    let z = word(seed + BigInt(i + 1) * 0x9e3779b97f4a7c15n);
    z = word((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = word((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return (z ^ (z >> 31n)) >> 63n ? -1 : 1;
  });
}

/** Qx: as long as x. */
export function rotated({ padded, span, before, between }: Rotation, x: ArrayLike<number>): Float64Array {
  const from = new Float64Array(padded);
  for (let k = 0; k < x.length; k++) from[k] = x[k] * before[k];
  transform(from, span);
  const to = new Float64Array(padded);
  const spans = padded / span;
  for (let b = 0; b < span; b++)
    for (let a = 0; a < spans; a++) to[b * spans + a] = from[a * span + b] * between[b * spans + a];
  transform(to, span);
  // Each of the two transforms is √span times an orthogonal one.
  return to.map(y => y / span);
}

function transform(x: Float64Array, span: number): void {
  for (let first = 0; first < x.length; first += span)
    for (let half = 1; half < span; half *= 2)
      for (let i = first; i < first + span; i += 2 * half)
        for (let j = i; j < i + half; j++) {
          const [a, b] = [x[j], x[j + half]];
          x[j] = a + b;
          x[j + half] = a - b;
        }
}

// ---- a row ------------------------------------------------------------------------------------------------------------------

/** What the copy holds of row i of E = μ + x: Qx ≈ x̂, element by element scale·factor·(q − 7.5). */
export interface QuantizedRow {
  scale: number;
  /** [blocks], from 0 to 255 */
  factors: Uint8Array;
  /** [padded]: q, from 0 to 15 */
  codes: Uint8Array;
  /** ρ ≥ |Qx − x̂|; Infinity for a row that nothing is known of. */
  rho: number;
  /** N ≥ |x| */
  norm: number;
}

/** Σ x², rooted. */
export function lengthOf(x: ArrayLike<number>): number {
  let square = 0;
  for (let k = 0; k < x.length; k++) square += x[k] * x[k];
  return Math.sqrt(square);
}

/** x̂ */
export function dequantizeRow({ scale, factors, codes }: QuantizedRow): Float64Array {
  return Float64Array.from(codes, (q, k) => scale * factors[Math.floor(k / BLOCK)] * (q - MIDDLE));
}

/** Quantizes a row, as the native side does but for what that rounds. */
export function quantizeRow(
  rotation: Rotation,
  row: ArrayLike<number>,
  mean: ArrayLike<number>,
): QuantizedRow {
  const x = Float64Array.from(mean, (each, k) => row[k] - each);
  const blocks = rotation.padded / BLOCK;
  const held: QuantizedRow = {
    scale: 0,
    factors: new Uint8Array(blocks),
    codes: new Uint8Array(rotation.padded),
    rho: Infinity,
    norm: Infinity,
  };
  const length = lengthOf(x);
  if (!Number.isFinite(length)) return held;
  const y = rotated(rotation, x);
  const most = Array.from({ length: blocks }, (_, b) =>
    y.subarray(b * BLOCK, (b + 1) * BLOCK).reduce((max, each) => Math.max(max, Math.abs(each)), 0),
  );
  // The largest element of the row is 8 steps from 0; so is that of a block, or less far. Nothing is clipped by more than half a step.
  held.scale = Math.max(...most) / (MOST_FACTOR * (MIDDLE + 0.5));
  held.factors.forEach((_, b, factors) => {
    const least = held.scale > 0 ? Math.ceil(most[b] / held.scale / (MIDDLE + 0.5)) : 0;
    factors[b] = Math.min(MOST_FACTOR, least); // by rounding, it may be one more
  });
  held.codes.forEach((_, k, codes) => {
    const step = held.scale * held.factors[Math.floor(k / BLOCK)];
    codes[k] = step > 0 ? Math.min(15, Math.max(0, Math.floor(y[k] / step + MIDDLE + 0.5))) : 0;
  });
  const left = lengthOf(dequantizeRow(held).map((each, k) => y[k] - each));
  held.rho = bfloatAbove(left + ROTATION_ERROR * length);
  held.norm = bfloatAbove(length * (1 + ROTATION_ERROR));
  return held;
}

/** The least bfloat16 that is not below x ≥ 0. */
function bfloatAbove(x: number): number {
  const words = new Uint32Array(1);
  const number = new Float32Array(words.buffer);
  number[0] = x;
  if (number[0] < x) words[0]++;
  words[0] = (words[0] + 0xffff) & 0xffff0000;
  return number[0];
}

// ---- a hidden state ---------------------------------------------------------------------------------------------------------

/** A hidden state h, as a search takes it: Qh = y ≈ ŷ = σv. */
export interface SearchedState {
  /** [padded], integers from −127 to 127 */
  integers: Int8Array;
  /** σ, a float32 */
  step: number;
  /** |h|, which is |y| */
  length: number;
  /** η ≥ |y − ŷ| */
  missing: number;
  /** h·μ */
  base: number;
}

export function searchedState(
  rotation: Rotation,
  h: ArrayLike<number>,
  mean: ArrayLike<number>,
): SearchedState {
  const y = rotated(rotation, h);
  const step = Math.fround(y.reduce((max, each) => Math.max(max, Math.abs(each)), 0) / MOST_INTEGER);
  const integers = Int8Array.from(y, each =>
    step === 0 ? 0 : Math.max(-MOST_INTEGER, Math.min(MOST_INTEGER, roundToEven(each / step))),
  );
  let base = 0;
  for (let k = 0; k < mean.length; k++) base += h[k] * mean[k];
  const missing = lengthOf(y.map((each, k) => each - step * integers[k]));
  return { integers, step, length: lengthOf(h), missing, base };
}

function roundToEven(x: number): number {
  const floor = Math.floor(x);
  const over = x - floor;
  if (over !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

// ---- estimate and bound -----------------------------------------------------------------------------------------------------

/** û = h·μ + ŷ·x̂. Of the native side's, all but the last three products and sums are integers. */
export function estimateOf({ integers, step, base }: SearchedState, row: QuantizedRow): number {
  let product = 0;
  dequantizeRow(row).forEach((each, k) => {
    product += step * integers[k] * each;
  });
  return base + product;
}

/**
 * t, with |u − û| ≤ t for the exact product u = h·E_i, for the one that any kernel makes of them in float32, and for û as float32.
 *
 * u = h·μ + h·x = h·μ + y·Qx, as Q is orthogonal. So u − û = y·Qx − ŷ·x̂ = y·(Qx − x̂) + (y − ŷ)·x̂, and by Cauchy and Schwarz
 * |u − û| ≤ |y|·ρ + η·|x̂|, where |x̂| ≤ |Qx| + ρ = N + ρ.
 *
 * A kernel's product is within c·ε·Σ|h_k·E_ik| + 5·d·2^-126 of u (boundedLogitOf of logits.ts has c), and by Cauchy and Schwarz again
 * Σ|h_k·E_ik| ≤ |h|·|E_i|, where |E_i| ≤ N + |μ|. That û and t are float32 costs at most FLOAT_ERROR of |h·μ| + |ŷ|·|x̂| and of t; and what
 * is below the smallest normal number may be lost.
 */
export function boundOf(
  { length, missing, base }: SearchedState,
  { rho, norm }: QuantizedRow,
  mean: ArrayLike<number>,
): number {
  if (rho === Infinity) return Infinity;
  const d = mean.length;
  const exact = length * rho + missing * (norm + rho);
  const c = (Math.ceil(d / 8) + 16) / 2;
  const kernel = c * EPSILON * length * (norm + lengthOf(mean));
  const float = FLOAT_ERROR * (Math.abs(base) + (length + missing) * (norm + rho) + exact + kernel);
  return exact + kernel + float + 10 * d * SMALLEST_NORMAL * Math.max(1, length);
}

// ---- as it lies in memory ---------------------------------------------------------------------------------------------------

/** Bytes of a tile: a header, then factors and values of every two blocks; native/core/screen/layout.h. */
export function tileBytes(blocks: number): number {
  return HEADER_BYTES + Math.ceil(blocks / 2) * FACTOR_BYTES + blocks * BLOCK_BYTES;
}

const HEADER_BYTES = TILE_ROWS * 8;
const FACTOR_BYTES = 2 * TILE_ROWS;
const BLOCK_BYTES = (TILE_ROWS * BLOCK) / 2;
/** Elements of each row that lie together. */
const LINE = 8;

/** Reads a row of the copy. */
export function quantizedRowIn(bytes: Uint8Array, { padded }: Rotation, row: number): QuantizedRow {
  const blocks = padded / BLOCK;
  const size = tileBytes(blocks);
  const view = new DataView(bytes.buffer, bytes.byteOffset + Math.floor(row / TILE_ROWS) * size, size);
  const lane = row % TILE_ROWS;
  const bfloat = (at: number) => {
    const number = new DataView(new ArrayBuffer(4));
    number.setUint16(2, view.getUint16(at, true), true);
    return number.getFloat32(0, true);
  };
  const pairAt = (b: number) => HEADER_BYTES + Math.floor(b / 2) * (FACTOR_BYTES + 2 * BLOCK_BYTES);
  return {
    scale: view.getFloat32(4 * lane, true),
    rho: bfloat(4 * TILE_ROWS + 2 * lane),
    norm: bfloat(6 * TILE_ROWS + 2 * lane),
    factors: Uint8Array.from({ length: blocks }, (_, b) =>
      view.getUint8(pairAt(b) + (b % 2) * TILE_ROWS + lane),
    ),
    codes: Uint8Array.from({ length: padded }, (_, k) => {
      const b = Math.floor(k / BLOCK);
      const block = pairAt(b) + FACTOR_BYTES + (b % 2) * BLOCK_BYTES;
      const line = Math.floor((k % BLOCK) / LINE);
      const at = k % LINE;
      const byte = view.getUint8(block + line * TILE_ROWS * (LINE / 2) + lane * (LINE / 2) + (at % 4));
      return at < 4 ? byte & 15 : byte >> 4;
    }),
  };
}
