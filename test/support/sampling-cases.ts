/** Rows of logits and options of sampling, of every kind and at random: the same for the same seed. */
import type { Ids, PerRow, SampleOptions } from '../../lib';
import { STAGE_OPTIONS, STAGES } from '../../lib/pass/sampling-stages';
import type { ChainOptions } from './naive-chain';
import { Random } from './random';

export interface SamplingCase {
  V: number;
  n: number;
  /** [n,V] */
  logits: Float32Array;
  /** What each row is chosen by. */
  chains: ChainOptions[];
  /** The same, as callers say it. */
  options: SampleOptions;
  /** A head's only: ids, the others being as if they were not there. */
  rows: number[] | undefined;
  /** A head's only: so many rows of E beyond the valid ones. */
  padding: number;
}

const LARGEST_FLOAT = 3.4028234663852886e38;
const LARGEST_ID_LIST = 300;
const LONGEST_HISTORY = 400;

/** Numbers at random, of the kinds that options take. */
class Dice extends Random {
  /** From 0 up to 1. */
  share(): number {
    return this.below(2 ** 30) / 2 ** 30;
  }

  between(low: number, high: number): number {
    return low + (high - low) * this.share();
  }

  chance(of: number): boolean {
    return this.share() < of;
  }

  /** About as many of each magnitude. */
  magnitude(low: number, high: number): number {
    return Math.exp(this.between(Math.log(low), Math.log(high)));
  }

  /** Where its ends are, and between. */
  fraction(): number {
    return this.chance(0.15) ? this.pick([0, 1, 0.5, 1e-300, Number.MIN_VALUE]) : this.share();
  }

  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.share())) * Math.cos(2 * Math.PI * this.share());
  }

  list<T>(length: number, each: (i: number) => T): T[] {
    return Array.from({ length }, (_, i) => each(i));
  }
}

type Fill = (dice: Dice, V: number) => (id: number) => number;
const ROWS: Fill[] = [
  dice => () => 3 * dice.normal(),
  dice => () => 3 * dice.normal(),
  dice => () => 0.02 * dice.normal(),
  dice => () => 40 * dice.normal(),
  dice => () => Math.round(2 * dice.normal()),
  (dice, V) => {
    const best = dice.below(V);
    return id => dice.normal() + (id === best ? 12 : 0);
  },
  dice => {
    const value = dice.pick([0, -0, 1.5, -20, LARGEST_FLOAT, -LARGEST_FLOAT, 1e-40]);
    return () => value;
  },
  (dice, V) => {
    const only = dice.below(V);
    return id => (id === only ? dice.normal() : -Infinity);
  },
  (dice, V) => {
    const only = dice.below(V);
    return id => (id === only || dice.chance(0.6) ? 4 * dice.normal() : -Infinity);
  },
  dice => () => dice.pick([0, -0, 1, -1, 2]),
  dice => () => 1e30 * dice.normal(),
  dice => () => dice.pick([LARGEST_FLOAT, -LARGEST_FLOAT, 0, 1]),
  dice => () => 1e-42 * dice.normal(),
];

function sizeOf(dice: Dice): number {
  const kind = dice.below(2000);
  if (kind < 1) return dice.pick([60_000, 1 + dice.below(60_000)]);
  if (kind < 40) return 1 + dice.below(3000);
  if (kind < 500) return 1 + dice.below(300);
  return 1 + dice.below(40);
}

/** What holds for all rows of a call. */
type Common =
  | 'penaltyWindow'
  | 'dryWindow'
  | 'dryBreakers'
  | 'eosIds'
  | 'beginSuppressIds'
  | 'bannedSequences'
  | 'biasedSequences'
  | 'xtcProtectedIds'
  | 'stageOrder';
type OfRow = Exclude<keyof ChainOptions, Common | 'promptLength'>;

type Value<K extends keyof ChainOptions> = (dice: Dice, V: number) => NonNullable<ChainOptions[K]>;

