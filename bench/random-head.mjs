/** Weights and hidden states of a given size, with the spread that a trained model's have: logits around ±4. */

/** Fast, and good enough to time with: a linear congruential generator's upper bits, from [-1, 1). */
function fill(numbers, seed, scale) {
  let state = seed;
  for (let i = 0; i < numbers.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    numbers[i] = (state / 2 ** 31) * scale;
  }
  return numbers;
}

/** @returns {Float32Array} [vocabSize, d] */
export function randomWeights(vocabSize, d) {
  return fill(new Float32Array(vocabSize * d), 1, 0.1);
}

/** @returns {Float32Array} [n, d] */
export function randomHidden(n, d) {
  return fill(new Float32Array(n * d), 2, 40 / Math.sqrt(d));
}

/**
 * f32 numbers as f16, without rounding; those too small for a normal one become 0.
 * @param {Float32Array} numbers below 65,504
 */
function truncatedToF16(numbers) {
  const words = new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length);
  const halves = new Uint16Array(words.length); // not Uint16Array.from, which makes a list of all of them first
  for (let i = 0; i < words.length; i++) {
    const exponent = ((words[i] >>> 23) & 0xff) - 112;
    const magnitude = exponent > 0 ? (exponent << 10) | ((words[i] >>> 13) & 0x3ff) : 0;
    halves[i] = ((words[i] >>> 16) & 0x8000) | magnitude;
  }
  return halves;
}

/**
 * The upper halves of f32 numbers are bf16 numbers.
 * @param {Float32Array} numbers
 */
function truncatedToBf16(numbers) {
  const halves = new Uint16Array(numbers.buffer, numbers.byteOffset, 2 * numbers.length);
  const upper = new Uint16Array(numbers.length);
  for (let i = 0; i < upper.length; i++) upper[i] = halves[2 * i + 1];
  return upper;
}

/**
 * @param {Float32Array} numbers
 * @param {'f32' | 'f16' | 'bf16'} dtype
 */
export function truncated(numbers, dtype) {
  return { f32: () => numbers, f16: () => truncatedToF16(numbers), bf16: () => truncatedToBf16(numbers) }[
    dtype
  ]();
}
