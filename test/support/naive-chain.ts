/**
 * How a token is chosen, once more: in float64, one step after another, as docs/sampling.md and the options' descriptions say it
 * in words. It knows nothing of how the library does it, and where a decision was close it says so.
 */
import type { Stage } from '../../lib';

/** What one row is chosen by: single values, in the words of SampleOptions. */
export interface ChainOptions {
  logitBias?: ReadonlyMap<number, number>;
  bannedIds?: readonly number[];
  /** The only ids that may be drawn. */
  allowed?: ReadonlySet<number>;
  eosIds?: readonly number[];
  beginSuppressIds?: readonly number[];
  bannedSequences?: readonly (readonly number[])[];
  biasedSequences?: readonly { ids: readonly number[]; bias: number }[];
  minLength?: number;
  length?: number;
  history?: readonly number[];
  promptLength?: number;
  penaltyWindow?: number;
  repetitionPenalty?: number;
  frequencyPenalty?: number;
  presencePenalty?: number;
  dryMultiplier?: number;
  dryBase?: number;
  dryAllowedLength?: number;
  dryWindow?: number;
  dryBreakers?: readonly (number | readonly number[])[];
  noRepeatNgramSize?: number;
  topNSigma?: number;
  topK?: number;
  typicalP?: number;
  topP?: number;
  minP?: number;
  epsilonCutoff?: number;
  etaCutoff?: number;
  pLess?: boolean;
  xtcProbability?: number;
  xtcThreshold?: number;
  xtcProtectedIds?: readonly number[];
  temperature?: number;
  temperatureRange?: number;
  temperatureExponent?: number;
  maxSurprisal?: number;
  minKeep?: number;
  stageOrder?: readonly Stage[];
  seed?: number | bigint;
  step?: number;
  stream?: number;
}

export interface Chosen {
  /** The logits that the stages see; −∞ where an id may not be drawn. */
  adjusted: Float32Array;
  /** What is left, best first. */
  ids: number[];
  /** Of these, under the distribution that is sampled. */
  logProbs: number[];
  id: number;
  /** A decision was within 3 parts in 10^6 of its boundary, so that rounding may have made it otherwise. */
  close: boolean;
  /** Another token was as near to winning the draw as rounding reaches. */
  closeDraw: boolean;
}

/** Why no token can be chosen. */
export type NoToken = 'NaN' | '+Infinity' | 'nothing finite' | 'nothing allowed';

const DEFAULT_ORDER: readonly Stage[] = [
  'topNSigma',
  'topK',
  'typicalP',
  'topP',
  'minP',
  'epsilonCutoff',
  'etaCutoff',
  'pLess',
  'xtc',
  'temperature',
  'maxSurprisal',
];

/** Sums and shares are taken for reached so much early, as a part of them. */
const EARLY = 2 ** -22;
/** What rounding may decide. */
const CLOSE = 3e-6;
/** What float64 itself leaves of two numbers that are equal on paper. */
const EQUAL = 1e-11;

/**
 * The token that is drawn, and what from.
 * @param given the row's logits
 * @param valid ids from here on are none
 */
export function choose(
  given: ArrayLike<number>,
  options: ChainOptions,
  valid = given.length,
): Chosen | NoToken {
  const adjusted = adjust(given, options, valid);
  if (typeof adjusted === 'string') return adjusted;
  return chooseAmong(adjusted, options);
}

/** Biases, bans and penalties, rounded once. */
function adjust(given: ArrayLike<number>, options: ChainOptions, valid: number): Float32Array | NoToken {
  const { logitBias, bannedIds = [], allowed, eosIds = [], minLength = 0, history = [] } = options;
  const { promptLength = 0, length = history.length - promptLength } = options;
  const u = Float64Array.from(given).subarray(0, valid);
  logitBias?.forEach((bias, id) => {
    u[id] += bias;
  });
  const barred = new Set([...bannedIds, ...(length < minLength ? eosIds : [])]);
  if (length === 0) for (const id of options.beginSuppressIds ?? []) barred.add(id);
  const wouldEnd = (sequence: readonly number[]) =>
    sequence.slice(0, -1).every((id, i) => history[history.length - sequence.length + 1 + i] === id);
  for (const sequence of options.bannedSequences ?? []) if (wouldEnd(sequence)) barred.add(sequence.at(-1)!);
  for (const { ids, bias } of options.biasedSequences ?? []) {
    if (!wouldEnd(ids)) continue;
    if (bias === -Infinity) barred.add(ids.at(-1)!);
    else u[ids.at(-1)!] += bias;
  }
  penalize(u, history, options);
  logitBias?.forEach((bias, id) => {
    if (bias === -Infinity) barred.add(id);
  });
  for (const id of ngramEnds(history, options.noRepeatNgramSize ?? 0)) barred.add(id);
  for (let id = 0; id < valid; id++) if (allowed && !allowed.has(id)) barred.add(id);
  for (const id of barred) u[id] = -Infinity;
  const rounded = Float32Array.from(u);
  if (rounded.some(Number.isNaN)) return 'NaN';
  if (rounded.includes(Infinity)) return '+Infinity';
  if (rounded.some(x => x > -Infinity)) return rounded;
  // Where there was nothing before, it is not the options that leave nothing.
  return Array.from(given).every((x, id) => id >= valid || x === -Infinity)
    ? 'nothing finite'
    : 'nothing allowed';
}

