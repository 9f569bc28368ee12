/** How tokens are drawn, and what is drawn. */

import type { Stage } from '../pass/sampling-stages';
import type { CallOptions, Told } from './call';
import type { Ids, PerRow } from './data';
import type { ShardPart } from './results';

/** Penalties on tokens that were there before. They change logits before any filter sees them. */
export interface PenaltyOptions {
  /**
   * The tokens so far, oldest first, of which the penalties are; one list for all rows, or an array of one per row. In verifyDraft one
   * list is what was there before the draft: each row has the draft's ids before it, too. A list per row is taken as it is.
   */
  history?: Ids | readonly Ids[] | undefined;
  /**
   * This many of the history's first tokens are the prompt: frequencyPenalty, presencePenalty and minLength don't count them;
   * repetitionPenalty, DRY and noRepeatNgramSize do. At most the history's length. Default 0.
   */
  promptLength?: PerRow<number> | undefined;
  /** Of the history, this many of the latest count for the three penalties that follow. Default: all of it. */
  penaltyWindow?: number | undefined;
  /** Of tokens in the window: a logit above 0 is divided by it, another multiplied. Above 0; default 1. */
  repetitionPenalty?: PerRow<number> | undefined;
  /** Subtracted from a logit for each time the token is in the window. Default 0. */
  frequencyPenalty?: PerRow<number> | undefined;
  /** Subtracted once from the logits of tokens in the window. Default 0. */
  presencePenalty?: PerRow<number> | undefined;
  /**
   * DRY: a token that would extend a sequence which has occurred, L ≥ dryAllowedLength tokens long so far, loses
   * dryMultiplier·dryBase^(L − dryAllowedLength). Default 0: off.
   */
  dryMultiplier?: PerRow<number> | undefined;
  /** At least 1; default 1.75. */
  dryBase?: PerRow<number> | undefined;
  /** An integer of at least 1; default 2. */
  dryAllowedLength?: PerRow<number> | undefined;
  /** Of the history, this many of the latest count for DRY. Default: all of it. */
  dryWindow?: number | undefined;
  /** Tokens, or sequences of them, that no repetition reaches across. */
  dryBreakers?: readonly (number | readonly number[])[] | undefined;
  /** No n tokens in a row occur twice: a token that would complete such a repetition is not drawn. 0 (default): off. */
  noRepeatNgramSize?: PerRow<number> | undefined;
  /**
   * Sequences of tokens that are not drawn: where all of one but its last token have just come, that one is banned. Of one token: it is
   * banned always.
   */
  bannedSequences?: readonly Ids[] | undefined;
  /**
   * As bannedSequences, but `bias` is added to the logit of the token that would complete the sequence; of several that it would
   * complete, their sum. A finite number, or -Infinity.
   */
  biasedSequences?: readonly { ids: Ids; bias: number }[] | undefined;
  /** `eosIds` are not drawn before there are this many tokens. Default 0. */
  minLength?: PerRow<number> | undefined;
  /** Tokens that end a text. */
  eosIds?: Ids | undefined;
  /** Ids that are not drawn as the first token: where `length` is 0. */
  beginSuppressIds?: Ids | undefined;
  /**
   * How many tokens there are, for minLength and beginSuppressIds. Default: the history's length, less promptLength. In verifyDraft one number is that of the
   * first row, and each further row has one more.
   */
  length?: PerRow<number> | undefined;
}

/** Numbers by token id. */
export type LogitBias = Readonly<Record<number, number>> | ReadonlyMap<number, number>;

/**
 * How to draw a token; docs/sampling.md has the formulas and their sources. First biases, bans and penalties change single
 * logits; then the stages work in the order topNSigma, topK, typicalP, topP, minP, epsilonCutoff, etaCutoff, pLess, xtc, temperature,
 * maxSurprisal, each on what those before have left (llama.cpp's default order, which `stageOrder` changes); then a token is drawn.
 */
