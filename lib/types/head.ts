/** What heads are made with, and what they say of themselves. */
import type { CapOrder, Dtype, Hidden, Weight } from './data';

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
 * What hidden states are rounded to before they are multiplied: 'f32', nothing; with weights of integers 'i8', 8 bits, or 'i16',
 * 16 bits, where one scale serves a whole state; with weights in bf16 'bf16', element by element.
 */
export type Activations = 'f32' | 'i8' | 'i16' | 'bf16';

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
  /** u ← cap·tanh(u/cap) (Gemma 2). Above 0, and at most 2^123 beside a bias or a larger scale than 1; by default there is none. */
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
   * are rounded to so many bits, and multiplied with weights as integers, those of any quantized dtype but q2_k, mlx4 and mlx8: faster
   * for one hidden state where weights have fewer than 8 bits, and several times as fast for many. Rounding to 8 bits flips near-ties.
   * docs/quantization.md has formulas and errors. 'bf16', with weights in bf16 alone: each element is rounded to the nearest bfloat16,
   * which units for that type multiply faster.
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
  /**
   * true: keeps a small copy of E with a proven bound on how far each row's logit may be from what it says (an eighth of f32's bytes,
   * a quarter of bf16's). Results that depend on the best ids alone read it first, and then only the rows of E that it cannot rule
   * out: argmax, greedy tokens and drafts, tokens after topK or minP; with `withLogProbs: false` topK, and tokens of any temperature. Same
   * ids, same bits; what cannot be had so takes the whole of E as ever.
   * docs/screening.md. Not with weights of fewer than 5 bits, `activations` or `shard`. The reference backend has none. Default false.
   */
  screen?: boolean | undefined;
}

/** What the copy that `screen` keeps did so far, for this head's calls. */
export interface Screening {
  /** Of the copy. */
  readonly bytes: number;
  /** Calls that were answered by it. */
  readonly passes: number;
  /** Calls that might have been, and took all of E: too many rows were left, or had been just before; or hidden states were not finite. */
  readonly fullPasses: number;
  /** Of those, by why: too many rows were left; that had been so just before; hidden states of zeros, not finite, or too large or small. */
  readonly fullPassesBy: { readonly manyRows: number; readonly backoff: number; readonly states: number };
  /** Rows of E that were read, for each hidden state of those that it answered; 0 where there was none. */
  readonly survivors: { readonly mean: number; readonly max: number };
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

/** One of several equal parts of the vocabulary. */
export interface ShardOptions {
  /** From 0 to count − 1. */
  index: number;
  /** From 1 to V. */
  count: number;
}

/** How to read a file of weights. Shapes and dtypes come from the file. */
export interface OpenOptions
  extends Partial<Omit<HeadOptions, 'vocabSize' | 'hiddenSize' | 'dtype' | 'copy'>> {
  /** Name of the output weight in the file; by default found by the names that architectures use. */
  tensor?: string | undefined;
  /**
   * true (default): map the file and use it in place. Where it is changed or cut off meanwhile, calls throw IO.
   * false: read it into memory.
   */
  mmap?: boolean | undefined;
  /**
   * A part of the vocabulary: the head has rows [V·index/count, V·(index+1)/count) of E, and holds no others (but up to 255 at each
   * end: whole chunks of 256). Ids stay those of the whole, in arguments and in results. mergeTopK, mergeScores and mergeSamples
   * make of the parts' results that of the whole head, bit for bit. docs/many-machines.md.
   */
  shard?: ShardOptions | undefined;
  /** Of `open` alone: rejects with ABORTED when it fires, and makes no more of a copy for `screen`. */
  signal?: AbortSignal | undefined;
  /** Of `open` alone: gets how much of a copy for `screen` is made, up to 1, ten times a second and at its end. What it throws rejects. */
  onProgress?: ((share: number) => void) | undefined;
}

/** What `head.quantize` is to measure. */
export interface QuantizeOptions {
  /** Hidden states as the model gives them, to compare both heads on. */
  hidden?: Hidden | undefined;
  /** Of a Uint16Array of hidden states. */
  hiddenDtype?: 'f16' | 'bf16' | undefined;
  /** Of the new head; its error on `hidden` is then that of both roundings. Default 'f32'. */
  activations?: Activations | undefined;
  /** As HeadOptions has it, of the new head. Default false. */
  screen?: boolean | undefined;
}

/** How far a quantized head is from the one that it was made of. */
export interface QuantizationError {
  /** Of V·d weights: largest and root-mean-square |w − ŵ|, and √(Σ(w − ŵ)²/Σw²). */
  weights: { max: number; rms: number; relative: number };
  /** On the given hidden states. */
  logits?: LogitDifference;
  /** Of it, with integer `activations`, what they alone do: against the new weights with hidden states as they are. */
  rounded?: LogitDifference;
}

/** How far logits û are from u, over ids below validVocabSize. */
export interface LogitDifference {
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
  /** With integer `activations`, what they do: against the reference's logits of hidden states as they are. No error: it was asked for. */
  rounded?: LogitDifference;
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
