/**
 * The seam between the typed API and what computes: the native addon, or the TypeScript reference.
 * Everything that crosses it is checked and normalized already; a backend trusts it.
 */
import type { QuantizeTarget } from '../dtypes/quantize';
import type { Groups } from '../dtypes/row-format';
import type {
  Activations,
  Candidates,
  CapOrder,
  Dtype,
  FloatDtype,
  Sample,
  Screening,
  ShardPart,
} from '../types';
import type { RowName } from './row-errors';
import type { CopyBytes, CopySource } from './saved-copy';

/** Columns of `PassJob.rowParameters`, one row of them per hidden state. */
export const RowParameter = {
  /** Above 0; 0 means greedy, and only where the one distribution asked for is a sample's. */
  temperature: 0,
  /** Integer; 0 keeps all. */
  topK: 1,
  /** In [0, 1]; 1 keeps all. */
  topP: 2,
  /** log(minP), at most 0; -Infinity keeps all. */
  logMinP: 3,
  /** The 64-bit seed, as two unsigned 32-bit words. */
  seedLow: 4,
  seedHigh: 5,
  /** Position in the random stream, below 2^32. */
  step: 6,
  /** In [0, 1]; 1 keeps all. */
  typicalP: 7,
  /** log(epsilonCutoff), at most 0; -Infinity keeps all. */
  logEpsilon: 8,
  /** log(etaCutoff), at most 0; -Infinity keeps all. */
  logEta: 9,
  /** Standard deviations; 0 keeps all. */
  topNSigma: 10,
  /** 0 or 1. */
  pLess: 11,
  /** In [0, 1]; 0 keeps all. */
  xtcProbability: 12,
  /** log(xtcThreshold), at most 0. */
  logXtcThreshold: 13,
  /** How far the temperature may go from its value, at least 0; 0: it is what it is. */
  temperatureRange: 14,
  /** At least 0. */
  temperatureExponent: 15,
  /** Nats, at least 0; Infinity keeps all. */
  maxSurprisal: 16,
  /** The order of the stages; see packOrder. */
  order: 17,
  /** Fourth word of the random stream's counter, below 2^32. */
  stream: 18,
  /** Integer, at least 1: so many tokens every filter but topK leaves, as far as there are so many. */
  minKeep: 19,
  /** Of a shard of the vocabulary: the id that local index 0 has in the random stream. Even. */
  firstId: 20,
  /** How many columns there are. */
  count: 21,
} as const;

/** In `PassJob.targets`: a position that counts in nothing. */
export const IGNORED = 0xffffffff;

/** Which rows of E a pass is about. */
export interface PassView {
  /** At least one id, ascending, each once, below the valid vocabulary. */
  rows: Uint32Array;
  /** Distributions (but a sample's) are over the whole vocabulary: a pass over all of E. */
  overVocabulary: boolean;
}

/** Columns of `Adjustments.patches.values`. */
export const PatchValue = {
  /** Added to the logit; -Infinity: the id may not be drawn. */
  add: 0,
  /** Above 0. What has come of it is divided by this where it is above 0, else multiplied. */
  penalty: 1,
  /** Subtracted from that. */
  subtract: 2,
  /** How many columns there are. */
  count: 3,
} as const;

/** Columns of `Adjustments.counted.penalties`. */
export const Penalty = {
  /** The patch's `penalty`. */
  repetition: 0,
  /** Of the patch's `subtract`, where the count is above 0: count·frequency + presence. */
  frequency: 1,
  presence: 2,
  /** How many columns there are. */
  count: 3,
} as const;

/** Where a backend puts candidates, before there are any. */
export function noCandidates(): Candidates {
  return { ids: new Uint32Array(0), probs: new Float32Array(0), offsets: new Uint32Array(1) };
}

/** Sparse lists of ids, ascending and each once, for n rows, which may share them. */
export interface IdLists {
  /** [n,2]: row i has [ranges[2i], ranges[2i+1]). */
  ranges: Uint32Array;
  ids: Uint32Array;
}