const ids = (dice: Dice, V: number): number[] =>
  dice.list(dice.below(dice.pick([3, 20, LARGEST_ID_LIST + 1])), () => dice.below(V));

const VALUES: { [K in OfRow]: Value<K> } = {
  logitBias: (dice, V) => {
    const size = dice.pick([1, 10, 100, 100]);
    return new Map(
      ids(dice, V).map(id => [id, dice.chance(0.1) ? -Infinity : dice.normal() * size] as const),
    );
  },
  bannedIds: ids,
  allowed: (dice, V) => new Set(someIds(dice, V)),
  minLength: dice => dice.pick([0, 1, 5, dice.below(LONGEST_HISTORY)]),
  length: dice => dice.below(LONGEST_HISTORY),
  history: (dice, V) => {
    const different = 1 + dice.below(Math.min(V, dice.pick([1, 3, 12, 300])));
    const first = dice.below(V);
    const length = dice.below(dice.pick([2, 12, 60, LONGEST_HISTORY + 1]));
    return dice.list(length, () => (first + dice.below(different)) % V);
  },
  repetitionPenalty: dice => dice.pick([1, 1.3, dice.between(0.5, 3), dice.magnitude(1e-3, 1e3)]),
  frequencyPenalty: dice => dice.pick([0, 0.2, dice.between(-2, 2)]),
  presencePenalty: dice => dice.pick([0, 0.5, dice.between(-2, 2)]),
  dryMultiplier: dice => dice.pick([0, 0.8, dice.magnitude(1e-3, 1e3)]),
  dryBase: dice => dice.pick([1, 1.75, dice.between(1, 4), 1e3]),
  dryAllowedLength: dice => 1 + dice.below(dice.pick([1, 4, 40])),
  noRepeatNgramSize: dice => dice.below(dice.pick([2, 5, 50])),
  topNSigma: dice => dice.pick([0, dice.between(0, 3), dice.magnitude(1e-6, 1e6)]),
  topK: (dice, V) => dice.pick([0, 1, 1 + dice.below(V), 1 + dice.below(40), V, V + 1, 1e9]),
  typicalP: dice => dice.fraction(),
  topP: dice => dice.fraction(),
  minP: dice => dice.pick([dice.fraction(), dice.magnitude(1e-9, 1)]),
  epsilonCutoff: dice => dice.pick([dice.fraction(), dice.magnitude(1e-9, 1)]),
  etaCutoff: dice => dice.pick([dice.fraction(), dice.magnitude(1e-9, 1)]),
  pLess: dice => dice.chance(0.8),
  xtcProbability: dice => dice.fraction(),
  xtcThreshold: dice => dice.pick([dice.fraction(), dice.magnitude(1e-9, 1)]),
  temperature: dice => dice.pick([0, 1, dice.between(0.1, 2), dice.magnitude(1e-3, 1e3)]),
  temperatureRange: dice => dice.pick([0, dice.between(0, 1), dice.magnitude(1e-3, 1e3)]),
  temperatureExponent: dice => dice.pick([0, 1, dice.between(0, 4)]),
  maxSurprisal: dice => dice.pick([0, Infinity, dice.between(0, 12)]),
  minKeep: (dice, V) => dice.pick([1, 2, 1 + dice.below(V), 1 + dice.below(40), V + 1]),
  seed: dice =>
    dice.chance(0.3)
      ? (BigInt(dice.below(2 ** 32)) << 32n) | BigInt(dice.below(2 ** 32))
      : dice.below(2 ** 32),
  step: dice => dice.pick([0, dice.below(1000), 2 ** 32 - 8]),
  stream: dice => dice.pick([0, dice.below(1000), 2 ** 32 - 1]),
};

