/** Which tokens a row may draw from, and at what temperature: a chain of stages, each working on what those before have left. */
import { type Stage, unpackOrder } from '../pass/sampling-stages';
import { expNegative, logPositive } from './exact-math';
import { FixedPointSum, MASS_UNIT } from './fixed-point-sum';
import { bestFirst } from './order';
import { type Stream, xtcUniform } from './philox';

/** One row of `PassJob.rowParameters`; see RowParameter for what each means. */
export interface RowSampling {
  temperature: number;
  topK: number;
  topP: number;
  logMinP: number;
  typicalP: number;
  logEpsilon: number;
  logEta: number;
  topNSigma: number;
  pLess: boolean;
  xtcProbability: number;
  logXtcThreshold: number;
  temperatureRange: number;
  temperatureExponent: number;
  maxSurprisal: number;
  minKeep: number;
  /** Local indices that XTC does not drop. */
  xtcProtected?: ReadonlySet<number>;
  /** A packed order; 0: the default. */
  order: number;
  stream: Stream;
}

/** What keeps all, in the default order. */
export const KEEPS_ALL: RowSampling = {
  temperature: 1,
  topK: 0,
  topP: 1,
  logMinP: -Infinity,
  typicalP: 1,
  logEpsilon: -Infinity,
  logEta: -Infinity,
  topNSigma: 0,
  pLess: false,
  xtcProbability: 0,
  logXtcThreshold: -Infinity,
  temperatureRange: 0,
  temperatureExponent: 1,
  maxSurprisal: Infinity,
  minKeep: 1,
  order: 0,
  stream: { seedLow: 0, seedHigh: 0, step: 0, number: 0, firstId: 0 },
};

/** Whether a stage may change what is drawn from, apart from a constant temperature. */
const WORKS: Record<Stage, (sampling: RowSampling) => boolean> = {
  topNSigma: ({ topNSigma }) => topNSigma > 0,
  topK: ({ topK }) => topK > 0,
  typicalP: ({ typicalP }) => typicalP < 1,
  topP: ({ topP }) => topP < 1,
  minP: ({ logMinP }) => logMinP !== -Infinity,
  epsilonCutoff: ({ logEpsilon }) => logEpsilon !== -Infinity,
  etaCutoff: ({ logEta }) => logEta !== -Infinity,
  pLess: ({ pLess }) => pLess,
  xtc: ({ xtcProbability }) => xtcProbability > 0,
  temperature: ({ temperatureRange }) => temperatureRange !== 0,
  maxSurprisal: ({ maxSurprisal }) => maxSurprisal !== Infinity,
};

/** The first stage that may drop tokens. */
export function firstFilter(sampling: RowSampling): Stage | undefined {
  return unpackOrder(sampling.order).find(stage => WORKS[stage](sampling));
}

/** What a chain leaves of a row. */
export interface Left {
  /** Best first, at least one. */
  ids: number[];
  /** What logits are divided by. */
  temperature: number;
}

/**
 * Shares that are compared with others (top-p's sum, p of a token) are taken for reached a little early, by one part in 2^22:
 * so 0.3 of three equal tokens' mass, or 1/V of a uniform distribution's collision probability, come out as on paper.
 */
const EARLY = 2 ** -22;

/**
 * Runs the chain. Distributions are of logits over the temperature in force: 1 before the stage `temperature`, and then it.
 * Numbers that decide are computed by exact-math, and sums are of integers, so that they have the same bits in any order.
 * @param u a row whose largest logit is finite; tokens of logit −Infinity are never among the candidates
 */
export function candidatesOfRow(u: Float32Array, valid: number, sampling: RowSampling): Left {
  let left: Left = { ids: bestFirst(u, valid).filter(id => u[id] !== -Infinity), temperature: 1 };
  for (const stage of unpackOrder(sampling.order)) left = CHAIN[stage](u, left, sampling);
  return left;
}