/**
 * What is done to the logits that a token is drawn from, and to no other result. Applied in float64, rounded once. Where a row has a
 * patch for an id, that is all; where it has none, the bias is the `add` of one, and the penalties of the count are the rest.
 */
export interface Adjustments {
  /** values: [ids, PatchValue.count] */
  patches?: IdLists & { values: Float64Array };
  /** values: [ids] */
  biases?: IdLists & { values: Float64Array };
  /** Ids that are among the tokens so far. counts: [ids], 0 where only `repetition` is for them; penalties: [n, Penalty.count] */
  counted?: IdLists & { counts: Uint32Array; penalties: Float64Array };
  /** Bit id % 32 of word ⌊id/32⌋: may be drawn. ⌈V/32⌉ words for each row, or once. Absent: all may. */
  allowed?: Uint32Array;
  /** Words from one row's mask to the next; 0: one for all. */
  allowedStride: number;
  /** Ids that XTC does not drop, ascending. */
  xtcProtected?: Uint32Array | undefined;
}

/**
 * What is taken for a logit: the product with a row of E without bias, scale and cap; or that over the row's length, which is the
 * cosine of their angle where the hidden state has length 1 (0 for a row of zeros).
 */
export type Metric = 'dot' | 'cosine';

/**
 * A draft to be verified row by row; alone in its pass. The row's parameters say what a token is to be
 * drawn from.
 */
export interface DraftJob {
  /** n or n − 1 of them. One that the pass has no row for is not accepted. */
  ids: Uint32Array;
  /** [ids.length, V]: what the draft drew each id from; absent: it was certain of it. */
  logProbs?: Float32Array;
  /** [1]: how many of them are accepted. */
  accepted: Uint32Array;
  /** [n] each: those that are accepted, and the token that follows them. */
  outIds: Uint32Array;
  outLogProbs: Float32Array;
}

/** Rows of E that sums over the vocabulary go by; kChunkRows of native/core/sinks/sink.h. */
export const CHUNK_ROWS = 256;

/** Columns of `PartialResults.sums`. */
export const ChunkSum = {
  /** The largest logit; NaN if there is a NaN. */
  max: 0,
  /** Σ e^x over the chunk, x = (u − max)/T; 0 where the maximum is not finite, and where no result needs it. */
  sum: 1,
  /** Σ x·e^x, where entropies are asked for. */
  weighted: 2,
  /** How many columns there are. */
  count: 3,
} as const;

/**
 * What results of a shard of the vocabulary are merged by. The backend's rows are whole chunks, which begin and end beyond the shard:
 * it ranks, draws and normalizes over local indices from `begin` to before `end` alone. Greedy rows and rows without filters only; no view,
 * draft or candidates.
 */
export interface PartialResults {
  /** The id of local index 0, for messages. */
  firstId: number;
  begin: number;
  end: number;
  /** [n, chunks, ChunkSum.count], of whole chunks. */
  sums: Float64Array;
  /** The same of the logits that tokens are drawn from, where there are adjustments. */
  drawnSums?: Float64Array;
  /** [n], of the token that `sample` has; −Infinity: there is none, and its id is 2^32 − 1. */
  drawnLogits?: Float32Array;
  /** How many to list of those that tokens may be drawn from. */
  k: number;
  /** [n], at most k */
  counts?: Uint32Array;
  /** [n,k] each, best first. */
  ids?: Uint32Array;
  logits?: Float32Array;
  /** [n]: the logits of `score`'s targets, each of which is `begin` where it lies before the shard, and `end` where behind. */
  targetLogits?: Float32Array;
}

/** A sample, perhaps without log-probabilities: they take a sum over all ids, which a pass then need not make. */
export type DrawnSample = Omit<Sample, 'logProbs'> & Partial<Pick<Sample, 'logProbs'>>;