function penalize(u: Float64Array, history: readonly number[], options: ChainOptions): void {
  const { repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0, dryMultiplier = 0 } = options;
  const { dryBase = 1.75, dryAllowedLength = 2 } = options;
  const window = latest(history, options.penaltyWindow);
  const output = window.slice(Math.max(0, (options.promptLength ?? 0) - (history.length - window.length)));
  const counts = new Map<number, number>();
  for (const id of output) counts.set(id, (counts.get(id) ?? 0) + 1);
  const taken = new Map<number, number>();
  for (const [id, count] of counts) taken.set(id, count * frequencyPenalty + presencePenalty);
  if (dryMultiplier > 0) {
    for (const [id, repeated] of repeats(history, options)) {
      const exponent = Math.min(repeated - dryAllowedLength, largestExponent(dryBase));
      const penalty = Math.min(dryMultiplier * dryBase ** exponent, 3.4028234663852886e38);
      taken.set(id, (taken.get(id) ?? 0) + penalty);
    }
  }
  for (const id of new Set(window)) u[id] = u[id] > 0 ? u[id] / repetitionPenalty : u[id] * repetitionPenalty;
  for (const [id, penalty] of taken) u[id] -= penalty;
}

/** As float32 has it. */
function largestExponent(base: number): number {
  const b = Math.fround(base);
  if (b <= Math.fround(1.000001) || b === Infinity) return Infinity;
  return Math.floor(Math.fround(Math.fround(88.7228391) / Math.fround(Math.log(b))));
}

function latest(history: readonly number[], count = Infinity): readonly number[] {
  return history.slice(Math.max(0, history.length - count));
}

/** For each token that would extend a sequence which was there before: how long the sequence is. */
function repeats(history: readonly number[], options: ChainOptions): Map<number, number> {
  const { dryAllowedLength = 2, dryBreakers = [] } = options;
  const tokens = latest(history, options.dryWindow);
  const breakers = dryBreakers.map(each => (typeof each === 'number' ? [each] : each));
  const endsHere = (breaker: readonly number[], end: number) =>
    breaker.length <= end && breaker.every((id, i) => tokens[end - breaker.length + i] === id);
  let reach = tokens.length;
  for (let end = tokens.length; end > 0; end--) {
    if (breakers.some(breaker => endsHere(breaker, end))) {
      reach = tokens.length - end;
      break;
    }
  }
  const longest = new Map<number, number>();
  for (let at = 0; at < tokens.length; at++) {
    if (breakers.some(breaker => breaker.length === 1 && breaker[0] === tokens[at])) continue;
    let length = 0;
    while (length < reach && length < at && tokens[at - 1 - length] === tokens[tokens.length - 1 - length])
      length++;
    if (length >= dryAllowedLength) longest.set(tokens[at], Math.max(length, longest.get(tokens[at]) ?? 0));
  }
  return longest;
}

/** The tokens that would make the last n tokens a sequence that was there before. */
function ngramEnds(history: readonly number[], n: number): number[] {
  const ends: number[] = [];
  if (n === 0 || history.length < n) return ends;
  const start = history.slice(history.length - (n - 1));
  for (let at = n - 1; at < history.length; at++) {
    if (n === 1 || start.every((id, i) => history[at - (n - 1) + i] === id)) ends.push(history[at]);
  }
  return ends;
}

/** What the stages have left, and whether a decision was close. */
class Left {
  close = false;
  temperature = 1;
  /** So many stay at least. */
  least = 1;
  /** Best first, equals by lower id. */
  ids: number[];

