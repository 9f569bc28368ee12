/** Floats of one byte and less, by their bits: tables of their values. */

/** With `exponentBits` and `fractionBits` and a bias; `top` gives numbers whose exponent is all ones. */
function table(
  exponentBits: number,
  fractionBits: number,
  bias: number,
  top: (sign: number, fraction: number, plain: number) => number,
): Float32Array {
  const bits = 1 + exponentBits + fractionBits;
  const most = 2 ** exponentBits - 1;
  return Float32Array.from({ length: 2 ** bits }, (_, code) => {
    const sign = code >> (bits - 1) ? -1 : 1;
    const exponent = (code >> fractionBits) & most;
    const fraction = (code & (2 ** fractionBits - 1)) / 2 ** fractionBits;
    const plain = exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias);
    return exponent === most ? top(sign, fraction, sign * plain) : sign * plain;
  });
}

/** Of an OCP E4M3 number all is finite but the largest code, which is NaN. */
const E4M3 = table(4, 3, 7, (_, fraction, plain) => (fraction === 7 / 8 ? NaN : plain));
const E5M2 = table(5, 2, 15, (sign, fraction) => (fraction === 0 ? sign * Infinity : NaN));
/** A power of two; the last code is NaN. */
const E8M0 = Float32Array.from({ length: 256 }, (_, code) => (code === 255 ? NaN : 2 ** (code - 127)));
/** Four bits, all finite: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives. */
export const E2M1 = table(2, 1, 1, (_sign, _fraction, plain) => plain);

/** By the names that safetensors gives them. */
export const SMALL_FLOATS = new Map([
  ['F8_E4M3', E4M3],
  ['F8_E5M2', E5M2],
  ['F8_E8M0', E8M0],
]);
