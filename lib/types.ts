/**
 * The types of the public API.
 *
 * Shapes: V = vocabSize, d = hiddenSize, n = hidden states in a call, k = how many to keep. All logs are natural.
 * The same number has the same bits whichever method returns it, whatever n is, and for any number of threads
 * (on one CPU path).
 */

import type { Stage } from './pass/sampling-stages';
import type { Sampler } from './sampler';

/** A value for every row, or one value per row; of numbers in a typed array, too. */
export type PerRow<T> = T | readonly T[] | (number extends T ? NumberArray : never);
/** Arrays of numbers. */
export type NumberArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | Uint8Array
  | Uint16Array
  | Uint32Array;

/**
 * Token ids, as tokenizers and runtimes hand them out. A tensor's `type` is 'int64', 'int32' or 'uint32'; where an option may be there
 * once per row, one of [n, length] is n lists.
 */
export type Ids = ArrayLike<number> | BigInt64Array | BigUint64Array | TensorLike;

/** Types of floating-point number that weights and hidden states come in. */
export type FloatDtype = 'f32' | 'f16' | 'bf16';

/** Quantized weights: GGUF's formats of these names, and `i8`, rows of int8 with one scale each (docs/quantization.md). */
export type QuantizedDtype =
  | 'q8_0'
  | 'q6_k'
  | 'q5_k'
  | 'q4_k'
  | 'q4_0'
  | 'q4_1'
  | 'q5_0'
  | 'q5_1'
  | 'iq4_nl'
  | 'i8';

/** What weights come in. */
export type Dtype = FloatDtype | QuantizedDtype;

/** Which of the two stands first between a dot product and a logit. */
export type CapOrder = 'scale-then-cap' | 'cap-then-scale';

/** A `Float16Array`, where the runtime has one. */
export interface Float16ArrayLike extends ArrayBufferView {
  readonly length: number;
  readonly BYTES_PER_ELEMENT: 2;
  readonly [Symbol.toStringTag]: 'Float16Array';
}

/**
 * A tensor of another runtime (onnxruntime's, for one): 'float32', 'float16' or 'bfloat16' in `type`; 'int64', 'int32' or 'uint32'
 * where it holds ids.
 */
export interface TensorLike {
  readonly data: ArrayBufferView;
  readonly type?: string | undefined;
  readonly dims: readonly number[];
}

/**
 * n·d numbers, row by row; n is read off the length, or off `dims` ([d], [n,d], [1,n,d]).
 * A bare Uint16Array needs `hiddenDtype`; a tensor-like object says its `type`.
 * Float16Array is taken where the runtime has it.
 */
export type Hidden = Float32Array | Uint16Array | Float16ArrayLike | TensorLike;

/**
 * V·d numbers: E, row by row, or its transpose with `layout: 'dv'`. A Uint8Array holds quantized rows, one after the other, as
 * their format stores them.
 */
export type Weight = Float32Array | Uint16Array | Uint8Array | Float16ArrayLike;

/** The final norm of a model. */
export interface NormOptions {
  /** LayerNorm: (h − mean)/√(variance + eps)·weight + bias. RMSNorm: h/√(mean(h²) + eps)·weight. */
  type: 'layernorm' | 'rmsnorm';
  /** [d] */
  weight: Float32Array;
  /** [d] */
  bias?: Float32Array | undefined;
  /** Added to the variance, or to the mean square; at least 0. */
  eps: number;
  /** Added to `weight`: 1 for Gemma's (1+w). Default 0. */
  offset?: number | undefined;
}

/**
 * What hidden states are rounded to before they are multiplied with weights of integers: 'f32', nothing; 'i8', 8 bits; 'i16',
 * 16 bits. One scale serves a whole state.
 */
export type Activations = 'f32' | 'i8' | 'i16';