/** What one pass is to compute: every array that is present gets filled. n rows, V ids, d elements per hidden state. */
export interface PassJob {
  n: number;
  /** What errors call a row; absent: its index. */
  rowName?: (row: number) => RowName;
  /** Absent: all rows. Else V stands for how many rows there are in the shapes below, and targets are among them. */
  view?: PassView;
  /** Absent: the model's logits. */
  metric?: Metric;
  draft?: DraftJob;
  partial?: PartialResults;
  /** What a shard's results are merged by, when it has made them. */
  shard?: ShardPart;
  /** [n, RowParameter.count]; absent: temperature 1, no filter, and no sample asked for. */
  rowParameters?: Float64Array;
  /** [n,V] raw logits. */
  logits?: Float32Array;
  /** [n,V] */
  logProbs?: Float32Array;
  /** [n,V] */
  probs?: Float32Array;
  /** [n] */
  argmax?: Uint32Array;
  /** [n,k] each, best first. */
  top?: { k: number; ids: Uint32Array; logits: Float32Array; logProbs?: Float32Array } | undefined;
  /** Of what `sample` and `candidates` see. */
  adjustments?: Adjustments;
  /** Gets what the filters leave; its size is known only then. */
  candidates?: Candidates;
  /** What topLogProbs tells beside the tokens is there as a whole, or not at all; see newSample. */
  sample?: DrawnSample;
  /** [n] each; IGNORED targets get logProb 0, rank 0, entropy 0. */
  score?: { targets: Uint32Array; logProbs: Float32Array; ranks: Uint32Array; entropy?: Float32Array };
  /** [n], of logits over temperature (over 1 in rows whose temperature is 0). */
  logSumExp?: Float32Array;
}

/** A pass that starts from hidden states. */
export interface HiddenJob extends PassJob {
  /** [n,d] */
  hidden: Float32Array | Uint16Array;
  hiddenDtype: FloatDtype;
}

/** A pass that starts from logits that the caller holds. */
export interface LogitsJob extends PassJob {
  /** [n,V] */
  givenLogits: Float32Array;
  vocabSize: number;
}

/** The passes that need no weights. */
export interface LogitsBackend {
  readonly kind: 'native' | 'reference';
  runLogits(job: LogitsJob): void;
}

/** The parameters that come between a dot product and a logit, all of them resolved. */
export interface Epilogue {
  /** [V] */
  bias?: Float32Array;
  /** 1: none. */
  logitScale: number;
  /** 0: none. */
  softCap: number;
  capOrder: CapOrder;
  /** Ids from here on are padding. */
  validVocabSize: number;
}

/** Where a matrix [rows, columns] comes from. Row-major, rows contiguous, little-endian. */
export type MatrixSource =
  | {
      kind: 'memory';
      /** Bytes where the dtype is quantized. */
      data: Float32Array | Uint16Array | Uint8Array;
      dtype: Dtype;
      /** false: the bytes of a SharedArrayBuffer, used in place. */
      copy: boolean;
      /** 'dv': stored [columns, rows]; repacked. Never of a quantized dtype. */
      layout: 'vd' | 'dv';
      /** Where a head has them already: as HeadBackend.share() gave it, perhaps in another thread. */
      token?: string | undefined;
      /** Of a grouped dtype: scales and biases are in `data`, behind the rows. */
      groups?: Groups;
    }
  | {
      kind: 'file';
      path: string;
      offset: number;
      /** Bytes; the native side computes the same from the shape, and both have to agree. */
      length: number;
      dtype: Dtype;
      /** false: read into memory */
      mmap: boolean;
      layout: 'vd' | 'dv';
      /** Of a grouped dtype, which is mapped: where in the file scales and biases are. */
      groups?: Groups & { scalesOffset: number; biasesOffset: number };
    }
  | {
      /** Native weights that a head of this process has already. */
      kind: 'shared';
      /** As HeadBackend.share() gave it, perhaps in another thread. */
      token: string;
      dtype: Dtype;
      layout: 'vd';
      groups?: Groups;
    };