export interface SampleOptions extends CallOptions, PenaltyOptions {
  /** Keep the k highest logits, equal ones by lower id. An integer; 0 (default), and V or more, keep all. */
  topK?: PerRow<number> | undefined;
  /** Keep the likeliest tokens up to the first at which their mass reaches topP, that one included. In [0,1]; default 1 keeps all. */
  topP?: PerRow<number> | undefined;
  /** Keep tokens with p ≥ minP·max p. In [0,1]; default 0 keeps all; 1 keeps the maximum and its equals. */
  minP?: PerRow<number> | undefined;
  /** Keep the tokens whose surprisal is nearest the entropy, up to the first at which their mass reaches typicalP. In [0,1]; default 1 keeps all. */
  typicalP?: PerRow<number> | undefined;
  /** Keep tokens with p ≥ epsilonCutoff. In [0,1]; default 0 keeps all. */
  epsilonCutoff?: PerRow<number> | undefined;
  /** Keep tokens with p ≥ min(etaCutoff, √etaCutoff·e^−H), H the entropy. In [0,1]; default 0 keeps all. */
  etaCutoff?: PerRow<number> | undefined;
  /** Keep logits of at least the maximum less topNSigma standard deviations of the logits. At least 0; default 0 keeps all. */
  topNSigma?: PerRow<number> | undefined;
  /** Keep tokens with p ≥ Σp²: a threshold without a parameter. Default false. */
  pLess?: PerRow<boolean> | undefined;
  /** The chance, in [0,1], that of the tokens with p ≥ xtcThreshold only the least likely is kept. Default 0. */
  xtcProbability?: PerRow<number> | undefined;
  /** In [0,1]; default 0.1. */
  xtcThreshold?: PerRow<number> | undefined;
  /** Ids that XTC does not drop: those that end a text or a line, say. The last of the others stays nevertheless. */
  xtcProtectedIds?: Ids | undefined;
  /** The temperature becomes max(0, T − range) … T + range, the higher the flatter the distribution is. Default 0. */
  temperatureRange?: PerRow<number> | undefined;
  /** Power of the normalized entropy that places the temperature in its range; at least 0, default 1. */
  temperatureExponent?: PerRow<number> | undefined;
  /** Keep tokens whose surprisal −log₂ p is at most this many bits (what mirostat v2 steers; see SamplerOptions). Default Infinity. */
  maxSurprisal?: PerRow<number> | undefined;
  /**
   * Every filter but topK leaves this many tokens at least, as far as it gets so many: the best of them (typicalP: the most typical).
   * XTC drops nothing where fewer would be left. An integer of at least 1, which is the default.
   */
  minKeep?: PerRow<number> | undefined;
  /** The stages in the order in which they are to work; names every stage that an option here sets to work. */
  stageOrder?: readonly Stage[] | undefined;
  /**
   * Added to the logits of single ids: an object or a Map from id to a finite number, or -Infinity, which bans the id; one for
   * all rows, or an array of one per row.
   */
  logitBias?: LogitBias | readonly LogitBias[] | undefined;
  /** Ids that are never drawn: one list for all rows, or an array of one per row. */
  bannedIds?: Ids | readonly Ids[] | undefined;
  /**
   * The only ids that may be drawn: one list for all rows, or an array of one per row. A Uint32Array, such as `topK` returns, is a
   * list of ids too. RANGE where nothing is left.
   */
  allowedIds?: Ids | readonly Ids[] | undefined;
  /**
   * The only ids that may be drawn, as grammar engines hand them out: bit id % 32 of word ⌊id/32⌋ allows an id. ⌈V/32⌉ words, or
   * ⌈validVocabSize/32⌉; one mask for all rows, or an array of one per row. Not beside allowedIds. RANGE where nothing is left.
   */
  allowedMask?: Uint32Array | Int32Array | readonly (Uint32Array | Int32Array)[] | undefined;
  /** An integer below 2^64. Omitted, or undefined for a row: drawn from the system. Same seed, step and options: same token. */
  seed?: PerRow<number | bigint | undefined> | undefined;
  /** Position in the random stream, below 2^32. Row i of a batch uses step + i, unless one is given per row. Default 0. */
  step?: PerRow<number> | undefined;
  /**
   * An integer below 2^32: rows of different streams are independent at any step, also with one seed. For a batch of texts,
   * whose rows at step + i would else be one another's echo. Default 0.
   */
  stream?: PerRow<number> | undefined;
  /**
   * From 0 to 1000: a sample also tells the raw log-probability of its tokens, and this many of the likeliest tokens of both
   * distributions, the model's own and the one that was sampled. In the same pass. NAN then where a row has NaN at any id.
   */
  topLogProbs?: number | undefined;
}

/**
 * One drawn token per row. Two distributions are told of: the one that was sampled, which adjustments, filters and temperature
 * have made; and the model's own, of its logits at temperature 1 (over the `rows` asked for, or with `over: 'vocabulary'`
 * over all of it).
 */
export interface Sample {
  /** [n] */
  ids: Uint32Array;
  /** [n], log-probability under the distribution that was sampled (0 where greedy) */
  logProbs: Float32Array;
  /** [n], log-probability of `ids` under the model's distribution. With topLogProbs alone, as what follows. */
  modelLogProbs?: Float32Array;
  /** Of the distribution that was sampled; a row has fewer than k where its filters have left fewer (one where greedy). */
  topLogProbs?: TopLogProbs;
  /** Of the model's, as `topK` has it: always k. */
  modelTopLogProbs?: TopLogProbs;
  /** Of a head of a shard of the vocabulary: for mergeSamples. */
  shard?: ShardPart;
}