const CHAIN: Record<Stage, (u: Float32Array, left: Left, sampling: RowSampling) => Left> = {
  topNSigma(u, left, { topNSigma, minKeep }) {
    if (topNSigma === 0) return left;
    const max = u[left.ids[0]];
    let sum = 0;
    let squares = 0;
    for (const id of [...left.ids].sort((a, b) => a - b)) {
      const x = u[id] - max;
      sum += x;
      squares += x * x;
    }
    const mean = sum / left.ids.length;
    const variance = squares / left.ids.length - mean * mean;
    return atLeast(u, left, max - topNSigma * Math.sqrt(Math.max(variance, 0)), minKeep);
  },

  topK: (_, left, { topK }) => (topK === 0 ? left : { ...left, ids: left.ids.slice(0, topK) }),

  typicalP(u, left, { typicalP, minKeep }) {
    if (typicalP === 1) return left;
    const { logSum, entropy } = moments(u, left);
    const max = u[left.ids[0]];
    const distance = (id: number) => Math.abs((u[id] - max) / left.temperature - logSum + entropy);
    // A stable sort: of equally typical tokens the better goes first.
    const typical = [...left.ids].sort((a, b) => distance(a) - distance(b));
    const kept = new Set(shareOf(u, { ...left, ids: typical }, typicalP, max, minKeep));
    return { ...left, ids: left.ids.filter(id => kept.has(id)) };
  },

  topP: (u, left, { topP, minKeep }) =>
    topP === 1 ? left : { ...left, ids: shareOf(u, left, topP, u[left.ids[0]], minKeep) },

  minP: (u, left, { logMinP, minKeep }) =>
    logMinP === -Infinity ? left : atLeast(u, left, u[left.ids[0]] + left.temperature * logMinP, minKeep),

  epsilonCutoff: (u, left, { logEpsilon, minKeep }) =>
    logEpsilon === -Infinity ? left : likelierThan(u, left, logEpsilon, moments(u, left).logSum, minKeep),

  etaCutoff(u, left, { logEta, minKeep }) {
    if (logEta === -Infinity) return left;
    const { logSum, entropy } = moments(u, left);
    const adaptive = 0.5 * logEta - entropy;
    return likelierThan(u, left, Math.min(adaptive, logEta), logSum, minKeep);
  },

  pLess(u, left, { pLess, minKeep }) {
    if (!pLess) return left;
    const { logSum, logSquares } = moments(u, left);
    return likelierThan(u, left, logSquares - 2 * logSum, logSum, minKeep);
  },

  xtc(u, left, { xtcProbability, logXtcThreshold, xtcProtected, minKeep, stream }) {
    if (!(xtcUniform(stream) < xtcProbability)) return left;
    const { logSum } = moments(u, left);
    // Where the best falls short, no other reaches it: beside large logits the difference would be lost in a floor.
    if (logXtcThreshold - EARLY + logSum > 0) return left;
    const top = likelierThan(u, left, logXtcThreshold, logSum, 1).ids.length;
    const ids = left.ids.filter((id, i) => i >= top - 1 || xtcProtected?.has(id));
    return ids.length < minKeep ? left : { ...left, ids };
  },

  temperature(u, left, { temperature, temperatureRange, temperatureExponent }) {
    if (temperatureRange === 0) return { ...left, temperature };
    const low = temperature > temperatureRange ? temperature - temperatureRange : 0;
    const high = temperature + temperatureRange;
    if (left.ids.length === 1) return { ...left, temperature };
    const share = moments(u, left).entropy / logPositive(left.ids.length);
    const power = share < 1 ? (share > 0 ? expNegative(temperatureExponent * logPositive(share)) : 0) : 1;
    const dynamic = low + (high - low) * (temperatureExponent === 0 ? 1 : power);
    // So low a temperature is greedy.
    return dynamic > 0 ? { ...left, temperature: dynamic } : { ids: left.ids.slice(0, 1), temperature };
  },

  maxSurprisal: (u, left, { maxSurprisal, minKeep }) =>
    maxSurprisal === Infinity ? left : likelierThan(u, left, -maxSurprisal, moments(u, left).logSum, minKeep),
};

/** Those of a logit of at least `floor`, and the `minKeep` best; the best and its equals always. */
function atLeast(u: Float32Array, left: Left, floor: number, minKeep: number): Left {
  const max = u[left.ids[0]];
  return { ...left, ids: left.ids.filter((id, i) => i < minKeep || u[id] >= floor || u[id] === max) };
}

/** Those with log p ≥ logP, where log p = (u − max)/T − logSum, and the `minKeep` best; the best and its equals always. */
function likelierThan(u: Float32Array, left: Left, logP: number, logSum: number, minKeep: number): Left {
  return atLeast(u, left, u[left.ids[0]] + left.temperature * (logP - EARLY + logSum), minKeep);
}

/** The first of `ids` up to and including the one at which their mass reaches the share `p` of it all, `minKeep` at least. */
function shareOf(
  u: Float32Array,
  { ids, temperature }: Left,
  p: number,
  max: number,
  minKeep: number,
): number[] {
  const total = new FixedPointSum();
  for (const id of ids) total.add(expNegative((u[id] - max) / temperature));
  const wanted = p * total.value * (1 - EARLY);
  const kept = new FixedPointSum();
  for (let i = 0; i < ids.length; i++) {
    kept.add(expNegative((u[ids[i]] - max) / temperature));
    if (kept.value >= wanted) return ids.slice(0, Math.max(i + 1, minKeep));
  }
  return ids;
}

/** Of the distribution over what is left: Σ e^x and Σ e^2x, x = (u − max)/T, as logarithms; and the entropy in nats. */
function moments(u: Float32Array, { ids, temperature }: Left) {
  const [sum, weighted, squares] = [new FixedPointSum(), new FixedPointSum(), new FixedPointSum()];
  for (const id of ids) {
    const x = (u[id] - u[ids[0]]) / temperature;
    const e = expNegative(x);
    if (e === 0) continue;
    sum.add(e);
    weighted.add(e * -x);
    squares.add(e * e);
  }
  const logSum = logPositive(sum.value * MASS_UNIT);
  const entropy = logSum + weighted.value / sum.value;
  return { logSum, entropy, logSquares: logPositive(squares.value * MASS_UNIT) };
}