/** What a head is, beside its weights. */
export interface HeadOptions {
  /** V: rows of E, an integer of at least 1. */
  vocabSize: number;
  /** d: columns of E, an integer of at least 1. */
  hiddenSize: number;
  /** Of a Uint16Array weight: 'f16' or 'bf16'. Of a Uint8Array: 'q8_0', 'q6_k'… */
  dtype?: Dtype | undefined;
  /** 'vd' (default): E is [V,d]. 'dv': stored transposed, [d,V]; repacked once. */
  layout?: 'vd' | 'dv' | undefined;
  /** [V], added to the dot products. */
  bias?: Float32Array | undefined;
  /** Multiplies the logits (Cohere); Granite's divisor is 1/scale. Default 1. */
  logitScale?: number | undefined;
  /** u ← cap·tanh(u/cap) (Gemma 2). Above 0; by default there is none. */
  softCap?: number | undefined;
  /** 'scale-then-cap' (default) or 'cap-then-scale'. */
  capOrder?: CapOrder | undefined;
  /**
   * Rows at and beyond it are padding: −∞ in logits, 0 in probs, in no sum, never returned; k, targets and allowed
   * ids stay below it. Default V.
   */
  validVocabSize?: number | undefined;
  /** Multiplies embed()'s rows (Gemma: √d). Default 1. */
  embeddingScale?: number | undefined;
  /** Final norm; applied where a call says {norm:true}. */
  norm?: NormOptions | undefined;
  /** An input embedding [V,d] other than E: the head is then untied. */
  inputEmbedding?: Weight | undefined;
  /**
   * 'f32' (default): hidden states keep their precision. 'i8', 'i16': an approximation that is never made by itself. Hidden states
   * are rounded to so many bits, and multiplied with weights in i8, q8_0 or q6_k as integers: several times as fast for
   * many hidden states. Rounding to 8 bits flips near-ties. docs/quantization.md has formulas and errors.
   */
  activations?: Activations | undefined;
  /** 'auto' (default): native, or the reference with one warning where no binary loads; 'native' or 'reference'. */
  backend?: 'auto' | 'native' | 'reference' | undefined;
  /**
   * Honored as given; by default the parallelism available to this process (affinity and cgroup quota).
   * This option goes before the environment's LMHEAD_THREADS, and that before the default.
   */
  threads?: number | undefined;
  /** false: use the bytes of a SharedArrayBuffer in place; the caller keeps them unchanged. Default true: copied once. */
  copy?: boolean | undefined;
  /**
   * true: every pass leaves a `performance.measure` entry, named 'lmhead ' and the method, with PassTiming's other fields in
   * its `detail`; the timeline keeps them until `performance.clearMeasures()`. Default false.
   */
  performanceMarks?: boolean | undefined;
  /**
   * true (default): calls that return a promise and wait for the same weights are answered by one pass over them, together with
   * those of other heads that are attached. Each has the bits that it has alone. false: each has a pass of its own, and all of
   * this head's run in the order in which they were made.
   */
  coalesce?: boolean | undefined;
}

/**
 * One pass, as subscribers of the diagnostics channel 'lmhead:pass' get it when its call has ended. Times are in milliseconds,
 * on the clock of `performance.now()`. While nobody subscribes, nothing is timed.
 */
export interface PassTiming {
  /** The method whose results they are ('topK' of topKSync too); 'run' where they are not those of one method. */
  method: string;
  /** Of the form that returns a promise? */
  async: boolean;
  /** Hidden states. */
  n: number;
  vocabSize: number;
  hiddenSize: number;
  backend: 'native' | 'reference';
  /** When the call was made. */
  startTime: number;
  /** From then until its results were there, or its error. */
  duration: number;
  /** Of that, until the pass started; 0 in a synchronous call, and where it never started. */
  queueTime: number;
  /** Of that, from the pass's start to its end, turns of other heads' included. 0 where the call was over first. */
  passTime: number;
  /** How many calls, of any head, its pass served; 0 where it never started. */
  calls: number;
  /** How many hidden states of theirs. */
  rows: number;
  /**
   * Why it had a pass of its own, where it was one that returns a promise: 'coalesce' (it is false for this head), 'long' (more
   * than 16 hidden states), 'rows' and 'over' (the options; with `over: 'vocabulary'` there is a pass over all rows besides),
   * 'nearest' (the method), 'allowed' (so few ids that only their rows of E are computed), 'memory' (it holds more logits than a
   * pass may), 'backend' (the reference).
   */
  apart?: 'coalesce' | 'long' | 'rows' | 'over' | 'nearest' | 'allowed' | 'memory' | 'backend';
  /** The code of the error that the call ended with. */
  error?: string;
}

/** How to read a file of weights. Shapes and dtypes come from the file. */
export interface OpenOptions
  extends Partial<Omit<HeadOptions, 'vocabSize' | 'hiddenSize' | 'dtype' | 'copy'>> {
  /** Name of the output weight in the file; by default found by the names that architectures use. */
  tensor?: string | undefined;
  /**
   * true (default): map the file and use it where it lies. Where it is changed or cut off meanwhile, calls throw IO.
   * false: read it into memory.
   */
  mmap?: boolean | undefined;
}

