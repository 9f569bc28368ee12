/**
 * Softmax and what belongs to it, of one row of logits at one temperature. Sums go by chunks of a constant number of ids, which are
 * combined in their order: so they have the same bits wherever the chunks were made.
 */
import { CHUNK_ROWS, ChunkSum } from '../backend/backend';
import { expNegative, logPositive } from './exact-math';

export interface Distribution {
  /** The largest logit; NaN if there is a NaN. */
  max: number;
  /** 1/T, and no infinity. */
  inverseTemperature: number;
  /** Σ e^((u − max)/T): between 1 and V, where e^(u/T) itself would overflow. */
  sum: number;
  /** log Σ; 0 where the maximum is +Infinity, so that `logProb` gives −Infinity for finite logits and NaN for it. */
  logSum: number;
  /** −Σ p·log p, in nats; an id of probability 0 adds nothing. */
  entropy: number;
}

/** Of so low a temperature that this overflows, the largest number will do: unequal logits are as far apart as numbers get. */
export function inverseOf(temperature: number): number {
  return Math.min(1 / temperature, Number.MAX_VALUE);
}

/**
 * Sums of each chunk, [chunks, ChunkSum.count].
 * @param u logits, of which those from `valid` on are padding
 */
export function chunkSums(u: Float32Array, valid: number, inverseTemperature: number): Float64Array {
  const sums = new Float64Array(Math.ceil(valid / CHUNK_ROWS) * ChunkSum.count);
  for (let first = 0, at = 0; first < valid; first += CHUNK_ROWS, at += ChunkSum.count) {
    const chunk = u.subarray(first, Math.min(first + CHUNK_ROWS, valid));
    const max = largest(chunk);
    let sum = 0;
    let weighted = 0;
    for (let i = 0; Number.isFinite(max) && i < chunk.length; i++) {
      const x = (chunk[i] - max) * inverseTemperature;
      const e = Math.exp(x);
      sum += e;
      if (e > 0) weighted += x * e;
    }
    sums.set([max, sum, weighted], at);
  }
  return sums;
}

function largest(u: Float32Array): number {
  let max = -Infinity;
  for (const each of u) {
    if (Number.isNaN(each)) return each;
    if (each > max) max = each;
  }
  return max;
}

/** Chunks combined, by the steps of `Distributions::finish` in native/core/sinks/distributions.cc. */
export function combined(sums: Float64Array, inverseTemperature: number): Distribution {
  let max = -Infinity;
  for (let at = 0; at < sums.length && !Number.isNaN(max); at += ChunkSum.count) {
    const its = sums[at + ChunkSum.max];
    if (!(its <= max)) max = its;
  }
  const none = { max, inverseTemperature, sum: NaN, entropy: NaN };
  if (!Number.isFinite(max)) return { ...none, logSum: max > 0 ? 0 : NaN };
  let sum = 0;
  let weighted = 0;
  for (let at = 0; at < sums.length; at += ChunkSum.count) {
    const its = sums[at + ChunkSum.sum];
    if (its === 0) continue;
    const shift = (sums[at + ChunkSum.max] - max) * inverseTemperature;
    const weight = expNegative(shift);
    if (weight === 0) continue; // and never 0 · −Infinity
    sum += weight * its;
    weighted += weight * (sums[at + ChunkSum.weighted] + shift * its);
  }
  const logSum = logPositive(sum);
  return { max, inverseTemperature, sum, logSum, entropy: logSum - weighted / sum };
}

/** @param u logits, of which those from `valid` on are padding */
export function distributionOf(u: Float32Array, valid: number, temperature: number): Distribution {
  const inverse = inverseOf(temperature);
  return combined(chunkSums(u, valid, inverse), inverse);
}

/** The largest logit, and the first index with NaN: −1 where there is none. */
export function extremes(u: Float32Array, valid: number): { max: number; nanAt: number } {
  const max = largest(u.subarray(0, valid));
  return { max, nanAt: Number.isNaN(max) ? u.findIndex(Number.isNaN) : -1 };
}

/** (u − max)/T − log Σ. Subtracting the log-sum-exp instead would lose the small difference of large numbers. */
export function logProb({ max, inverseTemperature, logSum }: Distribution, logit: number): number {
  return (logit - max) * inverseTemperature - logSum;
}

export function prob({ max, inverseTemperature, sum }: Distribution, logit: number): number {
  return Math.exp((logit - max) * inverseTemperature) / sum;
}

/** log Σ e^(u/T) */
export function logSumExp({ max, inverseTemperature, logSum }: Distribution): number {
  return Number.isFinite(max) ? max * inverseTemperature + logSum : max;
}
