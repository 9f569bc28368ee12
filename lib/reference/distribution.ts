/** Softmax and what belongs to it, of one row of logits at one temperature. */

export interface Distribution {
  /** The largest logit; NaN if there is a NaN. */
  max: number;
  /** The first id whose logit is NaN; -1 if there is none. */
  nanId: number;
  temperature: number;
  /** Σ e^((u − max)/T): between 1 and V, where e^(u/T) itself would overflow. */
  sum: number;
  /** log Σ; 0 where the maximum is +Infinity, so that `logProb` gives −Infinity for finite logits and NaN for it. */
  logSum: number;
}

/** @param u logits, of which those from `valid` on are padding */
export function distributionOf(u: Float32Array, valid: number, temperature: number): Distribution {
  let max = -Infinity;
  for (let id = 0; id < valid; id++) {
    if (Number.isNaN(u[id])) return { max: NaN, nanId: id, temperature, sum: NaN, logSum: NaN };
    if (u[id] > max) max = u[id];
  }
  if (max === Infinity) return { max, nanId: -1, temperature, sum: NaN, logSum: 0 };
  if (max === -Infinity) return { max, nanId: -1, temperature, sum: NaN, logSum: NaN };
  let sum = 0;
  for (let id = 0; id < valid; id++) sum += Math.exp((u[id] - max) / temperature);
  return { max, nanId: -1, temperature, sum, logSum: Math.log(sum) };
}

/** (u − max)/T − log Σ. Subtracting the log-sum-exp instead would lose the small difference of large numbers. */
export function logProb({ max, temperature, logSum }: Distribution, logit: number): number {
  return (logit - max) / temperature - logSum;
}

export function prob({ max, temperature, sum }: Distribution, logit: number): number {
  return Math.exp((logit - max) / temperature) / sum;
}

/** log Σ e^(u/T) */
export function logSumExp({ max, temperature, logSum }: Distribution): number {
  return Number.isFinite(max) ? max / temperature + logSum : max;
}

/** −Σ p·log p, in nats; an id of probability 0 adds nothing. */
export function entropyOf(u: Float32Array, valid: number, distribution: Distribution): number {
  if (!Number.isFinite(distribution.max)) return NaN;
  let entropy = 0;
  for (let id = 0; id < valid; id++) {
    const p = prob(distribution, u[id]);
    if (p > 0) entropy -= p * logProb(distribution, u[id]);
  }
  return entropy;
}
