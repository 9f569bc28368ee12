/** The class that users hold: checked arguments in, one pass over the weights, results out. */
import { type InspectOptions, inspect } from 'node:util';

import { firstOf, newFloats, outputArray } from './arguments/arrays';
import { arrayType } from './arguments/describe';
import {
  type HeadSettings,
  headSettings,
  headSizes,
  memoryMatrices,
  specSettings,
} from './arguments/head-options';
import { hiddenRows } from './arguments/hidden';
import { idCount, tokenIds } from './arguments/ids';
import {
  ARGMAX_OPTIONS,
  CANDIDATES_OPTIONS,
  FROM_OPTIONS,
  LENS_OPTIONS,
  NEAREST_OPTIONS,
  NEXT_ALL_OPTIONS,
  optionsIfAny,
  QUANTIZE_OPTIONS,
  RUN_OPTIONS,
  readOptions,
  SAMPLE_OPTIONS,
  SCORE_OPTIONS,
  TOP_K_OPTIONS,
  VERIFY_DRAFT_OPTIONS,
  VERIFY_DRAFTS_OPTIONS,
} from './arguments/option-names';
import { refusePositionalLogProbs, refusePositionalMetric } from './arguments/positional';
import { liveSignal, oneOf } from './arguments/values';
import type { HeadBackend, HeadSpec } from './backend/backend';
import { chooseBackend, createHead } from './backend/choose';
import { untilAbort } from './backend/on-abort';
import { floats } from './dtypes/half';
import type { QuantizeTarget } from './dtypes/quantize';
import { ACTIVATIONS } from './dtypes/quantized-activations';
import type { Effective, EffectiveOfSampler, EffectiveRequest } from './effective';
import { LMHeadError } from './errors';
import { handleOf, partsOf } from './head/handle';
import { ListedPasses } from './head/listed-passes';
import { backendOfParts, filePath, type HeadParts, openHead, openHeadSync } from './head/open';
import { HeadPasses } from './head/passes';
import { compareLogits, quantizedSpec } from './head/quantize';
import { type SavedHead, saveHead, saveHeadSync } from './head/save';
import { asJson } from './pass/as-json';
import { ARGMAX, CANDIDATES, LOG_SUM_EXP, requested, SAMPLE, SCORE, TOP } from './pass/asked';
import { neighborsOf } from './pass/nearest';
import { answer, sampleOf, scoreOf, topOf } from './pass/results';
import { verdictOf } from './pass/verify-draft';
import { verifyAgainstReference } from './reference/verify';
import { Sampler } from './sampler';
import { innerOf, type Shard } from './shard/backend';
import { heldBy, refuseShard, specOfShard } from './shard/range';
import type {
  Activations,
  AsyncOptions,
  CallOptions,
  Candidates,
  Draft,
  DraftResult,
  Dtype,
  HeadOptions,
  Hidden,
  Ids,
  LensOptions,
  NearestOptions,
  Neighbours,
  NextAllOptions,
  OpenOptions,
  OutOption,
  QuantizationError,
  QuantizeOptions,
  RunRequest,
  RunResult,
  Sample,
  SampledToken,
  SampleOptions,
  SamplerOptions,
  Score,
  ScoreOptions,
  TopK,
  Verification,
  VerifyDraftOptions,
  Weight,
} from './types';

/** The constructor is for `from` and `open` alone. */
const token = Symbol('LMHead');

/** The backend of a head, for the modules of this package. @internal */
export let backendOf: (head: LMHead) => HeadBackend;

/**
 * The last layer of a language model: logits u = h·Eᵀ over a vocabulary, and what follows from them.
 *
 * Shapes: V = vocabSize, d = hiddenSize, n = hidden states in a call, k = how many to keep. All logs are natural. The same
 * number has the same bits whichever method returns it, whatever n is, and for any number of threads.
 *
 * Every method throws (or its promise rejects with) an LMHeadError: SHAPE for a wrong length, DTYPE for a wrong type of
 * number, RANGE for a number out of its range, ARGUMENT for a value of a wrong JavaScript type, CLOSED after `close()`,
 * MEMORY where results do not fit. A method that a caller gives `out` to throws BUSY while a pending call owns it. Methods
 * that return a promise copy the hidden states before they return, and take an AbortSignal (ABORTED). An error changes
 * nothing: the head works on.
 */
export class LMHead {
  readonly #passes: HeadPasses;
  readonly #listed: ListedPasses;
  readonly #backend: HeadBackend;
  readonly #vocabSize: number;
  readonly #hiddenSize: number;
  readonly #validVocabSize: number;
  readonly #dtype: Dtype;
  readonly #inputDtype: Dtype | undefined;
  readonly #inputRows: number;
  readonly #inputProblem: string | undefined;
  readonly #tied: boolean;
  readonly #parameterCount: number;
  readonly #settings: HeadSettings;
  readonly #shard: Shard | undefined;
  #handle: object | undefined;

