/** From a hidden state to logits, in float64; and how far a float32 kernel may be from that. */
import type { Epilogue } from '../backend/backend';

/** 2^-23, the spacing of float32 numbers at 1. */
const EPSILON = 2 ** -23;
/** Smallest normal float32: what a kernel that flushes subnormals may lose with each term. */
const SMALLEST_NORMAL = 2 ** -126;

const NO_MINIMA = new Float32Array(0);

/** One logit, and the most that a float32 kernel's may differ from it. */
export interface BoundedLogit {
  logit: number;
  bound: number;
}

/**
 * u = h·e, and what the epilogue makes of it.
 * @param h [d]
 * @param e [rows, d], of which row `row` is taken
 */
export function logitOf(
  h: Float32Array | Float64Array,
  e: Float32Array,
  row: number,
  id: number,
  epilogue: Epilogue,
): number {
  const d = h.length;
  const start = row * d;
  let dot = 0;
  for (let k = 0; k < d; k++) dot += h[k] * e[start + k];
  return finish(dot, 0, id, epilogue).logit;
}

/**
 * As `logitOf`, with the bound |u − u*| ≤ c·ε·Σ|h_k·E_ik| + 5·d·2^-126 and what the epilogue adds to it.
 *
 * c = (⌈d/8⌉ + 16)/2: a term passes through at most ⌈d/8⌉ + 16 additions, and each rounds by at most ε/2 of a partial sum, which
 * Σ|h_k·E_ik| bounds. (The common first-order bound of summation: Higham, "Accuracy and Stability of Numerical Algorithms", 2nd
 * edition, §4.2.) Kernels of vectors keep at least eight partial sums, ⌈d/8⌉ additions each, and join them by a few more. A
 * matrix unit adds the products of 16 terms one by one, then two of those sums, and then those of every 32 terms, three times
 * where h has three parts: 15 + 1 + 3·⌈d/32⌉ − 1.
 *
 * It flushes a result below 2^-126 to 0: at most once for each product of a part and for each addition of sums, together fewer
 * than 5·d.
 *
 * Where hidden states are integers, weights s·q + m with a minimum are not put together: s·Σh·q and m·Σh are summed apart, and
 * may cancel. What the partial sums are made of is then Σ|h_k|·(|s·q| + |m|), at most Σ|h_k|·(|E_ik| + 2·|m|), in the place of
 * Σ|h_k·E_ik|.
 * @param minima [rows, d], or empty: m of each weight, where products are made of integers
 */
export function boundedLogitOf(
  h: Float32Array | Float64Array,
  e: Float32Array,
  row: number,
  id: number,
  epilogue: Epilogue,
  minima: Float32Array = NO_MINIMA,
): BoundedLogit {
  const d = h.length;
  const start = row * d;
  let dot = 0;
  let magnitude = 0;
  for (let k = 0; k < d; k++) {
    const term = h[k] * e[start + k];
    dot += term;
    magnitude += Math.abs(term);
  }
  if (minima.length > 0) for (let k = 0; k < d; k++) magnitude += 2 * Math.abs(h[k] * minima[start + k]);
  const c = (Math.ceil(d / 8) + 16) / 2;
  return finish(dot, c * EPSILON * magnitude + 5 * d * SMALLEST_NORMAL, id, epilogue);
}

/** Bias, scale and soft-cap; each float32 operation adds its rounding to the bound. */
function finish(dot: number, dotBound: number, id: number, epilogue: Epilogue): BoundedLogit {
  const { bias, logitScale, softCap, capOrder } = epilogue;
  let logit = dot;
  let bound = dotBound;
  if (bias) {
    logit += bias[id];
    bound += EPSILON * Math.abs(logit);
  }
  const scale = () => {
    if (logitScale === 1) return;
    const factor = Math.fround(logitScale);
    logit *= factor;
    bound = bound * Math.abs(factor) + EPSILON * Math.abs(logit);
  };
  const cap = () => {
    if (softCap === 0) return;
    const most = Math.fround(softCap);
    logit = most * Math.tanh(logit / most);
    bound += 4 * EPSILON * Math.abs(logit); // tanh contracts, so what came in does not grow
  };
  if (capOrder === 'cap-then-scale') {
    cap();
    scale();
  } else {
    scale();
    cap();
  }
  return { logit, bound };
}