/** Options of every call that takes hidden states. */
export interface CallOptions {
  /** Of a Uint16Array of hidden states. */
  hiddenDtype?: 'f16' | 'bf16' | undefined;
  /** Apply the head's final norm to the hidden states first. */
  norm?: boolean | undefined;
  /**
   * Divides the logits of a distribution (logProbs, probs, topK's logProbs, score, sample, logSumExp). Raw logits are
   * never divided, and what is best does not depend on it: `logits` and `argmax` take one, so that one object of options serves
   * every method, and are as without it. At least 1e-300; default 1; 0 is greedy where a token is drawn, a RANGE error elsewhere.
   */
  temperature?: PerRow<number> | undefined;
  /**
   * Compute only these rows of E: ids below validVocabSize, each once, in any order. The cost follows their number, not V.
   * Results of [n,V] are then [n, rows.length], in the order given here; ids in results stay ids of the vocabulary; tokens
   * are ranked and drawn among these alone, and k and targets must be too.
   */
  rows?: Ids | undefined;
  /**
   * What probabilities are normalized over where `rows` are given: 'rows' (default), as if there were no others; or
   * 'vocabulary', for which all of E is read once. A sample is drawn over the rows either way.
   */
  over?: 'rows' | 'vocabulary' | undefined;
}

/** Options of every call that returns a promise. */
export interface AsyncOptions {
  /** Cancels the call, which then rejects with ERR_LMHEAD_ABORTED; its `cause` is the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** Where to put [n,V] numbers. */
export interface OutOption {
  /**
   * Holds at least n·V numbers, overlaps neither the input nor weights that are borrowed, and is returned itself; one pending call
   * per `out`. Where no native binary is loaded, a clone of a SharedArrayBuffer is taken for memory of its own.
   */
  out?: Float32Array | undefined;
}

/** The k best ids of each row. */
export interface TopK {
  readonly n: number;
  readonly k: number;
  /** [n,k], best first, equal logits by lower id */
  ids: Uint32Array;
  /** [n,k], raw */
  logits: Float32Array;
  /** [n,k], under the whole vocabulary (or the `rows` asked for) */
  logProbs: Float32Array;
  /** [n], of logits over temperature */
  logSumExp: Float32Array;
}

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
  /** `eosIds` are not drawn before there are this many tokens. Default 0. */
  minLength?: PerRow<number> | undefined;
  /** Tokens that end a text. */
  eosIds?: Ids | undefined;
  /**
   * How many tokens there are, for minLength. Default: the history's length, less promptLength. In verifyDraft one number is that of the
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
  /** The temperature becomes max(0, T − range) … T + range, the higher the flatter the distribution is. Default 0. */
  temperatureRange?: PerRow<number> | undefined;
  /** Power of the normalized entropy that places the temperature in its range; at least 0, default 1. */
  temperatureExponent?: PerRow<number> | undefined;
  /** Keep tokens whose surprisal −log₂ p is at most this many bits (what mirostat v2 steers; see SamplerOptions). Default Infinity. */
  maxSurprisal?: PerRow<number> | undefined;
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
  /** An integer below 2^64. Omitted: drawn from the system. Same seed, step and options: same token. */
  seed?: PerRow<number | bigint> | undefined;
  /** Position in the random stream, below 2^32. Row i of a batch uses step + i, unless one is given per row. Default 0. */
  step?: PerRow<number> | undefined;
  /**
   * An integer below 2^32: rows of different streams are independent at any step, also with one seed. For a batch of texts,
   * whose rows at step + i would else be one another's echo. Default 0.
   */
  stream?: PerRow<number> | undefined;
  /**
   * From 0 to 20: a sample also tells the raw log-probability of its tokens, and this many of the likeliest tokens of both
   * distributions, the raw one and the one that was sampled. In the same pass. NAN then where a row has NaN at any id.
   */
  topLogProbs?: number | undefined;
}

/**
 * One drawn token per row. Two distributions are told of: the one that was sampled, which adjustments, filters and temperature
 * have made; and the raw one, of the model's logits at temperature 1 (over the `rows` asked for, or with `over: 'vocabulary'`
 * over all of it).
 */
