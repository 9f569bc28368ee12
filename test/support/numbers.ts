/** n numbers from [-1, 1), the same for the same seed. */
export function someNumbers(n: number, seed = 1): Float32Array {
  const numbers = new Float32Array(n);
  let state = seed >>> 0;
  for (let i = 0; i < n; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    numbers[i] = state / 2 ** 31 - 1;
  }
  return numbers;
}