/** What a backend is made of. */
export interface HeadSpec {
  vocabSize: number;
  hiddenSize: number;
  output: MatrixSource;
  /** Absent: tied, the output matrix serves, unless `untied`. */
  input?: MatrixSource;
  /** The input embedding is another matrix, which is not known where `input` is absent. */
  untied?: boolean;
  /** Rows of `input`, where they are not as many as V. */
  inputRows?: number;
  /** Why `input` is absent though it is another matrix, for messages. */
  inputProblem?: string;
  /** Why there is no final norm, for messages. */
  normProblem?: string;
  epilogue: Epilogue;
  activations: Activations;
  threads?: number;
  /** false: its calls share no passes. */
  coalesce?: boolean;
  /** true: a bounded copy of the output matrix is read first where that will do. */
  screen?: boolean;
  /** Where that copy is, if it has been saved. */
  savedCopy?: CopySource;
}

/** What there is to tell of a pass; native/core/head/pass_task.h has the same. */
export const PassFact = {
  /** Seconds until it started. */
  waited: 0,
  /** Seconds from its start to its end. */
  took: 1,
  /** How many calls it served, and how many hidden states of theirs. */
  calls: 2,
  rows: 3,
  /** Why it served no others: an index of APART. */
  apart: 4,
  /** How many facts there are. */
  count: 5,
} as const;

/** Apart of native/core/head/head_core.h. */
export const APART = [
  undefined,
  'coalesce',
  'long',
  'rows',
  'over',
  'nearest',
  'allowed',
  'memory',
  'backend',
] as const;

/** One of several calls that are made as one. */
export interface ListedJob {
  /** Its head's, which has the same weights as the others'. */
  backend: HeadBackend;
  /** Of one hidden state at least, and without candidates. */
  job: HiddenJob;
}

/** Computes passes over one head's weights. */
export interface HeadBackend {
  readonly kind: 'native' | 'reference';
  readonly threads: number;
  /** Throws NAN or RANGE (only where a token is chosen). */
  run(job: HiddenJob): void;
  /**
   * Copies the hidden states before it returns. Rejects with NAN, ABORTED, CLOSED.
   * @param told gets what there is to tell of the pass, PassFact.count values
   */
  runAsync(job: HiddenJob, signal?: AbortSignal, told?: Float64Array): Promise<void>;
  /** Several as one, in as few passes as they fit in. Throws what the first one that fails would. */
  runAll(list: readonly ListedJob[]): void;
  runAllAsync(list: readonly ListedJob[], signal?: AbortSignal, told?: Float64Array): Promise<void>;
  /** Whether jobs of the other may be listed beside this one's. */
  hasWeightsOf(other: HeadBackend): boolean;
  /**
   * Quantizes rows of the output matrix from `first` on; see lib/dtypes/quantize.ts.
   * @param bytes whole rows of that dtype; are filled
   * @param errors [rows,3]: max, squares and total of each row's WeightErrorSums
   * @throws LMHeadError RANGE (rejects): a row has NaN or an infinity; ABORTED, CLOSED, IO, MEMORY
   */
  quantizeRows(
    dtype: QuantizeTarget,
    first: number,
    bytes: Uint8Array,
    errors: Float64Array,
    signal?: AbortSignal,
  ): Promise<void>;
  /** Makes the bounded copy of the output matrix, unless it is there. */
  makeCopy(signal?: AbortSignal): Promise<void>;
  /** How many of its rows are made. */
  copiedRows(): number;
  /** Calls read it first from now on, where that will do; makes it, unless it is there. */
  useCopy(): void;
  /** What it did; undefined where none is in use. */
  screening(): Screening | undefined;
  /** The copy, where one is in use. */
  copyToSave(): CopyBytes | undefined;
  /** Rows of the output or the input matrix, unpacked to f32, unscaled: `out` is [ids.length, d]. Every id is below V. */
  readRows(matrix: 'output' | 'input', ids: Uint32Array, out: Float32Array): void;
  /** Bytes of the output or the input matrix [V,d] from `offset` on, row by row in the type that it is held in. */
  readBytes(matrix: 'output' | 'input', offset: number, out: Uint8Array): void;
  /** Where another thread's backend finds the same matrices, for as long as any backend has them: structured-cloneable. */
  share(): { output: MatrixSource; input?: MatrixSource };
  /** Running jobs finish, queued ones reject with CLOSED, the memory goes last. Idempotent. */
  close(): void;
  /** Resolves when no job is running or queued. */
  idle(): Promise<void>;
}
