/** Options of every call, and what is best. */
import type { Hidden, Ids, PerRow } from './data';
import type { ShardPart } from './results';

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
   * Classifier-free guidance: the logits are u' + scale·(u − u'), where u are those of the call's hidden states and u' those of
   * `hidden` ([n,d], what the model makes of the text without its condition, or with one to keep away from), in one pass. Not for a head
   * with a soft-cap.
   */
  guidance?: Guidance | undefined;
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

/** See CallOptions. */
export interface Guidance {
  /** [n,d], in a form that the call's hidden states may have; the final norm is applied where it is to theirs. */
  hidden: Hidden;
  /** A finite number: 1 changes nothing, 0 leaves those of `hidden` alone, more than 1 goes beyond. */
  scale: PerRow<number>;
}

/** Options of every call that returns a promise. */
export interface AsyncOptions {
  /** Cancels the call, which then rejects with ERR_LMHEAD_ABORTED; its `cause` is the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** Of calls that tell log-probabilities beside ids. */
export interface LogProbsOption {
  /**
   * false: results have no `logProbs` and no `logSumExp`, and a sampler's tokens no `logProb`, which take a sum over all ids. Ids and
   * logits have the same bits as with them. Not beside what tells log-probabilities: topLogProbs, and in `run` `logProbs` and
   * `targets`. Default true.
   */
  withLogProbs?: boolean | undefined;
}

/** Where to put [n,V] values. */
export interface OutOption {
  /**
   * Holds at least n·V elements, overlaps neither the input nor weights that are borrowed, and is returned itself; one pending call
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
  /** Of a head of a shard of the vocabulary: for mergeTopK. */
  shard?: ShardPart;
}

/** R, whose log-probabilities go by these names, as a call with options of type O returns it. */
export type Told<O, R, Names extends keyof R> = 'withLogProbs' extends keyof O
  ? unknown extends O['withLogProbs']
    ? R
    : [O['withLogProbs']] extends [false]
      ? Omit<R, Names>
      : [Extract<O['withLogProbs'], false>] extends [never]
        ? R
        : Omit<R, Names> & Partial<Pick<R, Names>>
  : R;

/** What `topK` and `lens` return with options of type O: with `withLogProbs: false` no log-probabilities. */
export type TopKOf<O> = Told<O, TopK, 'logProbs' | 'logSumExp'>;
