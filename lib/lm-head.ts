/** The class that users hold: how heads are made, what reads or writes their weights, and calls for several samplers. */
import { firstOf, newFloats, outputArray } from './arguments/arrays';
import { arrayType, because } from './arguments/describe';
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
  FROM_OPTIONS,
  NEXT_ALL_OPTIONS,
  optionsIfAny,
  QUANTIZE_OPTIONS,
  readOptions,
  VERIFY_DRAFTS_OPTIONS,
} from './arguments/option-names';
import { flag, liveSignal, oneOf } from './arguments/values';
import type { HeadSpec } from './backend/backend';
import { chooseBackend, createHead } from './backend/choose';
import { untilAbort } from './backend/on-abort';
import { floats } from './dtypes/half';
import type { QuantizeTarget } from './dtypes/quantize';
import { ACTIVATIONS } from './dtypes/quantized-activations';
import type { Groups } from './dtypes/row-format';
import { LMHeadError } from './errors';
import { DrawingMethods } from './head/drawing-methods';
import { type HeadFacts, handleOf, partsOf } from './head/handle';
import { backendOfPartsAsync } from './head/head-backend';
import { constructorKey, passesOf } from './head/head-properties';
import { ListedPasses } from './head/listed-passes';
import { filePath, type HeadParts, openHead, openHeadSync } from './head/open';
import type { HeadPasses } from './head/passes';
import { differences, quantizedSpec } from './head/quantize';
import { type SavedHead, saveHead, saveHeadSync } from './head/save';
import { verifyAgainstReference } from './reference/verify';
import { Sampler } from './sampler';
import { innerOf } from './shard/backend';
import { heldBy, refuseShard } from './shard/range';
import type {
  AsyncOptions,
  Draft,
  DraftResult,
  DrawnToken,
  Dtype,
  HeadOptions,
  Hidden,
  Ids,
  LogProbsOption,
  NextAllOptions,
  NextTokens,
  OpenOptions,
  QuantizationError,
  QuantizeOptions,
  SampledToken,
  SampledTokenOf,
  SamplerOptions,
  Verification,
  Weight,
} from './types';
import type { EffectiveOfSampler } from './types/effective';

type SamplerCall = SamplerOptions & LogProbsOption;

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
export class LMHead extends DrawingMethods {
  readonly #passes: HeadPasses;
  readonly #listed: ListedPasses;
  readonly #validVocabSize: number;
  readonly #dtypes: { output: Dtype; input: Dtype | undefined };
  /** How matrices of a grouped dtype are. */
  readonly #groups: { output?: Groups; input?: Groups };
  /** What other heads over the same weights are made with, beside the settings. */
  readonly #facts: HeadFacts;
  #handle: object | undefined;

  private constructor(parts: HeadParts, key: symbol) {
    super(parts, key);
    const { vocabSize, hiddenSize, inputRows = vocabSize, ...rest } = parts.spec;
    const { untied, inputProblem, normProblem, ...spec } = rest;
    this.#passes = passesOf(this);
    this.#listed = new ListedPasses(this.#passes);
    this.#validVocabSize = spec.epilogue.validVocabSize;
    this.#dtypes = { output: spec.output.dtype, input: spec.input?.dtype };
    this.#groups = { output: spec.output.groups, input: spec.input?.groups };
    const tied = spec.input === undefined && !untied;
    const { shard } = parts;
    this.#facts = { vocabSize, hiddenSize, inputRows, untied: !tied, inputProblem, normProblem, shard };
  }

  /**
   * Opens a head over a file of weights: a .safetensors file or an index of several (model.safetensors.index.json), a .gguf
   * file, a .npy file of [V,d], an .onnx decoder with its head, or a model's folder.
   *
   * The output matrix is found by the names that architectures use, or is `options.tensor`; where there is another input
   * embedding the head is untied. Bias and final norm come from the file too; whether the head is tied, the norm's kind and
   * eps, scales, soft-cap and the size of the vocabulary from the config.json and tokenizer.json beside .safetensors, from a
   * GGUF file's metadata, or from what `save` has written. An option takes precedence over what is read. The matrix is mapped
   * and used in place (`mmap: false` reads it); float64, big-endian and column-major values are converted.
   * @param path a path, or a file: URL
   * @param options what the file does not say, or what takes precedence over it; `signal`
   * @returns rejects with IO (missing, unreadable, a folder without weights), FORMAT (malformed, or of a kind that is not read), TENSOR
   *   (no such tensor), DTYPE or SHAPE (of a wrong type or shape, or files that don't belong together), ABORTED, and as `from` does
   */
  static async open(path: string | URL, options?: OpenOptions): Promise<LMHead> {
    return new LMHead(await openHead(path, options), constructorKey);
  }