  constructor(readonly u: Float32Array) {
    this.ids = [...u.keys()].filter(id => u[id] > -Infinity).sort((a, b) => u[b] - u[a] || a - b);
  }

  logProbs(): number[] {
    const { u, ids, temperature } = this;
    const scaled = ids.map(id => (u[id] === u[ids[0]] ? 0 : (u[id] - u[ids[0]]) / temperature));
    const logSum = Math.log(scaled.reduce((sum, x) => sum + Math.exp(x), 0));
    return scaled.map(x => x - logSum);
  }

  entropy(logs = this.logProbs()): number {
    return -logs.reduce((sum, log) => sum + (log === -Infinity ? 0 : Math.exp(log) * log), 0);
  }

  /** Whether a sum or a share reaches a bound; both as logarithms. */
  reaches(log: number, bound: number): boolean {
    const apart = Math.abs(log - bound);
    if (apart > EQUAL && apart < CLOSE) this.close = true;
    return log >= bound - EARLY;
  }

  /** The ids whose probability reaches e^bound; the best, and its equals, in any case. */
  keepFrom(bound: number): void {
    if (bound === -Infinity) return;
    const logs = this.logProbs();
    const [best] = this.ids;
    this.ids = this.ids.filter(
      (id, i) => i < this.least || this.reaches(logs[i], bound) || this.u[id] === this.u[best],
    );
  }

  /** In the given order of places, up to the first at which the mass reaches the share. */
  keepMass(places: readonly number[], share: number): number {
    const logs = this.logProbs();
    let mass = 0;
    let count = 0;
    for (const place of places) {
      mass += Math.exp(logs[place]);
      count++;
      if (count >= this.least && this.reaches(Math.log(mass), Math.log(share))) break;
    }
    const kept = new Set(places.slice(0, count));
    this.ids = this.ids.filter((_, place) => kept.has(place));
    return count;
  }
}

function chooseAmong(u: Float32Array, options: ChainOptions): Chosen {
  const { temperature = 1, seed = 0, step = 0, stream = 0 } = options;
  const left = new Left(u);
  left.least = options.minKeep ?? 1;
  if (temperature === 0) {
    const [id] = left.ids;
    return { adjusted: u, ids: [id], logProbs: [0], id, close: false, closeDraw: false };
  }
  for (const stage of options.stageOrder ?? DEFAULT_ORDER) STAGE[stage](left, options);
  const logProbs = left.logProbs();
  const keyed = left.ids
    .map(id => {
      const waiting = exponential(seed, step, stream, id);
      return { id, waiting, key: u[id] / left.temperature - Math.log(waiting) };
    })
    // Keys are equal where nothing is left of what the random number adds to so large a quotient.
    .sort((a, b) =>
      a.key === b.key ? u[b.id] - u[a.id] || a.waiting - b.waiting || a.id - b.id : b.key - a.key,
    );
  const [first, second] = keyed;
  const closeDraw = second !== undefined && first.key - second.key <= CLOSE + 1e-9 * Math.abs(first.key);
  return { adjusted: u, ids: left.ids, logProbs, id: first.id, close: left.close, closeDraw };
}