export interface Sample {
  /** [n] */
  ids: Uint32Array;
  /** [n], log-probability under the distribution that was sampled (0 where greedy) */
  logProbs: Float32Array;
  /** [n], log-probability of `ids` under the raw distribution. With topLogProbs alone, as what follows. */
  modelLogProbs?: Float32Array;
  /** Of the distribution that was sampled; a row has fewer than k where its filters have left fewer (one where greedy). */
  topLogProbs?: TopLogProbs;
  /** Of the raw one, as `topK` has it: always k. */
  modelTopLogProbs?: TopLogProbs;
}

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
  extends Omit<SampleOptions, 'step' | 'length' | 'seed' | 'history' | 'promptLength'> {
  /** An integer below 2^64. Omitted: drawn from the system, and part of the state. */
  seed?: number | bigint | undefined;
  /** Tokens before the first that is drawn, for penalties. They don't count for minLength. */
  history?: Ids | undefined;
  /**
   * This many tokens, of `history` and of those that are accepted after it, are the prompt: see PenaltyOptions. minLength then counts
   * all tokens after it. A token is drawn when they are there.
   */
  promptLength?: number | undefined;
  /** Mirostat v2: steers maxSurprisal so that the surprisal of what is drawn comes to tau bits (default 5), at the rate eta (0.1). */
  mirostat?: { tau?: number; eta?: number } | undefined;
}

/**
 * What holds for one token alone. Biases, bans and what may be drawn hold beside the sampler's own; `rows` and `over` stand in place of
 * them.
 */
export type NextOptions = Pick<
  SampleOptions,
  'allowedIds' | 'allowedMask' | 'bannedIds' | 'logitBias' | 'rows' | 'over'
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

