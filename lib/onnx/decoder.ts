/** Texts of an ONNX decoder: its body in onnxruntime, its tokens by a head. */
import { got } from '../arguments/describe';
import { allIds } from '../arguments/ids';
import { readOptions } from '../arguments/option-names';
import { flag, integerBetween, liveSignal } from '../arguments/values';
import { LMHeadError } from '../errors';
import { LMHead } from '../lm-head';
import type { MaterializedLogits } from '../pass/materialized-logits';
import type { Sampler } from '../sampler';
import type {
  AsyncOptions,
  Hidden,
  Ids,
  SampledToken,
  SampledTokenOf,
  SamplerOptions,
  Score,
} from '../types';
import { Body, joined, type Memory, type Rows } from './body';
import { DraftText } from './draft-text';
import { drawingOf, pathOf, requireObject } from './opening';
import { GENERATE_OPTIONS, ONNX_DECODER_OPTIONS, ONNX_SCORE_OPTIONS, READ_OPTIONS } from './option-names';
import { promptLookup } from './prompt-lookup';
import { Rounds } from './rounds';
import { loadRuntime } from './runtime';
import { joinedScores } from './scores';
import { DecoderState } from './state';
import type { GenerateOptions, OnnxDecoderOptions, OnnxScoreOptions } from './types';
import { partsOf } from './whole-model';

const CHUNK = 512;
const DRAFT_TOKENS = 8;
/** Runs of more tokens let texts that wait for one go first. */
const LONG_RUN = 32;
const MOST = 2 ** 31 - 1;

const constructorKey = Symbol('OnnxDecoder');

/**
 * A decoder in the ONNX format, run by onnxruntime-node (which the user installs), whose tokens this library chooses: from hidden
 * states, by a head, so that no logits of a whole prompt are ever in memory; or from the logits of a model that has its head on.
 *
 * Texts that are continued at the same time share passes of the head (as by `nextAll`), with the tokens that each has alone.
 */
export class OnnxDecoder {
  readonly #body: Body;
  readonly #head: LMHead | undefined;
  readonly #drawing: LMHead | MaterializedLogits;
  readonly #rounds: Rounds;
  readonly #chunk: number;
  /** Taken from the model, and closed with it. */
  readonly #ownHead: LMHead | undefined;
  #closed = false;

  /** @hidden */
  constructor(
    key: symbol,
    body: Body,
    drawing: LMHead | MaterializedLogits,
    chunk: number,
    ownHead: LMHead | undefined,
  ) {
    if (key !== constructorKey) {
      throw new LMHeadError('ARGUMENT', 'OnnxDecoder: got a call of its constructor; want OnnxDecoder.open');
    }
    this.#body = body;
    this.#drawing = drawing;
    this.#head = drawing instanceof LMHead ? drawing : undefined;
    this.#rounds = new Rounds(drawing);
    this.#chunk = chunk;
    this.#ownHead = ownHead;
  }

  /**
   * Opens a model: a body, which `cutHead` writes, with its head; or a whole one, whose head is cut off and opened (through a file in the
   * system's folder for temporary ones, or beside the model's external data, that is gone when the session is there). Where its head is
   * none that can be cut, tokens are chosen from its logits.
   * @param model a .onnx file; what its external data is called lies beside it
   * @throws LMHeadError LOAD without onnxruntime-node; IO, FORMAT where it cannot open the file; TENSOR, DTYPE for what is no decoder of
   *   text; SHAPE for a head of another size; ARGUMENT
   */
  static async open(model: string | URL, options: OnnxDecoderOptions = {}): Promise<OnnxDecoder> {
    const path = pathOf(model);
    const own = readOptions(options, ONNX_DECODER_OPTIONS);
    const { head, session = {}, output, embed } = own;
    const chunk = own.chunk === undefined ? CHUNK : integerBetween(own.chunk, 'chunk', 1, MOST);
    if (head !== undefined && !(head instanceof LMHead)) {
      throw new LMHeadError('ARGUMENT', `head: got ${got(head)}; want an LMHead`);
    }
    requireObject(session, 'session');
    if (output !== undefined && typeof output !== 'string') {
      throw new LMHeadError('ARGUMENT', `output: got ${got(output)}; want the name of an output`);
    }
    if (embed !== undefined && typeof embed !== 'function') {
      throw new LMHeadError('ARGUMENT', `embed: got ${got(embed)}; want a function`);
    }
    if (own.runtime !== undefined) requireObject(own.runtime, 'runtime');
    const runtime = await loadRuntime(own.runtime);
    const parts = flag(own.cut, 'cut', true) ? await partsOf(path, head !== undefined) : undefined;
    const cut = parts instanceof LMHeadError ? undefined : parts;
    const all = head ?? cut?.head;
    let body: Body | undefined;
    try {
      body = await Body.open(runtime, cut?.body ?? path, session, all !== undefined, output);
      await cut?.removeBody();
      body.embed = embed ?? (all && (ids => all.embed(ids)));
      // Why a head that is given does not go with a whole model.
      if (head && body.facts.givesLogits && parts instanceof LMHeadError) throw parts;
      const drawing = await drawingOf(body, all);
      return new OnnxDecoder(constructorKey, body, drawing, chunk, cut?.head);
    } catch (error) {
      await cut?.removeBody();
      cut?.head?.close();
      await body?.release();
      throw error;
    }
  }

