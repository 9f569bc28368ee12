/** What calls ask for, and what they get. */

import type { Sampler } from '../sampler';
import type { CallOptions, Told, TopKOf } from './call';
import type { Hidden, Ids } from './data';
import type { DrawnToken, SampleOf, SampleOptions } from './sampling';

/**
 * What a layer's hidden states go through before the final norm, in a tuned lens: h' = A·h + b. Belrose et al., "Eliciting latent predictions
 * from transformers with the tuned lens" (2023).
 */
export interface Translator {
  /** A, [d,d]: row i has the factors of h'[i]. */
  weight: Float32Array;
  /** b, [d] */
  bias?: Float32Array | undefined;
  /** true: h' = h + A·h + b, as the authors' package has it. Default false. */
  residual?: boolean | undefined;
}

/** Options of `lens`. */
export interface LensOptions extends Omit<CallOptions, 'norm' | 'guidance'> {
  /**
   * One per layer, first to last; undefined or null where a layer needs none, as the last. With n·layers hidden states, [layers, n, d],
   * each is for the n of its layer. Computed at once in float64, d² products per hidden state, in both forms of the method.
   */
  translators?: readonly (Translator | null | undefined)[] | undefined;
}

/** Options of `nearest`. */
export interface NearestOptions extends Pick<CallOptions, 'hiddenDtype' | 'rows'> {
  /** 'dot' (default): the logit without bias, scale and cap. 'cosine': of the angle between a row and the vector. */
  metric?: 'dot' | 'cosine' | undefined;
}

/** The ids whose rows of E are most like a vector. */
export interface Neighbors {
  /** [k], most similar first, equal ones by lower id */
  ids: Uint32Array;
  /** [k] dot products, or cosines in [−1, 1] */
  similarities: Float32Array;
}

/** `Neighbors`, as it is also spelled. */
export type Neighbours = Neighbors;

/** How to draw what a draft is verified against: the options of `sample`, but for what it tells beside the token. */
export interface VerifyDraftOptions extends Omit<SampleOptions, 'over' | 'topLogProbs'> {
  /**
   * [draftIds.length, V], or with `rows` [draftIds.length, rows.length] in their order: the log-probabilities that each draft id
   * was drawn from, all of them, as the correction is drawn from what they leave. Omitted: the draft was certain of its ids
   * (greedy, or looked up).
   */
  draftLogProbs?: Float32Array | undefined;
}

/** How beams go on: the options of `sample`, but for those about drawing by chance. */
export interface BeamOptions
  extends Omit<SampleOptions, 'over' | 'topLogProbs' | 'seed' | 'step' | 'stream'> {
  /** How many beams there are to be, from 1 to 1000; default n. Twice as many leaves n that go on where some end. */
  count?: number | undefined;
}

/** The best continuations of beams: [count], or as many as there are; best first, equal ones by lower beam, then by lower id. */
export interface Beams {
  /** The beam that each continues: a row of the call. */
  parents: Uint32Array;
  /** With which token. */
  ids: Uint32Array;
  /** The sum of the beam's score and the token's log-probability. */
  scores: Float64Array;
  /** That log-probability, under what `sample` would draw from. */
  logProbs: Float32Array;
}

/** One of several drafts that are verified together; see `verifyDraft`. */
export interface Draft {
  /** n·d elements. */
  hidden: Hidden;
  /** n − 1 or n ids. */
  draftIds: Ids;
  /** As those of `verifyDraft`; beside a sampler no more than its `verify` takes. */
  options?: VerifyDraftOptions | undefined;
  /** Whose tokens they are, as by its `verify`: it says how they are drawn, and takes them. */
  sampler?: Sampler<DrawnToken> | undefined;
}

/** What was accepted of a draft, and the token after it. */
export interface DraftResult {
  /** How many of the draft's ids were accepted: its longest prefix. */
  accepted: number;
  /**
   * [accepted + 1] those ids, and the token after them: a correction where the draft went wrong, a bonus where all of it
   * was accepted. Without the hidden state that a bonus needs, [accepted] where all was.
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
  /** [n], rank of the target in the full topK order, 1 = the first; 0 where the target is ignored or the row has NaN */
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
  /** Of a head of a shard of the vocabulary: for mergeScores. */
  shard?: ShardPart;
}

/**
 * What mergeTopK, mergeScores and mergeSamples make one result of: what a result of a shard of the vocabulary says beside itself. Its
 * values lie in typed arrays, so that postMessage, structuredClone and v8.serialize take it; what they mean is the library's.
 */
export interface ShardPart {
  readonly index: number;
  readonly count: number;
  /** Of the whole. */
  readonly vocabSize: number;
  readonly validVocabSize: number;
  readonly n: number;
  /** The chunk of 256 rows that the first of `sums` is of. */
  readonly firstChunk: number;
  /** [n, chunks, 3], of each chunk the maximum, Σe^x and Σx·e^x. */
  readonly sums: Float64Array;
  /** [n] */
  readonly inverseTemperatures: Float64Array;
  /** Of topK: how many were asked for. */
  readonly k?: number;
  /** Of score. */
  readonly targets?: Uint32Array;
  readonly targetLogits?: Float32Array;
  /** Of sample. */
  readonly draw?: ShardDraw;
}

/** What a shard says of tokens that it might have drawn. */
export interface ShardDraw {
  /** How each row is drawn, [n, parameters]: the same for all shards. */
  readonly rowParameters: Float64Array;
  /** Ids that XTC spares. */
  readonly xtcProtected?: Uint32Array;
  /** [n] 0: the likeliest, 1: Gumbel-max over all, 2: over those listed. */
  readonly ways: Uint8Array;
  /** [n], of the shard's own token. */
  readonly logits: Float32Array;
  /** As those of the part, of adjusted logits. */
  readonly sums?: Float64Array;
  /** How many are listed at most: `counts` [n], `ids` and `listed` (their logits) [n,k]. */
  readonly k: number;
  readonly counts: Uint32Array;
  readonly ids: Uint32Array;
  readonly listed: Float32Array;
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
/** What a pass returned: what was asked for, and logSumExp, unless `withLogProbs` is false. */
export type RunResult<R extends RunRequest> = Flagged<R['logits'], { logits: Float32Array }> &
  Flagged<R['logProbs'], { logProbs: Float32Array }> &
  Flagged<R['argmax'], { argmax: Uint32Array }> &
  Given<R['top'], number, { top: TopKOf<R> }> &
  Flagged<R['sample'], { sample: SampleOf<R> }> &
  Given<R['targets'], Ids, { score: Score }> &
  Told<R, WithLogSumExp, 'logSumExp'>;

interface WithLogSumExp {
  /** [n], of logits over temperature (over 1 in rows sampled at temperature 0) */
  logSumExp: Float32Array;
}