/** A sampler's state; survives JSON. */
export interface SamplerState {
  seed: string;
  /** Tokens drawn so far: the place in the random stream. */
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

/** Options of `lens`. */
export type LensOptions = Omit<CallOptions, 'norm'>;

/** Options of `nearest`. */
export interface NearestOptions extends Pick<CallOptions, 'hiddenDtype' | 'rows'> {
  /** 'dot' (default): the logit without bias, scale and cap. 'cosine': of the angle between a row and the vector. */
  metric?: 'dot' | 'cosine' | undefined;
}

/** The ids whose rows of E are most like a vector. */
export interface Neighbours {
  /** [k], most similar first, equal ones by lower id */
  ids: Uint32Array;
  /** [k] dot products, or cosines in [−1, 1] */
  similarities: Float32Array;
}

/** How to draw what a draft is held against: the options of `sample`, but for what it tells beside the token. */
export interface VerifyDraftOptions extends Omit<SampleOptions, 'over' | 'topLogProbs'> {
  /**
   * [draftIds.length, V], or with `rows` [draftIds.length, rows.length] in their order: the log-probabilities that each draft id
   * was drawn from, all of them, as the correction is drawn from what they leave. Omitted: the draft was certain of its ids
   * (greedy, or looked up).
   */
  draftLogProbs?: Float32Array | undefined;
}

/** One of several drafts that are verified together; see `verifyDraft`. */
export interface Draft {
  /** n·d numbers. */
  hidden: Hidden;
  /** n − 1 or n ids. */
  draftIds: Ids;
  /** As those of `verifyDraft`; beside a sampler no more than its `verify` takes. */
  options?: VerifyDraftOptions | undefined;
  /** Whose tokens they are, as by its `verify`: it says how they are drawn, and takes them. */
  sampler?: Sampler | undefined;
}

/** What stands of a draft, and what follows it. */
export interface DraftResult {
  /** How many of the draft's ids stand: its longest prefix that was accepted. */
  accepted: number;
  /**
   * [accepted + 1] those ids, and the token after them: a correction where the draft went wrong, a bonus where all of it
   * stands. Without the hidden state that a bonus needs, [accepted] where all stands.
   */
  ids: Uint32Array;
  /** Of `ids`, under the distribution that `sample` would draw from (0 where greedy). */
  logProbs: Float32Array;
}

export interface ScoreOptions extends CallOptions {
  /** Positions whose target is this count in nothing; their logProb is 0, their rank 0. */
  ignoreIndex?: number | undefined;
  /** Return each distribution's entropy too. */
  entropy?: boolean | undefined;
}

/** How likely given tokens are. */
export interface Score {
  /** [n] log p(target) */
  logProbs: Float32Array;
  /** [n], place of the target in the full topK order, 1 = the first; 0 where the target is ignored or the row has NaN */
  ranks: Uint32Array;
  /** [n] nats, if asked */
  entropy?: Float32Array;
  /** positions counted */
  count: number;
  /** negative log-likelihood of the counted positions in all, nats: what adds up over calls */
  nllSum: number;
  /** mean negative log-likelihood, nats per token; NaN when count is 0 */
  nll: number;
  /** e^nll */
  perplexity: number;
}

/** What one pass is to return. */
export interface RunRequest extends SampleOptions {
  /** Raw logits, [n,V]. */
  logits?: boolean | undefined;
  /** Log-softmax, [n,V]. */
  logProbs?: boolean | undefined;
  /** The best id of each row, [n]. */
  argmax?: boolean | undefined;
  /** Return the k best (topK is sample's filter). From 1 to V. */
  top?: number | undefined;
  /** Draw a token per row. */
  sample?: boolean | undefined;
  /** Score these tokens, one per hidden state. */
  targets?: Ids | undefined;
  /** See ScoreOptions. */
  ignoreIndex?: number | undefined;
  /** See ScoreOptions; needs `targets`. */
  entropy?: boolean | undefined;
}

// biome-ignore lint/complexity/noBannedTypes: {} is the neutral element of an intersection
type Nothing = {};
/** A result by whether it was asked for: there, not there, or (a boolean) perhaps there. */
type Flagged<Flag, Result> = [Flag] extends [true]
  ? Result
  : true extends Flag
    ? unknown extends Flag
      ? Nothing
      : Partial<Result>
    : Nothing;
/** The same of what is asked for by a value. */
type Given<Value, Wanted, Result> = [Value] extends [Wanted]
  ? Result
  : [Extract<Value, Wanted>] extends [never]
    ? Nothing
    : Partial<Result>;
/** What a pass returned: what was asked for, and logSumExp always. */
export type RunResult<R extends RunRequest> = Flagged<R['logits'], { logits: Float32Array }> &
  Flagged<R['logProbs'], { logProbs: Float32Array }> &
  Flagged<R['argmax'], { argmax: Uint32Array }> &
  Given<R['top'], number, { top: TopK }> &
  Flagged<R['sample'], { sample: Sample }> &
  Given<R['targets'], Ids, { score: Score }> & {
    /** [n], of logits over temperature (over 1 in rows sampled at temperature 0) */
    logSumExp: Float32Array;
  };

/** What `head.quantize` is to measure. */
export interface QuantizeOptions {
  /** Hidden states as the model gives them, to compare both heads on. */
  hidden?: Hidden | undefined;
  /** Of a Uint16Array of hidden states. */
  hiddenDtype?: 'f16' | 'bf16' | undefined;
  /** Of the new head; its error on `hidden` is then that of both roundings. Default 'f32'. */
  activations?: Activations | undefined;
}

/** How far a quantized head is from the one that it was made of. */
export interface QuantizationError {
  /** Of V·d weights: largest and root-mean-square |w − ŵ|, and √(Σ(w − ŵ)²/Σw²). */
  weights: { max: number; rms: number; relative: number };
  /** On the given hidden states, over ids below validVocabSize. */
  logits?: {
    /** n */
    positions: number;
    /** Largest |u − û|. */
    max: number;
    /** Root of the mean of (u − û)². */
    rms: number;
    /** Mean over positions of Σ p·(log p − log p̂), in nats. */
    klDivergence: number;
    /** Share of positions whose best id is the same; NaN, as the means are, where n is 0. */
    argmaxAgreement: number;
  };
}

/** What `head.verify` found. */
export interface Verification {
  /** Every logit lies within its stated bound, and the argmax agrees. */
  ok: boolean;
  /** Largest |native − float64 reference| over all logits. */
  maxError: number;
  /** Largest stated bound over all logits (each is held to its own). */
  bound: number;
  /** The best token is the same in every row, or the two are closer than the bound. */
  argmaxAgrees: boolean;
}

/** What runs here. */
export interface Capabilities {
  /** The kernel table in use: 'scalar', 'avx2', 'avx512', 'neon'…; 'reference' where no binary loads. */
  isa: string;
  /** The names that LMHEAD_ISA takes here, best first. */
  available: string[];
  /** Default number of threads. */
  threads: number;
  /** Of this package. */
  version: string;
  /** Version of Node-API that the addon uses; 0 where no binary loads. */
  napi: number;
}