  /** What chooses tokens; undefined where they are chosen from logits that the model computes. */
  get head(): LMHead | undefined {
    return this.#head;
  }

  /** V */
  get vocabSize(): number {
    return this.#drawing.vocabSize;
  }

  /** Passes of the head in which tokens of `generate` were drawn so far, and how many tokens these were. */
  get sharing(): { readonly passes: number; readonly tokens: number } {
    return { passes: this.#rounds.passes, tokens: this.#rounds.draws };
  }

  /**
   * Reads the beginning of a text.
   * @param ids at least one
   * @throws LMHeadError RANGE, ARGUMENT, CLOSED, ABORTED
   */
  async prefill(ids: Ids, options: AsyncOptions = {}): Promise<DecoderState> {
    const { signal } = readOptions(options, READ_OPTIONS.prefill);
    const own = this.#ids(ids, 'ids');
    if (own.length === 0) throw new LMHeadError('RANGE', 'ids: got none; want one token at least');
    return this.#readAll(own, undefined, liveSignal(signal));
  }

  /**
   * Reads on.
   * @param state of a text of this decoder, which stays as it is
   * @param id the token that comes next, or several
   */
  async step(
    state: DecoderState,
    id: number | bigint | Ids,
    options: AsyncOptions = {},
  ): Promise<DecoderState> {
    const { signal } = readOptions(options, READ_OPTIONS.step);
    this.#requireOwn(state);
    const own = typeof id === 'object' ? this.#ids(id, 'id') : this.#ids([id as number], 'id');
    if (own.length === 0) throw new LMHeadError('RANGE', 'id: got none; want one token at least');
    return this.#readAll(own, state, liveSignal(signal));
  }

  /**
   * Continues a text, token by token as the caller asks for them.
   * @param prompt its ids, or a state, of which several continuations may be made
   * @param options how tokens are drawn, as a sampler's; and when the text ends. One seed gives the same tokens again
   * @returns each token when it is drawn; the last is one of `stopIds`, or the one that `maxTokens` allows
   * @throws LMHeadError at once for arguments; from the iterator ABORTED, NAN, CLOSED, RANGE
   */
  generate<const O extends GenerateOptions>(
    prompt: Ids | DecoderState,
    options?: O,
  ): AsyncGenerator<SampledTokenOf<O>, void, undefined> {
    const own: GenerateOptions = readOptions(options ?? ({} as GenerateOptions), GENERATE_OPTIONS);
    const { maxTokens, stopIds, nextOptions, draft, draftTokens, signal, ...drawing } = own;
    this.#requireOpen();
    const most =
      maxTokens === undefined || maxTokens === Number.POSITIVE_INFINITY
        ? Number.POSITIVE_INFINITY
        : integerBetween(maxTokens, 'maxTokens', 0, MOST);
    const stop = new Set(stopIds === undefined ? [] : this.#ids(stopIds, 'stopIds'));
    if (nextOptions !== undefined && typeof nextOptions !== 'function') {
      throw new LMHeadError('ARGUMENT', `nextOptions: got ${got(nextOptions)}; want a function`);
    }
    const drafts =
      draftTokens === undefined ? DRAFT_TOKENS : integerBetween(draftTokens, 'draftTokens', 1, 1024);
    if (draftTokens !== undefined && draft === undefined) {
      throw new LMHeadError('RANGE', `draftTokens: got ${drafts} without draft; want draft too`);
    }
    if (draft !== undefined) this.#requireDraft(draft, nextOptions !== undefined);
    const live = liveSignal(signal);
    const state = prompt instanceof DecoderState ? this.#requireOwn(prompt) : undefined;
    const ids = state?.ids ?? this.#ids(prompt as Ids, 'ids');
    if (ids.length === 0) throw new LMHeadError('RANGE', 'ids: got none; want one token at least');
    const history = drawing.history ?? ids;
    const sampler = this.#sampler({
      ...drawing,
      history,
      // Where the caller has a history of another kind, all of it is there before the text.
      promptLength: drawing.history === undefined ? ids.length : undefined,
    });
    const begin = async () => state ?? (await this.#readAll(ids, undefined, live));
    const tokens = draft
      ? this.#drafted(begin, sampler, { most, stop, draft, drafts, signal: live })
      : this.#drawn(begin, sampler, { most, stop, nextOptions, signal: live });
    return tokens as AsyncGenerator<SampledTokenOf<O>, void, undefined>;
  }

  /**
   * How likely a text is, token by token, each given those before it.
   * @param ids at least two. They are read in chunks, whose hidden states alone are in memory: neither memory nor what blocks the event
   *   loop at once grows with the text, but for the model's own caches
   * @returns of ids[1] … ids[n − 1], so that the first value is that of the second token
   */
  async score(ids: Ids, options: OnnxScoreOptions = {}): Promise<Score> {
    const { signal, ...rest } = readOptions(options, ONNX_SCORE_OPTIONS);
    const live = liveSignal(signal);
    // The ignored one may be any number, a pad's say; what is read has to be a token.
    const own = this.#ids(ids, 'ids');
    if (own.length < 2) {
      throw new LMHeadError('RANGE', `ids: got ${own.length}; want two tokens at least`);
    }
    const scores: Score[] = [];
    let memory: Memory | undefined;
    const last = own.length - 1;
    for (let start = 0; start < last; ) {
      const end = this.#body.hasCaches ? Math.min(start + this.#chunk, last) : last;
      const read = await this.#read(own.subarray(start, end), memory, end - start, live);
      memory = read.memory;
      const targets = own.subarray(start + 1, end + 1);
      scores.push(await this.#drawing.score(read.rows as Hidden, targets, { ...rest, signal: live }));
      start = end;
    }
    return joinedScores(scores);
  }

  /** Ends it: what runs ends first. A head that was given stays open. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#rounds.settled();
    await this.#body.release();
    this.#ownHead?.close();
  }

  /** As `close`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async *#drawn(
    begin: () => Promise<DecoderState>,
    sampler: Sampler,
    { most, stop, nextOptions, signal }: Ends & Pick<GenerateOptions, 'nextOptions'>,
  ): AsyncGenerator<SampledToken, void, undefined> {
    const drawn: number[] = [];
    if (most === 0) return;
    let state = await begin();
    for (;;) {
      const each = await nextOptions?.(drawn);
      const token = await this.#rounds.draw(sampler, state.hidden as Rows, each, signal);
      drawn.push(token.id);
      yield token;
      if (drawn.length >= most || stop.has(token.id)) return;
      state = await this.#readAll(Uint32Array.of(token.id), state, signal);
    }
  }

  async *#drafted(
    begin: () => Promise<DecoderState>,
    sampler: Sampler,
    { most, stop, draft, drafts, signal }: Ends & { draft: Drafter; drafts: number },
  ): AsyncGenerator<SampledToken, void, undefined> {
    if (most === 0) return;
    let state = await begin();
    const drafter = draft === 'prompt-lookup' ? undefined : new DraftText(draft, signal);
    let token = await this.#rounds.draw(sampler, state.hidden as Rows, undefined, signal);
    yield token;
    for (let count = 1; count < most && !stop.has(token.id); ) {
      const text = joined(state.ids, Uint32Array.of(token.id));
      const room = Math.min(drafts, most - count - 1);
      const draftIds = drafter ? await drafter.ids(text, room) : promptLookup(text, room);
      const ids = joined(Uint32Array.of(token.id), draftIds);
      const { rows, memory } = await this.#read(ids, state.memory, ids.length, signal);
      const result = await sampler.verify(rows as Hidden, draftIds, { signal });
      for (let i = 0; i <= result.accepted; i++) {
        token = { id: result.ids[i], logProb: result.logProbs[i] };
        yield token;
        if (++count >= most || stop.has(token.id)) return;
      }
      const read = ids.subarray(0, 1 + result.accepted);
      state = await this.#taken(state, read, { rows, memory }, signal);
    }
  }

  /** The state in which only those tokens of a draft have been read that were accepted. */
  async #taken(
    before: DecoderState,
    read: Uint32Array,
    { rows, memory }: { rows: Rows; memory: Memory },
    signal: AbortSignal | undefined,
  ): Promise<DecoderState> {
    const ids = joined(before.ids, read);
    // What is told of the last token is not needed: the next one is drawn already.
    if (memory.length === ids.length) return new DecoderState(this, ids, rows, memory);
    if (this.#body.rewinds) {
      return new DecoderState(this, ids, rows, this.#body.rewound(memory, ids.length));
    }
    const again = await this.#read(read, before.memory, 1, signal);
    return new DecoderState(this, ids, again.rows, again.memory);
  }

  async #readAll(
    ids: Uint32Array,
    state: DecoderState | undefined,
    signal: AbortSignal | undefined,
  ): Promise<DecoderState> {
    const chunk = this.#body.hasCaches ? this.#chunk : ids.length;
    let { memory } = state ?? {};
    let rows: Rows | undefined;
    for (let start = 0; start < ids.length; start += chunk) {
      ({ rows, memory } = await this.#read(ids.subarray(start, start + chunk), memory, 1, signal));
    }
    return new DecoderState(this, state ? joined(state.ids, ids) : ids, rows!, memory!);
  }

  #read(ids: Uint32Array, memory: Memory | undefined, keep: number, signal: AbortSignal | undefined) {
    this.#requireOpen();
    return this.#rounds.run(() => this.#body.read(ids, memory, keep), ids.length > LONG_RUN, signal);
  }

  #sampler(options: SamplerOptions): Sampler {
    const { head } = this;
    return head
      ? (head.sampler as (options: SamplerOptions) => Sampler).call(head, options)
      : (this.#drawing as MaterializedLogits).sampler(options);
  }

  #ids(ids: Ids, name: string): Uint32Array {
    return allIds(ids, name, this.vocabSize);
  }

