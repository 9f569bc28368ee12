/** From a hidden state to logits, in float64; and how far a float32 kernel may be from that. */
import type { Epilogue } from '../backend';

/** 2^-23, the spacing of float32 numbers at 1. */
const EPSILON = 2 ** -23;
/** Smallest normal float32: what a kernel that flushes subnormals may lose with each term. */
const SMALLEST_NORMAL = 2 ** -126;

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
  h: Float32Array,
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
 * As `logitOf`, with the bound |u − u*| ≤ c·ε·Σ|h_k·E_ik| + d·2^-126 and what the epilogue adds to it.
 *
 * c = (⌈d/8⌉ + 8)/2: a kernel keeps at least eight partial sums, so a term passes through at most ⌈d/8⌉ additions and then
 * through the few that join the sums, and each rounds by at most ε/2 of a partial sum, which Σ|h_k·E_ik| bounds. (The common
 * first-order bound of summation: Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, §4.2.)
 */
export function boundedLogitOf(
  h: Float32Array,
  e: Float32Array,
  row: number,
  id: number,
  epilogue: Epilogue,
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
  const c = (Math.ceil(d / 8) + 8) / 2;
  return finish(dot, c * EPSILON * magnitude + d * SMALLEST_NORMAL, id, epilogue);
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