  static {
    backendOf = head => head.#backend;
  }

  private constructor(parts: HeadParts, key: symbol) {
    if (key !== token) {
      throw new LMHeadError(
        'ARGUMENT',
        'new LMHead: heads are not made by new; want LMHead.from or LMHead.open',
      );
    }
    const { spec, settings, backend, shard } = parts;
    this.#shard = shard;
    this.#passes = new HeadPasses(parts);
    this.#listed = new ListedPasses(this.#passes, head => head.#passes);
    this.#backend = backend;
    this.#settings = settings;
    this.#vocabSize = spec.vocabSize;
    this.#hiddenSize = spec.hiddenSize;
    this.#validVocabSize = spec.epilogue.validVocabSize;
    this.#dtype = spec.output.dtype;
    this.#inputDtype = spec.input?.dtype;
    this.#inputRows = spec.inputRows ?? spec.vocabSize;
    this.#inputProblem = spec.inputProblem;
    this.#tied = spec.input === undefined && !spec.untied;
    this.#parameterCount = countParameters(shard ? specOfShard(spec, shard.range) : spec, settings);
  }

  /**
   * Opens a head over a file of weights: a .safetensors file or an index of several (model.safetensors.index.json), a .gguf
   * file, a .npy file of [V,d], or a model's folder.
   *
   * The output matrix is found by the names that architectures use, or is `options.tensor`; where there is another input
   * embedding the head is untied. Bias and final norm come from the file too; whether the head is tied, the norm's kind and
   * eps, scales, soft-cap and the size of the vocabulary from the config.json and tokenizer.json beside .safetensors, from a
   * GGUF file's metadata, or from what `save` has written. An option stands above what is read. The matrix is mapped and used
   * where it lies (`mmap: false` reads it); float64, big-endian and column-major numbers are converted.
   * @param path a path, or a file: URL
   * @returns rejects with IO (missing, unreadable, a folder without weights), FORMAT (malformed, or of a kind that is not read),
   *   TENSOR (no such tensor), DTYPE or SHAPE (a tensor of a wrong type or shape, or files that don't belong together), and as
   *   `from` does
   */
  static async open(path: string | URL, options?: OpenOptions): Promise<LMHead> {
    return new LMHead(await openHead(path, options), token);
  }

  /** As `open`, at once: the event loop waits. */
  static openSync(path: string | URL, options?: OpenOptions): LMHead {
    return new LMHead(openHeadSync(path, options), token);
  }

  /**
   * A head over weights in memory, which are copied (but see `options.copy`).
   * @param weight V·d numbers: E [V,d] row by row, or its transpose with `layout: 'dv'`; a Uint16Array needs `dtype`
   * @throws LMHeadError SHAPE, DTYPE, RANGE, ARGUMENT, MEMORY; LOAD where `backend: 'native'` has no binary; ISA
   */
  static from(weight: Weight, options: HeadOptions): LMHead {
    const own = readOptions(options, FROM_OPTIONS);
    const { vocabSize, hiddenSize } = headSizes(own.vocabSize, own.hiddenSize);
    const settings = headSettings(own, vocabSize, hiddenSize);
    const { output, input } = memoryMatrices(weight, own, vocabSize, hiddenSize);
    const spec: HeadSpec = { vocabSize, hiddenSize, output, input, ...specSettings(settings) };
    return new LMHead({ spec, settings, backend: createHead(chooseBackend(own.backend), spec) }, token);
  }

  /**
   * Another head over the same weights, in this or another worker thread: no byte of them is copied. It has all that the
   * first one was made with (norm, bias, threads…), and is closed on its own; the weights go with the last head over them.
   * @param handle what `handle` of an open head gave, as it came through postMessage, workerData or structuredClone
   * @throws LMHeadError ARGUMENT for anything else, and for the handle of another process; CLOSED where every head over the
   *   weights has been closed; LOAD where this thread cannot load the addon
   */
  static attach(handle: unknown): LMHead {
    return new LMHead(partsOf(handle), token);
  }

