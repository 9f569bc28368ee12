/** The final norm of a model, between its last block and the head. */
import type { NormOptions } from '../types';

/**
 * LayerNorm: (h − mean)/√(variance + eps)·(weight + offset) + bias.
 * RMSNorm: h/√(mean(h²) + eps)·(weight + offset) + bias.
 * In float64, rounded once.
 * @param hidden [n,d]
 * @returns [n,d]
 */
export function finalNorm(hidden: Float32Array, n: number, d: number, norm: NormOptions): Float32Array {
  const { type, weight, bias, eps, offset = 0 } = norm;
  const result = new Float32Array(n * d);
  for (let i = 0; i < n; i++) {
    const h = hidden.subarray(i * d, (i + 1) * d);
    let mean = 0;
    if (type === 'layernorm') {
      for (let k = 0; k < d; k++) mean += h[k];
      mean /= d;
    }
    let square = 0;
    for (let k = 0; k < d; k++) square += (h[k] - mean) ** 2;
    const scale = 1 / Math.sqrt(square / d + eps);
    for (let k = 0; k < d; k++) {
      const shift = bias ? bias[k] : 0;
      result[i * d + k] = (h[k] - mean) * scale * (weight[k] + offset) + shift;
    }
  }
  return result;
}