  /**
   * `open` without a promise: blocks the event loop.
   * @param path a path, or a file: URL
   * @param options what the file does not say, or what takes precedence over it
   * @throws LMHeadError IO, FORMAT, TENSOR, DTYPE, SHAPE, RANGE, ARGUMENT, MEMORY; LOAD where `backend: 'native'` has no binary; ISA
   */
  static openSync(path: string | URL, options?: OpenOptions): LMHead {
    return new LMHead(openHeadSync(path, options), constructorKey);
  }

  /**
   * A head over weights in memory, which are copied (but see `options.copy`).
   * @param weight V·d elements: E [V,d] row by row, or its transpose with `layout: 'dv'`; a Uint16Array needs `dtype`
   * @param options `vocabSize` and `hiddenSize`, and whatever else the head is made with
   * @throws LMHeadError SHAPE, DTYPE, RANGE, ARGUMENT, MEMORY; LOAD where `backend: 'native'` has no binary; ISA
   */
  static from(weight: Weight, options: HeadOptions): LMHead {
    const own = readOptions(options, FROM_OPTIONS);
    const { vocabSize, hiddenSize } = headSizes(own.vocabSize, own.hiddenSize);
    const settings = headSettings(own, vocabSize, hiddenSize);
    const { output, input } = memoryMatrices(weight, own, vocabSize, hiddenSize);
    const spec: HeadSpec = { vocabSize, hiddenSize, output, input, ...specSettings(settings) };
    return new LMHead(
      { spec, settings, backend: createHead(chooseBackend(own.backend), spec) },
      constructorKey,
    );
  }

  /**
   * Another head over the same weights, in this or another worker thread: no byte of them is copied. It has all that the
   * first one was made with (norm, bias, threads…), and is closed on its own; the weights go with the last head over them.
   * @param handle what `handle` of an open head gave, as it came through postMessage, workerData or structuredClone
   * @throws LMHeadError ARGUMENT for anything else, and for the handle of another process; CLOSED where every head over the
   *   weights has been closed; LOAD where this thread cannot load the addon
   */
  static attach(handle: unknown): LMHead {
    return new LMHead(partsOf(handle), constructorKey);
  }

  /**
   * What `LMHead.attach` takes: structured-cloneable, and of a few hundred bytes beside bias and norm. It keeps nothing
   * alive, so keep a head open until others are attached.
   * @throws LMHeadError CLOSED
   */
  get handle(): unknown {
    this.#passes.requireOpen();
    const { settings, backend } = this.#passes;
    this.#handle ??= handleOf(this.#facts, settings, backend);
    return this.#handle;
  }

  /**
   * Rows of the input embedding, times `embeddingScale`.
   * @param ids each below `inputVocabSize`
   * @param out at least ids.length·d elements, apart from the memory of `ids`; returned itself
   * @returns [ids.length, d]
   * @throws LMHeadError RANGE for an id that is none (naming its index), and as every method does
   */
  embed(ids: Ids, out?: Float32Array): Float32Array {
    this.#passes.requireOpen();
    const { hiddenSize: d, inputRows, untied, inputProblem } = this.#facts;
    if (untied && this.#dtypes.input === undefined) {
      throw new LMHeadError(
        'TENSOR',
        `inputEmbedding: got a head that is not tied, without its input embedding${because(inputProblem)}; want the option inputEmbedding, or a file that has it`,
      );
    }
    const count = idCount(ids, 'ids');
    const wanted = tokenIds(ids, 'ids', count, inputRows);
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
    this.#passes.backend.readRows(untied ? 'input' : 'output', wanted, rows);
    const { embeddingScale } = this.#passes.settings;
    if (embeddingScale !== 1) {
      for (let i = 0; i < rows.length; i++) rows[i] *= embeddingScale;
    }
    return result;
  }

