/** What stands for a logit where a pass asks for a similarity. */
import type { Metric } from '../backend/backend';

/**
 * h·e, or h·e over the length of e (0 where that is 0), in float64.
 * @param h [d]
 * @param e [rows, d], of which row `row` is taken
 */
export function similarityOf(h: Float32Array, e: Float32Array, row: number, metric: Metric): number {
  const d = h.length;
  let dot = 0;
  let square = 0;
  for (let k = 0; k < d; k++) {
    const x = e[row * d + k];
    dot += h[k] * x;
    square += x * x;
  }
  if (metric === 'dot') return dot;
  return square === 0 ? dot * 0 : dot / Math.sqrt(square);
}