/** What `sample` returns with options of type O: with `topLogProbs` also what it asks for, with `withLogProbs: false` only ids. */
export type SampleOf<O extends Pick<SampleOptions, 'topLogProbs'>> = [O['topLogProbs']] extends [number]
  ? Sample & { modelLogProbs: Float32Array; topLogProbs: TopLogProbs; modelTopLogProbs: TopLogProbs }
  : Told<O, Sample, 'logProbs'>;

/** The likeliest tokens of each row's distribution. */
export interface TopLogProbs {
  /** How many there is room for: what was asked for, or the number of ids that there are where it is smaller. */
  readonly k: number;
  /** [n], how many a row has. */
  counts: Uint32Array;
  /** [n,k], best first, equal logits by lower id; beyond a row's count 2^32 − 1, which is no id. */
  ids: Uint32Array;
  /** [n,k]; beyond a row's count −∞. */
  logProbs: Float32Array;
}

/** How a sampler draws. Options are single values, since it draws one token at a time. */
export interface SamplerOptions
  extends Omit<SampleOptions, 'step' | 'length' | 'seed' | 'history' | 'promptLength' | 'guidance'> {
  /** An integer below 2^64. Omitted: drawn from the system, and part of the state. */
  seed?: number | bigint | undefined;
  /** Tokens before the first that is drawn, for penalties. They don't count for minLength. */
  history?: Ids | undefined;
  /**
   * This many tokens, of `history` and of those that are accepted after it, are the prompt: see PenaltyOptions. minLength then counts
   * all tokens after it. A token is drawn when they are there.
   */
  promptLength?: number | undefined;
  /**
   * Called with each token's logits [V], raw, before biases, penalties and filters: it may change them in place (-Infinity: not to be
   * drawn). They are then made whole in memory, and the token is drawn on the calling thread. What it throws is thrown by the call,
   * and nothing is drawn. Not beside `rows`.
   */
  logits?: ((logits: Float32Array) => void) | undefined;
  /** Mirostat v2: steers maxSurprisal so that the surprisal of what is drawn comes to tau bits (default 5), at the rate eta (0.1). */
  mirostat?: { tau?: number; eta?: number } | undefined;
}

/**
 * What holds for one token alone. Biases, bans and what may be drawn hold beside the sampler's own; `rows` and `over` stand in place of
 * them.
 */
export type NextOptions = Pick<
  SampleOptions,
  'allowedIds' | 'allowedMask' | 'bannedIds' | 'logitBias' | 'rows' | 'over' | 'guidance'
>;

/** What holds for the token of each sampler alone, in their order; see NextOptions. */
export interface NextAllOptions {
  each?: readonly (NextOptions | undefined)[] | undefined;
}

/** A token, and the natural log of its probability. */
export interface TokenLogProb {
  id: number;
  logProb: number;
}

/** A token that a sampler drew. */
export interface SampledToken extends TokenLogProb {
  /** Under the distribution that was sampled (0 where greedy). */
  logProb: number;
  /** Under the model's: raw logits, temperature 1. With topLogProbs alone, as what follows. */
  modelLogProb?: number;
  /** The likeliest of the distribution that was sampled, best first; fewer where the filters left fewer. */
  topLogProbs?: TokenLogProb[];
  /** The likeliest of the model's. */
  modelTopLogProbs?: TokenLogProb[];
}

/** What a sampler with options of type O draws: with `topLogProbs` also what it asks for, with `withLogProbs: false` no `logProb`. */
export type SampledTokenOf<O extends Pick<SamplerOptions, 'topLogProbs'>> = [O['topLogProbs']] extends [
  number,
]
  ? SampledToken & { modelLogProb: number; topLogProbs: TokenLogProb[]; modelTopLogProbs: TokenLogProb[] }
  : Told<O, SampledToken, 'logProb'>;

/** What any sampler draws, whatever it tells. */
export type DrawnToken = Pick<SampledToken, 'id'>;

/** What samplers of such tokens draw in one call. */
export type NextTokens<Token extends DrawnToken> = [Token] extends [SampledToken]
  ? SampledToken[]
  : (DrawnToken & Partial<SampledToken>)[];

/** A sampler's state; survives JSON. */
export interface SamplerState {
  seed: string;
  /** Tokens drawn so far: the position in the random stream. */
  step: number;
  history: number[];
  /** Tokens drawn or accepted, for minLength. */
  generated: number;
  /** Mirostat's limit, in bits. */
  surprisalLimit: number;
}

/** What the filters leave of each row. */
export interface Candidates {
  /** Row i's are [offsets[i], offsets[i+1]), best first. */
  ids: Uint32Array;
  /** Renormalized over what is left, at the row's temperature. */
  probs: Float32Array;
  /** [n+1] */
  offsets: Uint32Array;
}