/** Each with the options that have no effect without it. */
const GROUPS: readonly (readonly [chance: number, ...names: (keyof ChainOptions)[]])[] = [
  [0.2, 'logitBias'],
  [0.2, 'bannedIds'],
  [0.12, 'allowed'],
  [0.2, 'eosIds', 'minLength', 'length'],
  [0.3, 'history', 'penaltyWindow', 'repetitionPenalty', 'frequencyPenalty', 'presencePenalty'],
  [0.2, 'history', 'dryMultiplier', 'dryBase', 'dryAllowedLength', 'dryWindow', 'dryBreakers'],
  [0.15, 'history', 'noRepeatNgramSize'],
  [0.1, 'history', 'bannedSequences', 'biasedSequences'],
  [0.1, 'beginSuppressIds', 'length'],
  [0.2, 'topNSigma'],
  [0.25, 'topK'],
  [0.2, 'typicalP'],
  [0.25, 'topP'],
  [0.25, 'minP'],
  [0.15, 'epsilonCutoff'],
  [0.15, 'etaCutoff'],
  [0.12, 'pLess'],
  [0.2, 'xtcProbability', 'xtcThreshold', 'xtcProtectedIds'],
  [0.2, 'minKeep'],
  [0.5, 'temperature'],
  [0.15, 'temperatureRange', 'temperatureExponent'],
  [0.15, 'maxSurprisal'],
  [0.3, 'stream'],
  [0.5, 'step'],
];

/** A case; the same for the same seed. */
export function samplingCase(seed: number): SamplingCase {
  const dice = new Dice(seed);
  const V = sizeOf(dice);
  const n = V > 300 ? 1 : dice.pick([1, 1, 1, 2, 4]);
  const logits = new Float32Array(n * V);
  for (let row = 0; row < n; row++) {
    const fill = dice.pick(ROWS)(dice, V);
    for (let id = 0; id < V; id++) logits[row * V + id] = fill(id);
    if (dice.chance(0.01)) logits[row * V + dice.below(V)] = dice.pick([Infinity, Number.NaN, -Infinity]);
  }
  const names = new Set<keyof ChainOptions>(['seed']);
  for (const [chance, first, ...others] of GROUPS) {
    if (!dice.chance(chance)) continue;
    names.add(first);
    for (const name of others) if (dice.chance(0.7)) names.add(name);
  }
  // What has no effect is refused.
  if (names.has('minLength')) names.add('eosIds');
  const common = commonOptions(dice, names, V);
  const chains = dice.list(n, () => ({ ...common }) as ChainOptions);
  const options: Record<string, unknown> = { ...common };
  const padding = dice.chance(0.1) ? dice.below(70) : 0;
  for (const name of names) {
    if (!(name in VALUES)) continue;
    const masks = name === 'allowed' && dice.chance(0.5);
    const values = valuesOf(dice, name as OfRow, V, n, masks);
    chains.forEach((chain, i) => {
      Object.assign(chain, { [name]: values.each[i] });
    });
    options[name === 'allowed' ? (masks ? 'allowedMask' : 'allowedIds') : name] = values.given;
  }
  addPrompts(dice, chains, options);
  chains.forEach((chain, i) => {
    chain.step ??= i;
  });
  const rows = dice.chance(0.1) ? someIds(dice, V) : undefined;
  if (rows && dice.chance(0.3)) options.over = 'vocabulary';
  if (dice.chance(0.2)) options.topLogProbs = dice.below(dice.pick([21, 1001]));
  return { V, n, logits, chains, options: options as SampleOptions, rows, padding };
}

/** As many tokens of the histories as are prompts. */
function addPrompts(dice: Dice, chains: ChainOptions[], options: Record<string, unknown>): void {
  const lengths = chains.map(({ history }) => history?.length ?? -1);
  const shortest = Math.min(...lengths);
  if (shortest < 0 || dice.chance(0.6)) return;
  const each = dice.chance(0.5) ? lengths.map(length => dice.below(length + 1)) : undefined;
  const one = dice.below(shortest + 1);
  chains.forEach((chain, i) => {
    chain.promptLength = each ? each[i] : one;
  });
  options.promptLength = each ?? one;
}

