/**
 * exp and log out of +, −, ×, ÷ alone.
 *
 * IEEE 754 fixes every bit of those four, and nothing of `Math.exp` or `std::log`. Sampling compares numbers that come out
 * of exp and log; so that the native core and this twin draw the same token from the same logits, always, both compute them
 * by the operations below, in this order. `native/core/numerics/exact_math.h` is the same text in C++ (compiled without contraction).
 * Both are within 2 ULP of the true value.
 */

/** 1/13!, 1/12!, … 1/1!: the Taylor series of e^r − 1; |r| ≤ ln2/2 leaves less than 2^-57. */
const EXP_TERMS = [
  1 / 6227020800,
  1 / 479001600,
  1 / 39916800,
  1 / 3628800,
  1 / 362880,
  1 / 40320,
  1 / 5040,
  1 / 720,
  1 / 120,
  1 / 24,
  1 / 6,
  1 / 2,
  1,
];
/** 1/21, 1/19, … 1/3: the series of atanh beyond its first term; |s| ≤ 0.1716 leaves less than 2^-58. */
const ATANH_TERMS = [1 / 21, 1 / 19, 1 / 17, 1 / 15, 1 / 13, 1 / 11, 1 / 9, 1 / 7, 1 / 5, 1 / 3];
/** ln 2 in two parts; the first ends in 21 zero bits, so that its product with a small integer is exact. */
const LN2_HIGH = 6.931471803691238e-1;
const LN2_LOW = 1.9082149292705877e-10;
const LOG2_E = Math.LOG2E;
const SQRT_2 = Math.SQRT2;

const float = new Float64Array(1);
const words = new Uint32Array(float.buffer); // little-endian: words[1] holds sign, exponent and the top of the fraction

/** 2^k for −1022 ≤ k ≤ 1023. */
function powerOfTwo(k: number): number {
  words[0] = 0;
  words[1] = (k + 1023) << 20;
  return float[0];
}

/** e^x for x ≤ 0; 0 below −708; NaN for NaN. */
export function expNegative(x: number): number {
  if (!(x >= -708)) return x < -708 ? 0 : Number.NaN;
  const k = Math.floor(x * LOG2_E + 0.5);
  const r = x - k * LN2_HIGH - k * LN2_LOW;
  let p = EXP_TERMS[0];
  for (let i = 1; i < EXP_TERMS.length; i++) p = p * r + EXP_TERMS[i];
  return (p * r + 1) * powerOfTwo(k);
}

/** 2·atanh(s) = log((1+s)/(1−s)) for |s| ≤ 0.1716. */
function twiceAtanh(s: number): number {
  const z = s * s;
  let p = ATANH_TERMS[0];
  for (let i = 1; i < ATANH_TERMS.length; i++) p = p * z + ATANH_TERMS[i];
  const t = 2 * s;
  return t + t * z * p;
}

/** log x for a positive, normal x. */
export function logPositive(x: number): number {
  float[0] = x;
  let e = (words[1] >>> 20) - 1023;
  words[1] = (words[1] & 0xfffff) | (1023 << 20);
  let m = float[0]; // x = m·2^e, 1 ≤ m < 2
  if (m > SQRT_2) {
    m = m * 0.5;
    e = e + 1;
  }
  return e * LN2_HIGH + (twiceAtanh((m - 1) / (m + 1)) + e * LN2_LOW);
}

/**
 * An Exp(1) variate, −log(1 − U), from 64 random bits: U = (bits + ½)/2^64.
 * It keeps its relative precision down to 2^-65, at the small end, where Gumbel-max sampling is decided.
 */
export function exponential(high: number, low: number): number {
  if (high < 0x40000000) {
    const u = (high * 4294967296 + (low + 0.5)) * 2 ** -64;
    return twiceAtanh(u / (2 - u));
  }
  const complement = (~high >>> 0) * 4294967296 + ((~low >>> 0) + 0.5); // 1 − U without cancellation
  return -logPositive(complement * 2 ** -64);
}

/** The key of one id in Gumbel-max sampling: the largest wins. `scaledLogit` is u/T; equals a logit plus Gumbel noise, −log E. */
export function gumbelKey(scaledLogit: number, high: number, low: number): number {
  return scaledLogit - logPositive(exponential(high, low));
}