  /**
   * A sampler: draws token after token, with a history for penalties, a random stream, and mirostat.
   * @param options as of `sample`, for all its tokens; `mirostat`, `logits`
   * @throws LMHeadError RANGE, ARGUMENT for options that are none
   */
  sampler<const O extends SamplerCall & EffectiveOfSampler<O, SamplerCall> = SamplerOptions>(
    options?: O,
  ): Sampler<SampledTokenOf<O>> {
    this.#passes.requireOpen();
    if (this.#facts.shard) throw refuseShard('sampler', 'the whole head, or sample and mergeSamples');
    return new Sampler(this, this.#validVocabSize, options);
  }

  /**
   * A token for each of several samplers, in one pass (64 hidden states, or 32 MB of materialized logits, at a time): each draws from its own
   * hidden state, with its own options, history and random stream, the token that its `next` would. The samplers may be of other
   * heads over the same weights, each of which has its own scale, bias, cap and norm.
   * @param samplers each there once
   * @param hidden [samplers.length, d]
   * @param options `each`: those of each sampler’s `next`; `signal`
   * @returns in the order of the samplers. An error (which names the sampler by its index, a row of logits likewise) leaves the
   *   state of all as it was
   * @throws LMHeadError BUSY where a promise of one of them is pending, and as `next` does
   */
  async nextAll<Token extends DrawnToken = SampledToken>(
    samplers: readonly Sampler<Token>[],
    hidden: Hidden,
    options?: NextAllOptions & AsyncOptions,
  ): Promise<NextTokens<Token>> {
    this.#passes.requireOpen();
    return this.#listed.nextAll(samplers, hidden, optionsIfAny(options, NEXT_ALL_OPTIONS.async));
  }

  /**
   * `nextAll` without a promise: blocks the event loop.
   * @param samplers each there once
   * @param hidden [samplers.length, d]
   * @param options `each`: those of each sampler’s `next`
   * @returns in the order of the samplers
   * @throws LMHeadError BUSY where a promise of one of them is pending; NAN where a row has NaN; SHAPE, DTYPE, RANGE, ARGUMENT, CLOSED, MEMORY
   */
  nextAllSync<Token extends DrawnToken = SampledToken>(
    samplers: readonly Sampler<Token>[],
    hidden: Hidden,
    options?: NextAllOptions,
  ): NextTokens<Token> {
    this.#passes.requireOpen();
    return this.#listed.nextAllSync(samplers, hidden, optionsIfAny(options, NEXT_ALL_OPTIONS.sync));
  }

  /**
   * Several drafts, of whatever lengths, verified in one pass (64 hidden states, or 32 MB of materialized logits, at a time): each as by
   * `verifyDraft`, or as by its sampler's `verify`. The samplers may be of other heads over the same weights.
   * @param drafts each with its hidden states, ids, and options or sampler
   * @param options `signal`
   * @returns in the order of the drafts. An error (which names the draft by its index) leaves the state of all samplers as it was
   */
  async verifyDrafts(drafts: readonly Draft[], options?: AsyncOptions): Promise<DraftResult[]> {
    this.#passes.requireOpen();
    return this.#listed.verifyDrafts(drafts, optionsIfAny(options, VERIFY_DRAFTS_OPTIONS));
  }

  /**
   * `verifyDrafts` without a promise: blocks the event loop.
   * @param drafts each with its hidden states, ids, and options or sampler
   * @returns in the order of the drafts
   * @throws LMHeadError BUSY where a promise of a sampler is pending; NAN where a row that counts has NaN; SHAPE, DTYPE, RANGE, ARGUMENT, CLOSED, MEMORY
   */
  verifyDraftsSync(drafts: readonly Draft[]): DraftResult[] {
    this.#passes.requireOpen();
    return this.#listed.verifyDraftsSync(drafts);
  }

  /**
   * Computes the logits of these hidden states twice, here and by the float64 reference over the same weights, and compares.
   * @param hidden n·d elements; a bare Uint16Array cannot say what it holds, so pass a tensor {data, type, dims} instead
   */
  async verify(hidden: Hidden): Promise<Verification> {
    this.#passes.requireOpen();
    const { data, dtype, n } = hiddenRows(hidden, this.#facts.hiddenSize, undefined);
    this.#passes.requireOpen();
    const { backend, settings } = this.#passes;
    const head = { ...settings, ...this.#held(settings), dtype: this.#dtypes.output };
    return verifyAgainstReference(innerOf(backend), head, floats(data, dtype).slice(), n);
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

  /**
   * `save` without a promise: blocks the event loop.
   * @param path a path, or a file: URL
   * @throws LMHeadError IO where it cannot be written; ARGUMENT for what is no path; CLOSED
   */
  saveSync(path: string | URL): void {
    this.#passes.requireOpen();
    const file = filePath(path);
    this.#passes.requireOpen();
    saveHeadSync(file, this.#saved());
  }

  #saved(): SavedHead {
    if (this.#facts.shard) throw refuseShard('save', 'the whole head');
    const { settings, backend } = this.#passes;
    return {
      ...this.#facts,
      ...this.#dtypes,
      groups: this.#groups,
      tied: !this.#facts.untied,
      settings,
      backend,
    };
  }

  /**
   * Makes another head whose output matrix is quantized, and measures what that changes; this one stays as it is. Everything
   * else is the same, an input embedding of its own included. The native backend quantizes on its threads, while the event
   * loop and other calls run. docs/quantization.md says what to expect.
   * @param dtype 'i8': int8 with a scale per row, for any d. 'q8_0': int8 with a scale per 32 weights, d a multiple of 32;
   *   better where single weights of a row are much larger than the others
   * @param options `hidden` to measure logits by; `activations` and `screen` of the new head; `signal`
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
      const { data, dtype } = hiddenRows(own.hidden, this.#facts.hiddenSize, own.hiddenDtype);
      hidden = floats(data, dtype).slice();
    }
    const activations = oneOf(own.activations, 'activations', ACTIVATIONS);
    const screen = flag(own.screen, 'screen');
    const signal = liveSignal(own.signal);
    this.#passes.requireOpen();
    const changes = { activations, screen };
    if (!signal) return this.#quantized(target, changes, hidden);
    const stop = new AbortController();
    return untilAbort(
      signal,
      () => this.#quantized(target, changes, hidden, stop.signal),
      error => stop.abort(error),
    );
  }

  async #quantized(
    dtype: QuantizeTarget,
    changes: Pick<HeadSettings, 'activations' | 'screen'>,
    hidden?: Float32Array,
    signal?: AbortSignal,
  ): Promise<{ head: LMHead; error: QuantizationError }> {
    const settings = { ...this.#passes.settings, ...changes };
    const backend = innerOf(this.#passes.backend);
    const { spec: held, weights } = await quantizedSpec(
      {
        backend,
        spec: this.#held(settings),
        inputDtype: this.#dtypes.input,
        inputGroups: this.#groups.input,
        requireOpen: () => this.#passes.requireOpen(),
      },
      dtype,
      signal,
    );
    const { shard: own, ...facts } = this.#facts;
    const shard = own && { ...own, origin: { ...own.origin, quantized: dtype } };
    const spec = { ...facts, ...specSettings(settings), output: held.output, input: held.input };
    const made = await backendOfPartsAsync(backend.kind, { spec, shard }, signal);
    const head = new LMHead({ spec, settings, backend: made, shard }, constructorKey);
    const error: QuantizationError = { weights };
    try {
      if (hidden) Object.assign(error, await differences(backend, innerOf(made), held, hidden, signal));
    } catch (failure) {
      head.close();
      throw failure;
    }
    return { head, error };
  }

  /** What it is made of, but for the matrices: of the rows that it holds. */
  #held(settings: HeadSettings): Omit<HeadSpec, 'output' | 'input'> {
    const { shard, ...facts } = this.#facts;
    const spec = { ...facts, ...specSettings(settings) };
    return shard ? heldBy(spec, shard.range) : spec;
  }
}