/** At least one, each once, in any order. */
function someIds(dice: Dice, V: number): number[] {
  const ids = new Set(dice.list(1 + dice.below(Math.min(V, 300)), () => dice.below(V)));
  return [...ids];
}

function commonOptions(dice: Dice, names: Set<keyof ChainOptions>, V: number): ChainOptions {
  const common: ChainOptions = {};
  if (names.has('penaltyWindow')) common.penaltyWindow = dice.below(dice.pick([2, 64, 500]));
  if (names.has('dryWindow')) common.dryWindow = dice.below(dice.pick([2, 64, 500]));
  if (names.has('dryBreakers'))
    common.dryBreakers = dice.list(dice.below(6), () =>
      dice.chance(0.5) ? dice.below(V) : dice.list(1 + dice.below(4), () => dice.below(V)),
    );
  for (const name of ['eosIds', 'beginSuppressIds', 'xtcProtectedIds'] as const)
    if (names.has(name)) common[name] = ids(dice, V);
  const sequence = () => dice.list(1 + dice.below(3), () => dice.below(Math.min(V, dice.pick([3, V]))));
  if (names.has('bannedSequences')) common.bannedSequences = dice.list(dice.below(20), sequence);
  if (names.has('biasedSequences'))
    common.biasedSequences = dice.list(dice.below(20), () => {
      return { ids: sequence(), bias: dice.chance(0.1) ? -Infinity : 10 * dice.normal() };
    });
  if (dice.chance(0.2)) {
    const needed = STAGES.filter(stage => STAGE_OPTIONS[stage].some(name => names.has(name as OfRow)));
    const others = STAGES.filter(stage => dice.chance(0.3) && !needed.includes(stage));
    common.stageOrder = [...needed, ...others]
      .map(stage => ({ stage, place: dice.share() }))
      .sort((a, b) => a.place - b.place)
      .map(({ stage }) => stage);
  }
  return common;
}

/** An option's value in each row, and how a caller says so. */
function valuesOf<K extends OfRow>(dice: Dice, name: K, V: number, n: number, masks: boolean) {
  const value = VALUES[name] as Value<K>;
  if (dice.chance(0.5)) {
    const one = value(dice, V);
    const each = dice.list(n, i => (name === 'step' ? (one as number) + i : one));
    return { each, given: spoken(dice, one, V, masks) };
  }
  const each = dice.list(n, () => value(dice, V));
  return { each, given: each.map(one => spoken(dice, one, V, masks)) as PerRow<unknown> };
}

/** The forms in which callers give lists of ids, masks and biases. */
function spoken(dice: Dice, value: unknown, V: number, masks: boolean): unknown {
  if (Array.isArray(value)) return idsAs(dice, value);
  if (value instanceof Set) return masks ? maskOf(value, V, dice.chance(0.5)) : idsAs(dice, [...value]);
  if (value instanceof Map) return dice.chance(0.5) ? value : Object.fromEntries(value);
  return value;
}

function idsAs(dice: Dice, list: number[]): Ids {
  switch (dice.below(6)) {
    case 0:
      return Int32Array.from(list);
    case 1:
      return BigInt64Array.from(list, BigInt);
    case 2:
      return Uint32Array.from(list);
    case 3:
      return { type: 'int64', data: BigInt64Array.from(list, BigInt), dims: [list.length] };
    default:
      return list;
  }
}

function maskOf(allowed: ReadonlySet<number>, V: number, signed: boolean): Uint32Array | Int32Array {
  const mask = new Uint32Array(Math.ceil(V / 32));
  for (const id of allowed) mask[id >>> 5] |= 1 << (id & 31);
  return signed ? new Int32Array(mask.buffer) : mask;
}