const STAGE: Record<Stage, (left: Left, options: ChainOptions) => void> = {
  topNSigma(left, { topNSigma: n = 0 }) {
    if (n === 0) return;
    const u = left.ids.map(id => left.u[id]);
    const mean = u.reduce((sum, x) => sum + x, 0) / u.length;
    const sigma = Math.sqrt(u.reduce((sum, x) => sum + (x - mean) ** 2, 0) / u.length);
    const bound = u[0] - n * sigma;
    left.ids = left.ids.filter((_, i) => {
      if (i < left.least) return true;
      if (u[i] !== u[0] && Math.abs(u[i] - bound) <= CLOSE * (Math.abs(u[0]) + n * sigma)) left.close = true;
      return u[i] >= bound;
    });
  },
  topK(left, { topK = 0 }) {
    if (topK > 0) left.ids = left.ids.slice(0, topK);
  },
  typicalP(left, { typicalP = 1 }) {
    if (typicalP === 1) return;
    const logs = left.logProbs();
    const entropy = left.entropy(logs);
    const distances = logs.map(log => Math.abs(-log - entropy));
    const places = [...logs.keys()].sort((a, b) => distances[a] - distances[b] || a - b);
    const last = left.keepMass(places, typicalP) - 1;
    if (last + 1 === places.length) return;
    // Of two that are as typical on paper, rounding decides which goes first.
    const [inside, outside] = [places[last], places[last + 1]];
    const apart = Math.abs(distances[inside] - distances[outside]);
    if (logs[inside] !== logs[outside] && apart <= CLOSE * Math.max(1, entropy, distances[outside]))
      left.close = true;
  },
  topP(left, { topP = 1 }) {
    if (topP < 1) left.keepMass([...left.ids.keys()], topP);
  },
  minP(left, { minP = 0 }) {
    if (minP === 0) return;
    // Of two logits alone: the probabilities have the same divisor.
    const { u, ids, temperature } = left;
    left.ids = ids.filter((id, i) => {
      if (i < left.least || u[id] === u[ids[0]]) return true;
      const beyond = (u[id] - u[ids[0]]) / temperature - Math.log(minP);
      if (Math.abs(beyond) < CLOSE) left.close = true;
      return beyond >= 0;
    });
  },
  epsilonCutoff(left, { epsilonCutoff = 0 }) {
    left.keepFrom(Math.log(epsilonCutoff));
  },
  etaCutoff(left, { etaCutoff = 0 }) {
    if (etaCutoff > 0) left.keepFrom(Math.min(Math.log(etaCutoff), Math.log(etaCutoff) / 2 - left.entropy()));
  },
  pLess(left, { pLess = false }) {
    if (pLess) left.keepFrom(Math.log(left.logProbs().reduce((sum, log) => sum + Math.exp(2 * log), 0)));
  },
  xtc(
    left,
    { xtcProbability = 0, xtcThreshold = 0.1, xtcProtectedIds = [], seed = 0, step = 0, stream = 0 },
  ) {
    if (xtcUniform(seed, step, stream) >= xtcProbability) return;
    const logs = left.logProbs();
    const above = left.ids.filter((_, i) => left.reaches(logs[i], Math.log(xtcThreshold)));
    const kept = left.ids.filter((id, i) => i >= above.length - 1 || xtcProtectedIds.includes(id));
    if (kept.length >= left.least) left.ids = kept;
  },
  temperature(left, { temperature = 1, temperatureRange = 0, temperatureExponent = 1 }) {
    if (temperatureRange === 0) {
      left.temperature = temperature;
      return;
    }
    const low = Math.max(0, temperature - temperatureRange);
    const high = temperature + temperatureRange;
    const count = left.ids.length;
    const share = count > 1 ? left.entropy() / Math.log(count) : 0;
    // So small an entropy is mostly rounding.
    if (share > 0 && share < 1e-9) left.close = true;
    left.temperature = low + (high - low) * share ** temperatureExponent;
    // So low a temperature is greedy.
    if (1 / left.temperature === Infinity) {
      left.ids = left.ids.slice(0, 1);
      left.temperature = 1;
    }
  },
  maxSurprisal(left, { maxSurprisal = Infinity }) {
    left.keepFrom(-maxSurprisal * Math.LN2);
  },
};

const MASK = 0xffffffffn;

/** Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. */
function philox(counter: readonly number[], key: bigint): number[] {
  let [c0, c1, c2, c3] = counter.map(BigInt);
  let [k0, k1] = [key & MASK, key >> 32n];
  for (let round = 0; round < 10; round++) {
    const a = 0xd2511f53n * c0;
    const b = 0xcd9e8d57n * c2;
    [c0, c1, c2, c3] = [(b >> 32n) ^ c1 ^ k0, b & MASK, (a >> 32n) ^ c3 ^ k1, a & MASK];
    k0 = (k0 + 0x9e3779b9n) & MASK;
    k1 = (k1 + 0xbb67ae85n) & MASK;
  }
  return [c0, c1, c2, c3].map(Number);
}

/** The id's own Exp(1) variate: −log(1 − U), of 64 bits. A block of Philox serves two neighboring ids. */
export function exponential(seed: number | bigint, step: number, stream: number, id: number): number {
  const words = philox([Math.floor(id / 2), step, 0, stream], BigInt(seed));
  const [high, low] = id % 2 ? words.slice(2) : words;
  return -Math.log1p(-(high + (low + 0.5) / 2 ** 32) / 2 ** 32);
}

/** A number from 0 up to 1: whether XTC cuts. */
function xtcUniform(seed: number | bigint, step: number, stream: number): number {
  const [high, low] = philox([0, step, 1, stream], BigInt(seed));
  return (high * 2 ** 32 + low) / 2 ** 64;
}