  /**
   * What `LMHead.attach` takes: structured-cloneable, and of a few hundred bytes beside bias and norm. It keeps nothing
   * alive, so keep a head open until others are attached.
   * @throws LMHeadError CLOSED
   */
  get handle(): unknown {
    this.#passes.requireOpen();
    const { vocabSize, hiddenSize } = this;
    const sizes = { vocabSize, hiddenSize, inputRows: this.#inputRows };
    this.#handle ??= handleOf(
      { ...sizes, untied: !this.#tied, inputProblem: this.#inputProblem, shard: this.#shard },
      this.#settings,
      this.#backend,
    );
    return this.#handle;
  }

  /** V: rows of E, padding included; of a shard, too, whose ids are those of the whole. */
  get vocabSize(): number {
    return this.#vocabSize;
  }

  /** Which part of the vocabulary it has, where it was opened with the option `shard`: ids from `firstId` to before `endId`. */
  get shard(): { index: number; count: number; firstId: number; endId: number } | undefined {
    if (!this.#shard) return undefined;
    const { index, count, begin, end } = this.#shard.range;
    return { index, count, firstId: begin, endId: end };
  }

  /** d: columns of E, the length of a hidden state. */
  get hiddenSize(): number {
    return this.#hiddenSize;
  }

  /** What the output matrix holds: 'f32', 'f16', 'bf16', or a quantized dtype. */
  get dtype(): Dtype {
    return this.#dtype;
  }

  /** What console.log shows. @hidden */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    const { vocabSize, hiddenSize, dtype, backend, tied, threads } = this;
    return `LMHead ${inspect({ vocabSize, hiddenSize, dtype, backend, tied, threads }, options)}`;
  }

  /** What JSON.stringify writes. */
  toJSON(): { vocabSize: number; hiddenSize: number; dtype: Dtype; backend: 'native' | 'reference' } {
    const { vocabSize, hiddenSize, dtype, backend } = this;
    return { vocabSize, hiddenSize, dtype, backend };
  }

  /** What hidden states are rounded to; see the option. */
  get activations(): Activations {
    return this.#settings.activations;
  }

  /** Does the output matrix serve as the input embedding too? */
  get tied(): boolean {
    return this.#tied;
  }

  /** Rows of the input embedding: V, but where it is another matrix, of as many rows as that has. */
  get inputVocabSize(): number {
    return this.#inputRows;
  }

  /** Numbers held: V·d, counted once where tied and twice where not, with the bias and the norm's vectors if there are any. */
  get parameterCount(): number {
    return this.#parameterCount;
  }

  /** Who computes: 'native', or 'reference' (plain TypeScript). */
  get backend(): 'native' | 'reference' {
    return this.#backend.kind;
  }

  /** Threads that a pass may use. */
  get threads(): number {
    return this.#backend.threads;
  }

  /**
   * Rows of the input embedding, times `embeddingScale`.
   * @param ids each below `inputVocabSize`
   * @param out at least ids.length·d numbers, apart from the memory of `ids`; returned itself
   * @returns [ids.length, d]
   * @throws LMHeadError RANGE for an id that is none (naming its index), and as every method does
   */
  embed(ids: Ids, out?: Float32Array): Float32Array {
    this.#passes.requireOpen();
    if (!this.#tied && this.#inputDtype === undefined) {
      throw new LMHeadError(
        'TENSOR',
        `inputEmbedding: got a head that is not tied, without its input embedding${because(this.#inputProblem)}; want the option inputEmbedding, or a file that has it`,
      );
    }
    const d = this.#hiddenSize;
    const count = idCount(ids, 'ids');
    const wanted = tokenIds(ids, 'ids', count, this.#inputRows);
    let result: Float32Array;
    if (out === undefined) {
      result = newFloats(count * d, 'embed');
    } else {
      result = outputArray(out, count * d, arrayType(ids) ? (ids as Uint32Array) : undefined, 'ids');
      this.#passes.requireWritable(result);
    }
    this.#passes.requireOpen(); // still: a list may run code when it is read
    if (count === 0) return result;
    const rows = firstOf(result, count * d);
    this.#backend.readRows(this.#tied ? 'output' : 'input', wanted, rows);
    const { embeddingScale } = this.#settings;
    if (embeddingScale !== 1) {
      for (let i = 0; i < rows.length; i++) rows[i] *= embeddingScale;
    }
    return result;
  }

  /**
   * Any set of results from one pass over E; the other methods are shorthands.
   * @param hidden n·d numbers
   * @param request what to return, and how; temperature 0 only where a sample is the one distribution asked for
   * @returns what was asked for, and logSumExp [n], of logits over temperature
   */
  async run<const R extends RunRequest & AsyncOptions & EffectiveRequest<R, RunRequest & AsyncOptions>>(
    hidden: Hidden,
    request: R,
  ): Promise<RunResult<R>> {
    this.#passes.requireOpen();
    const own: RunRequest & AsyncOptions = readOptions(request, RUN_OPTIONS.async, 'request');
    const asked = requested(own);
    const job = this.#passes.runJob(asked, hidden, own);
    await this.#passes.compute(job, own);
    return answer(asked, job) as RunResult<R>;
  }

  /** As `run`, at once: the event loop waits. */
  runSync<const R extends RunRequest & EffectiveRequest<R, RunRequest>>(
    hidden: Hidden,
    request: R,
  ): RunResult<R> {
    this.#passes.requireOpen();
    const own: RunRequest = readOptions(request, RUN_OPTIONS.sync, 'request');
    const asked = requested(own);
    const job = this.#passes.runJob(asked, hidden, own);
    this.#passes.computeSync(job);
    return answer(asked, job) as RunResult<R>;
  }

  /**
   * Raw logits: scaled, biased and capped as the model's are, never divided by a temperature (one is taken, and does nothing).
   * @returns [n,V]; −∞ at and beyond validVocabSize
   */
  async logits(hidden: Hidden, options?: CallOptions & OutOption & AsyncOptions): Promise<Float32Array> {
    return this.#passes.wide('logits', hidden, options);
  }

  /** As `logits`, at once: the event loop waits. */
  logitsSync(hidden: Hidden, options?: CallOptions & OutOption): Float32Array {
    return this.#passes.wideSync('logits', hidden, options);
  }

  /**
   * Log-softmax of logits over temperature.
   * @returns [n,V]; −∞ at and beyond validVocabSize. A row with NaN or +∞, or of nothing but −∞, has NaN
   */
  async logProbs(hidden: Hidden, options?: CallOptions & OutOption & AsyncOptions): Promise<Float32Array> {
    return this.#passes.wide('logProbs', hidden, options);
  }

  /** As `logProbs`, at once: the event loop waits. */
  logProbsSync(hidden: Hidden, options?: CallOptions & OutOption): Float32Array {
    return this.#passes.wideSync('logProbs', hidden, options);
  }

  /**
   * Softmax of logits over temperature.
   * @returns [n,V]; each row adds up to 1
   */
  async probs(hidden: Hidden, options?: CallOptions & OutOption & AsyncOptions): Promise<Float32Array> {
    return this.#passes.wide('probs', hidden, options);
  }

  /** As `probs`, at once: the event loop waits. */
  probsSync(hidden: Hidden, options?: CallOptions & OutOption): Float32Array {
    return this.#passes.wideSync('probs', hidden, options);
  }

  /**
   * The k best ids of each row, best first, equal logits by lower id.
   * @param k from 1 to validVocabSize
   * @returns ids, raw logits and logProbs (under the whole vocabulary, over temperature), [n,k] each; logSumExp [n]
   * @throws LMHeadError NAN where a row has NaN, and as every method does
   */
  async topK(hidden: Hidden, k: number, options?: CallOptions & AsyncOptions): Promise<TopK> {
    this.#passes.requireOpen();
    const own = optionsIfAny(options, TOP_K_OPTIONS.async);
    const job = this.#passes.prepare(TOP | LOG_SUM_EXP, this.#passes.rows(hidden, own), own, k);
    await this.#passes.compute(job, own);
    return topOf(job);
  }

  /** As `topK`, at once: the event loop waits. */
  topKSync(hidden: Hidden, k: number, options?: CallOptions): TopK {
    this.#passes.requireOpen();
    const own = optionsIfAny(options, TOP_K_OPTIONS.sync);
    const job = this.#passes.prepare(TOP | LOG_SUM_EXP, this.#passes.rows(hidden, own), own, k);
    this.#passes.computeSync(job);
    return topOf(job);
  }

  /**
   * The best id of each row, the lowest of equals, at any temperature.
   * @returns [n]
   * @throws LMHeadError NAN where a row has NaN, and as every method does
   */
  async argmax(hidden: Hidden, options?: CallOptions & AsyncOptions): Promise<Uint32Array> {
    this.#passes.requireOpen();
    const own = optionsIfAny(options, ARGMAX_OPTIONS.async);
    const job = this.#passes.prepare(ARGMAX, this.#passes.rows(hidden, own), own);
    await this.#passes.compute(job, own);
    return job.argmax!;
  }

  /** As `argmax`, at once: the event loop waits. */
  argmaxSync(hidden: Hidden, options?: CallOptions): Uint32Array {
    this.#passes.requireOpen();
    const own = optionsIfAny(options, ARGMAX_OPTIONS.sync);
    const job = this.#passes.prepare(ARGMAX, this.#passes.rows(hidden, own), own);
    this.#passes.computeSync(job);
    return job.argmax!;
  }

  /**
   * Draws a token per row: single logits change, stages filter, and a token is drawn of what is left, as SampleOptions tells
   * (temperature 0 takes the likeliest). The same seed, step, stream and options draw the same token.
   * @returns ids [n]; logProbs [n] under the distribution that was sampled; with `topLogProbs` also what is likeliest, raw and
   *   as sampled
   * @throws LMHeadError NAN where a row has NaN, and as every method does
   */
  async sample<const O extends SampleOptions & AsyncOptions & Effective<O, SampleOptions & AsyncOptions>>(
    hidden: Hidden,
    options?: O,
  ): Promise<Sample> {
    this.#passes.requireOpen();
    const own = optionsIfAny(options, SAMPLE_OPTIONS.async);
    const job = this.#passes.prepare(SAMPLE, this.#passes.rows(hidden, own), own);
    await this.#passes.compute(job, own);
    return sampleOf(job);
  }

  /** As `sample`, at once: the event loop waits. */
  sampleSync<const O extends SampleOptions & Effective<O, SampleOptions>>(
    hidden: Hidden,
    options?: O,
  ): Sample {
    this.#passes.requireOpen();
    const own = optionsIfAny(options, SAMPLE_OPTIONS.sync);
    const job = this.#passes.prepare(SAMPLE, this.#passes.rows(hidden, own), own);
    this.#passes.computeSync(job);
    return sampleOf(job);
  }

  /**
   * A sampler: draws token after token, with a history for penalties, a random stream, and mirostat.
   * @throws LMHeadError RANGE, ARGUMENT for options that are none
   */
  sampler<const O extends SamplerOptions & EffectiveOfSampler<O, SamplerOptions>>(options?: O): Sampler {
    this.#passes.requireOpen();
    if (this.#shard) throw refuseShard('sampler', 'the whole head, or sample and mergeSamples');
    return new Sampler(this, this.#validVocabSize, options);
  }

  /**
   * A token for each of several samplers, in one pass (64 hidden states, or 32 MB of held logits, at a time): each draws from its own
   * hidden state, with its own options, history and random stream, the token that its `next` would. The samplers may be of other
   * heads over the same weights, each of which has its own scale, bias, cap and norm.
   * @param samplers each there once
   * @param hidden [samplers.length, d]
   * @returns in the order of the samplers. An error (which names the sampler by its place, a row of logits likewise) leaves the
   *   state of all as it was
   * @throws LMHeadError BUSY where a promise of one of them is pending, and as `next` does
   */
  async nextAll(
    samplers: readonly Sampler[],
    hidden: Hidden,
    options?: NextAllOptions & AsyncOptions,
  ): Promise<SampledToken[]> {
    this.#passes.requireOpen();
    return this.#listed.nextAll(samplers, hidden, optionsIfAny(options, NEXT_ALL_OPTIONS.async));
  }

  /** As `nextAll`, at once: the event loop waits. */
  nextAllSync(samplers: readonly Sampler[], hidden: Hidden, options?: NextAllOptions): SampledToken[] {
    this.#passes.requireOpen();
    return this.#listed.nextAllSync(samplers, hidden, optionsIfAny(options, NEXT_ALL_OPTIONS.sync));
  }

  /**
   * What `sample` draws from: the ids that the filters leave, and their probabilities.
   * @param options as sample's, so that the same object serves both; topLogProbs has no effect here, and seed, step and stream have one
   *   on XTC alone. Temperature 0 leaves the likeliest token alone
   * @returns row i is [offsets[i], offsets[i+1]): ids, best first, and their renormalized probabilities; offsets [n+1]
   * @throws LMHeadError NAN where a row has NaN, and as every method does
   */
  async candidates<const O extends SampleOptions & AsyncOptions & Effective<O, SampleOptions & AsyncOptions>>(
    hidden: Hidden,
    options?: O,
  ): Promise<Candidates> {
    this.#passes.requireOpen();
    const own = optionsIfAny(options, CANDIDATES_OPTIONS.async);
    const job = this.#passes.prepare(CANDIDATES, this.#passes.rows(hidden, own), own);
    await this.#passes.compute(job, own);
    return asJson(job.candidates!);
  }

  /** As `candidates`, at once: the event loop waits. */
  candidatesSync<const O extends SampleOptions & Effective<O, SampleOptions>>(
    hidden: Hidden,
    options?: O,
  ): Candidates {
    this.#passes.requireOpen();
    const own = optionsIfAny(options, CANDIDATES_OPTIONS.sync);
    const job = this.#passes.prepare(CANDIDATES, this.#passes.rows(hidden, own), own);
    this.#passes.computeSync(job);
    return asJson(job.candidates!);
  }

  /**
   * How likely given tokens are, in memory that does not grow with V.
   * @param targets n ids below validVocabSize, one per hidden state, or `ignoreIndex`
   * @returns logProbs, ranks and (if asked) entropy, [n] each; count; nll in nats per counted token; perplexity = e^nll
   */
  async score(hidden: Hidden, targets: Ids, options?: ScoreOptions & AsyncOptions): Promise<Score> {
    this.#passes.requireOpen();
    const own = optionsIfAny(options, SCORE_OPTIONS.async);
    const job = this.#passes.prepare(SCORE, this.#passes.rows(hidden, own), own, 0, targets);
    await this.#passes.compute(job, own);
    return scoreOf(job);
  }

  /** As `score`, at once: the event loop waits. */
  scoreSync(hidden: Hidden, targets: Ids, options?: ScoreOptions): Score {
    this.#passes.requireOpen();
    const own = optionsIfAny(options, SCORE_OPTIONS.sync);
    const job = this.#passes.prepare(SCORE, this.#passes.rows(hidden, own), own, 0, targets);
    this.#passes.computeSync(job);
    return scoreOf(job);
  }

  /**
   * Logit lens: what the head would say of hidden states from the middle of the model. The final norm is applied to each, then
   * the k best are taken, as by `topK` with `norm: true`. (nostalgebraist, "interpreting GPT: the logit lens", 2020.)
   * @param hidden [layers, d], before the final norm; where a runtime has already normalized the last layer's state, use `topK`
   *   for that one
   * @returns as `topK`, a row per layer
   * @throws LMHeadError RANGE for a head made without a norm, and as every method does
   */
  async lens(hidden: Hidden, k: number, options?: LensOptions & AsyncOptions): Promise<TopK> {
    this.#passes.requireOpen();
    const own = optionsIfAny(options, LENS_OPTIONS.async);
    return this.topK(hidden, k, { ...own, norm: true });
  }

  /** As `lens`, at once: the event loop waits. */
  lensSync(hidden: Hidden, k: number, options?: LensOptions): TopK {
    this.#passes.requireOpen();
    const own = optionsIfAny(options, LENS_OPTIONS.sync);
    return this.topKSync(hidden, k, { ...own, norm: true });
  }

  /**
   * The k ids whose rows of E are most like a vector: E as an index to search. The similarity is the logit without bias, scale
   * and cap: the dot product, or the cosine of the angle, which asks for the lengths of all rows (read once, at the first call).
   * A row or vector of zeros has cosine 0 with everything.
   * @param idOrVector d numbers; or an id, for its row of the output matrix, which is then among the answers itself
   * @param k from 1 to validVocabSize (or as many as there are `rows`)
   * @param options `metric`, which is 'dot' (default) or 'cosine', and the `rows` to search among
   * @throws LMHeadError NAN where a similarity is NaN, and as every method does
   */
  nearest(
    idOrVector: number | bigint | Hidden,
    k: number,
    options?: NearestOptions & AsyncOptions,
  ): Promise<Neighbours>;
  async nearest(
    idOrVector: number | bigint | Hidden,
    k: number,
    options?: NearestOptions & AsyncOptions,
    ...more: unknown[]
  ): Promise<Neighbours> {
    this.#passes.requireOpen();
    refusePositionalMetric(options, more);
    const own = optionsIfAny(options, NEAREST_OPTIONS.async);
    const job = this.#passes.nearestJob(idOrVector, k, own);
    await this.#passes.compute(job, own);
    return neighborsOf(job);
  }

  /** As `nearest`, at once: the event loop waits. */
  nearestSync(idOrVector: number | bigint | Hidden, k: number, options?: NearestOptions): Neighbours;
  nearestSync(
    idOrVector: number | bigint | Hidden,
    k: number,
    options?: NearestOptions,
    ...more: unknown[]
  ): Neighbours {
    this.#passes.requireOpen();
    refusePositionalMetric(options, more);
    const job = this.#passes.nearestJob(idOrVector, k, optionsIfAny(options, NEAREST_OPTIONS.sync));
    this.#passes.computeSync(job);
    return neighborsOf(job);
  }

  /**
   * Speculative verification: holds the tokens that a faster model has drafted against this head, one hidden state per
   * token (that at the position before it), and draws the token after the last one that stands. Every token has exactly the
   * distribution that `sample` with these options draws from, whatever the draft's was; at temperature 0 a token stands
   * where it is the likeliest. Leviathan et al., "Fast inference from transformers via speculative decoding" (2023).
   * @param hidden n·d numbers: one hidden state per draft id, and one more if all of the draft standing is to bring a
   *   bonus token
   * @param draftIds n − 1 or n ids below V
   * @param options as for `sample`, and `draftLogProbs`: what each draft id was drawn from. Row i uses step + i, in streams of its own.
   *   One history is that before the first row: each row has the draft's ids before it, too. A draft id that is not among `rows` is
   *   rejected
   * @throws LMHeadError NAN where a row that counts has NaN, and as every method does
   */
  verifyDraft<
    const O extends VerifyDraftOptions & AsyncOptions & Effective<O, VerifyDraftOptions & AsyncOptions>,
  >(hidden: Hidden, draftIds: Ids, options?: O): Promise<DraftResult>;
  async verifyDraft(
    hidden: Hidden,
    draftIds: Ids,
    options?: VerifyDraftOptions & AsyncOptions,
    ...more: unknown[]
  ): Promise<DraftResult> {
    this.#passes.requireOpen();
    refusePositionalLogProbs(options, more);
    const own = optionsIfAny(options, VERIFY_DRAFT_OPTIONS.async);
    const job = this.#passes.draftJob(hidden, draftIds, own, true);
    await this.#passes.compute(job, own);
    return verdictOf(job.draft!, job.n);
  }

  /** As `verifyDraft`, at once: the event loop waits. */
  verifyDraftSync<const O extends VerifyDraftOptions & Effective<O, VerifyDraftOptions>>(
    hidden: Hidden,
    draftIds: Ids,
    options?: O,
  ): DraftResult;
  verifyDraftSync(
    hidden: Hidden,
    draftIds: Ids,
    options?: VerifyDraftOptions,
    ...more: unknown[]
  ): DraftResult {
    this.#passes.requireOpen();
    refusePositionalLogProbs(options, more);
    const own = optionsIfAny(options, VERIFY_DRAFT_OPTIONS.sync);
    const job = this.#passes.draftJob(hidden, draftIds, own, false);
    this.#passes.computeSync(job);
    return verdictOf(job.draft!, job.n);
  }

  /**
   * Several drafts, of whatever lengths, verified in one pass (64 hidden states, or 32 MB of held logits, at a time): each as by
   * `verifyDraft`, or as by its sampler's `verify`. The samplers may be of other heads over the same weights.
   * @returns in the order of the drafts. An error (which names the draft by its place) leaves the state of all samplers as it was
   */
  async verifyDrafts(drafts: readonly Draft[], options?: AsyncOptions): Promise<DraftResult[]> {
    this.#passes.requireOpen();
    return this.#listed.verifyDrafts(drafts, optionsIfAny(options, VERIFY_DRAFTS_OPTIONS));
  }

  /** As `verifyDrafts`, at once: the event loop waits. */
  verifyDraftsSync(drafts: readonly Draft[]): DraftResult[] {
    this.#passes.requireOpen();
    return this.#listed.verifyDraftsSync(drafts);
  }

  /**
   * Computes the logits of these hidden states twice, here and by the float64 reference over the same weights, and compares.
   * @param hidden n·d numbers; a bare Uint16Array cannot say what it holds, so pass a tensor {data, type, dims} instead
   */
  async verify(hidden: Hidden): Promise<Verification> {
    this.#passes.requireOpen();
    const { data, dtype, n } = hiddenRows(hidden, this.#hiddenSize, undefined);
    this.#passes.requireOpen();
    const { vocabSize, hiddenSize, epilogue } = this.#held();
    const info = { vocabSize, hiddenSize, epilogue, activations: this.activations };
    return verifyAgainstReference(innerOf(this.#backend), info, floats(data, dtype).slice(), n);
  }

  /**
   * Writes the head as a .safetensors file that `open` makes the same head of: weights in the type that they are held in, bias
   * and final norm, and in the metadata whatever else it was made with. It is written beside `path` and takes that name, and
   * the place of a file that had it, when all of it is on the disk. The mode of that file is kept, and its owner where that
   * may be; of a symbolic link what it leads to is replaced.
   * @param path a path, or a file: URL
   * @returns rejects with IO where it cannot be written, or where something is that is no regular file
   */
  async save(path: string | URL): Promise<void> {
    this.#passes.requireOpen();
    const file = filePath(path);
    this.#passes.requireOpen();
    await saveHead(file, this.#saved());
  }

  /** As `save`, at once: the event loop waits. */
  saveSync(path: string | URL): void {
    this.#passes.requireOpen();
    const file = filePath(path);
    this.#passes.requireOpen();
    saveHeadSync(file, this.#saved());
  }

  #saved(): SavedHead {
    if (this.#shard) throw refuseShard('save', 'the whole head');
    return {
      vocabSize: this.#vocabSize,
      hiddenSize: this.#hiddenSize,
      inputRows: this.#inputRows,
      output: this.#dtype,
      input: this.#inputDtype,
      tied: this.#tied,
      settings: this.#settings,
      backend: this.#backend,
    };
  }

  /**
   * Makes another head whose output matrix is quantized, and measures what that changes; this one stays as it is. Everything
   * else is the same, an input embedding of its own included. The native backend quantizes on its threads, while the event
   * loop and other calls run. docs/quantization.md says what to expect.
   * @param dtype 'i8': int8 with a scale per row, for any d. 'q8_0': int8 with a scale per 32 numbers, d a multiple of 32;
   *   better where single numbers of a row are much larger than the others
   * @returns the new head, to be closed by itself, and its error; that of the logits if `hidden` is given. Rejects with RANGE
   *   for a dtype that heads are not quantized to, and for weights that are not finite; with SHAPE where d is no multiple
   */
  async quantize(
    dtype: 'i8' | 'q8_0',
    options: QuantizeOptions & AsyncOptions = {},
  ): Promise<{ head: LMHead; error: QuantizationError }> {
    this.#passes.requireOpen();
    const target = oneOf<QuantizeTarget>(dtype, 'dtype', ['i8', 'q8_0']);
    const own = readOptions(options, QUANTIZE_OPTIONS);
    let hidden: Float32Array | undefined;
    if (own.hidden !== undefined) {
      const { data, dtype } = hiddenRows(own.hidden, this.#hiddenSize, own.hiddenDtype);
      hidden = floats(data, dtype).slice();
    }
    const activations = oneOf(own.activations, 'activations', ACTIVATIONS);
    const signal = liveSignal(own.signal);
    this.#passes.requireOpen();
    if (!signal) return this.#quantized(target, activations, hidden);
    const stop = new AbortController();
    return untilAbort(
      signal,
      () => this.#quantized(target, activations, hidden, stop.signal),
      error => stop.abort(error),
    );
  }

  async #quantized(
    dtype: QuantizeTarget,
    activations: Activations,
    hidden?: Float32Array,
    signal?: AbortSignal,
  ): Promise<{ head: LMHead; error: QuantizationError }> {
    const settings = { ...this.#settings, activations };
    const backend = innerOf(this.#backend);
    const { spec: held, weights } = await quantizedSpec(
      {
        backend,
        spec: this.#held(settings),
        inputDtype: this.#inputDtype,
        requireOpen: () => this.#passes.requireOpen(),
      },
      dtype,
      signal,
    );
    const shard = this.#shard && { ...this.#shard, origin: { ...this.#shard.origin, quantized: dtype } };
    const spec = shard ? { ...this.#spec(settings), output: held.output, input: held.input } : held;
    const parts = { spec, settings, shard };
    const head = new LMHead({ ...parts, backend: backendOfParts(backend.kind, parts) }, token);
    const error: QuantizationError = { weights };
    try {
      if (hidden) error.logits = await compareLogits(backend, innerOf(head.#backend), held, hidden, signal);
    } catch (failure) {
      head.close();
      throw failure;
    }
    return { head, error };
  }

  /** What it is made of, but for the matrices. */
  #spec(settings = this.#settings): Omit<HeadSpec, 'output' | 'input'> {
    return {
      vocabSize: this.#vocabSize,
      hiddenSize: this.#hiddenSize,
      untied: !this.#tied,
      inputRows: this.#inputRows,
      inputProblem: this.#inputProblem,
      ...specSettings(settings),
    };
  }

  /** The same of the rows that it holds. */
  #held(settings = this.#settings): Omit<HeadSpec, 'output' | 'input'> {
    const spec = this.#spec(settings);
    return this.#shard ? heldBy(spec, this.#shard.range) : spec;
  }

  /** New calls throw CLOSED; running jobs finish; queued ones reject with CLOSED; the memory goes last. Idempotent. */
  close(): void {
    this.#passes.close();
  }

  /** As `close()`: for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** As `close()`, and resolves when the last job has ended: for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.#backend.idle();
  }
}

function countParameters(spec: HeadSpec, { epilogue, norm }: HeadSettings): number {
  const { vocabSize, hiddenSize, input, inputRows = vocabSize } = spec;
  const matrices = (input ? vocabSize + inputRows : vocabSize) * hiddenSize;
  const vectors = (epilogue.bias?.length ?? 0) + (norm?.weight.length ?? 0) + (norm?.bias?.length ?? 0);
  return matrices + vectors;
}

function because(problem: string | undefined): string {
  return problem === undefined ? '' : ` (${problem})`;
}