  #requireOpen(): void {
    if (this.#closed)
      throw new LMHeadError('CLOSED', 'decoder: got a call after close(); want one before it');
  }

  #requireOwn(state: unknown): DecoderState {
    if (state instanceof DecoderState && state.decoder === this) return state;
    throw new LMHeadError('ARGUMENT', `state: got ${got(state)}; want one that this decoder has made`);
  }

  #requireDraft(draft: unknown, hasNextOptions: boolean): void {
    if (draft !== 'prompt-lookup' && !(draft instanceof OnnxDecoder && draft !== this)) {
      throw new LMHeadError(
        'ARGUMENT',
        `draft: got ${got(draft)}; want 'prompt-lookup' or another OnnxDecoder`,
      );
    }
    if (draft instanceof OnnxDecoder && draft.vocabSize !== this.vocabSize) {
      throw new LMHeadError(
        'SHAPE',
        `draft: got a decoder of ${draft.vocabSize} tokens; want ${this.vocabSize}, as this one has`,
      );
    }
    if (hasNextOptions) {
      throw new LMHeadError('RANGE', 'nextOptions: got a function beside draft; want one of the two');
    }
    if (!this.#head) {
      throw new LMHeadError(
        'RANGE',
        'draft: got one for a decoder that chooses from logits; want one with a head',
      );
    }
  }
}

type Drafter = 'prompt-lookup' | OnnxDecoder;

interface Ends {
  most: number;
  stop: ReadonlySet<number>;
  signal: AbortSignal | undefined;
}
