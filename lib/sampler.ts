/** A sampler: draws one token after another, and remembers what the next draw depends on. */
import { type InspectOptions, inspect } from 'node:util';
import { got } from './arguments/describe';
import { hiddenRows } from './arguments/hidden';
import { tokenIds } from './arguments/ids';
import { NEXT_OPTIONS, optionsIfAny, readOptions, VERIFY_OPTIONS } from './arguments/option-names';
import { type OwnIds, withMoreIds } from './arguments/own-ids';
import { TokenHistory } from './arguments/penalties';
import { reading } from './arguments/reading';
import { idList, requireNoRows, samplerSettings, seedOf } from './arguments/sampler-settings';
import { integerBetween, numberBetween, optionsObject } from './arguments/values';
import type { DrawnSample } from './backend/backend';
import { LMHeadError } from './errors';
import type { LMHead } from './lm-head';
import { drawThroughHook, type LogitsHook, statesOf } from './pass/logits-hook';
import type {
  AsyncOptions,
  DraftResult,
  DrawnToken,
  Hidden,
  Ids,
  LogProbsOption,
  NextOptions,
  Sample,
  SampledToken,
  SampleOptions,
  SamplerOptions,
  SamplerState,
  TokenLogProb,
  TopLogProbs,
  VerifyDraftOptions,
} from './types';

const LAST_STEP = 2 ** 32 - 1;

/** A call that is about samplers: theirs while it lasts. @internal */
export interface Turn {
  readonly head: LMHead;
  readonly hiddenDtype: SamplerOptions['hiddenDtype'];
  /** The stateless options of the next draw, and of a draft's. */
  request(options: NextOptions): SampleOptions & LogProbsOption;
  draftRequest(): VerifyDraftOptions;
  /** Where the token is not drawn by the pass, but of logits [V] that it makes of the hidden state. */
  readonly draw: ((logits: Float32Array, request: SampleOptions) => Sample) | undefined;
  acceptSample(sample: DrawnSample): DrawnToken;
  acceptDraftResult(result: DraftResult): void;
  /** Nothing was drawn; a pass that was canceled may go on for a while. */
  failed(): void;
  end(): void;
}

/** Begins the turns of samplers, of whom each is there once. @internal */
export let beginTurns: (samplers: readonly unknown[], nameOf: (i: number) => string) => Turn[];

/**
 * Draws one token after another from the hidden states that a model makes of them. It keeps the tokens so far (which penalties
 * are about), its position in the random stream, and mirostat's limit. Made by `head.sampler(options)`.
 *
 * Methods throw as `head.sample` does; an error leaves the state as it was. One call at a time: BUSY where a promise of `next`
 * is pending.
 */
export class Sampler<Token extends DrawnToken = SampledToken> {
  readonly #head: LMHead;
  /** Ids are below it. */
  readonly #valid: number;
  readonly #options: SamplerOptions & LogProbsOption;
  readonly #ids: OwnIds;
  readonly #first: Uint32Array;
  readonly #hook: LogitsHook | undefined;
  readonly #mirostat: { tau: number; eta: number } | undefined;
  #seed: bigint;
  #step = 0;
  #history: TokenHistory;
  #generated = 0;
  #limit: number;
  #pending = false;

  static {
    beginTurns = (samplers, nameOf) => {
      const seen = new Set<unknown>();
      samplers.forEach((sampler, i) => {
        if (typeof sampler !== 'object' || sampler === null || !(#pending in sampler)) {
          throw new LMHeadError('ARGUMENT', `${nameOf(i)}: got ${got(sampler)}; want a sampler`);
        }
        if (seen.has(sampler)) {
          throw new LMHeadError(
            'ARGUMENT',
            `${nameOf(i)}: got a sampler for the second time; want each once`,
          );
        }
        seen.add(sampler);
        sampler.#requireIdle();
      });
      return (samplers as Sampler[]).map(sampler => sampler.#begin());
    };
  }

  /** @hidden */
  constructor(head: LMHead, validVocabSize: number, given: SamplerOptions & LogProbsOption = {}) {
    const { options, ids, history, mirostat, hook, seed } = samplerSettings(
      given,
      head.vocabSize,
      validVocabSize,
    );
    this.#head = head;
    this.#valid = validVocabSize;
    this.#options = options;
    this.#ids = ids;
    this.#first = history;
    this.#history = new TokenHistory(history.slice());
    this.#mirostat = mirostat;
    this.#hook = hook;
    this.#limit = 2 * (mirostat?.tau ?? 0);
    this.#seed = seed;
  }

  /** The tokens that penalties are about, oldest first: those given at first, and those drawn or accepted since. A copy. */
  get history(): Uint32Array {
    return this.#history.toArray();
  }

  /**
   * Draws the next token, and accepts it.
   * @param hidden one hidden state
   * @param options what holds for this token alone. `bannedIds`, `logitBias`, and `allowedIds` or `allowedMask` (a grammar's) hold
   *   beside the sampler's own: biases are added, and what is drawn is banned by neither and allowed by both. `rows` and `over` stand
   *   in place of the sampler's own. An AbortSignal
   */
  async next(hidden: Hidden, options: NextOptions & AsyncOptions = {}): Promise<Token> {
    const turn = this.#begin();
    try {
      const own = readOptions(options, NEXT_OPTIONS.async);
      this.#requireOne(hidden);
      const request = this.#request(own);
      const { signal } = own;
      if (!this.#hook) return this.#acceptSample(await this.#head.sample(hidden, { ...request, signal }));
      const logits = await this.#head.logits(hidden, { ...statesOf(request), signal });
      return this.#acceptSample(this.#draw(logits, request));
    } catch (error) {
      turn.failed();
      throw error;
    } finally {
      turn.end();
    }
  }

  /**
   * `next` without a promise: blocks the event loop.
   * @param hidden one hidden state
   * @param options what holds for this token alone; see `next`
   * @returns the token, and what `topLogProbs` asks for
   * @throws LMHeadError BUSY where a promise of `next` is pending; NAN where the row has NaN; RANGE where nothing is left to draw; SHAPE,
   *   DTYPE, ARGUMENT, CLOSED, MEMORY
   */
  nextSync(hidden: Hidden, options: NextOptions = {}): Token {
    const turn = this.#begin(); // arguments may run code when they are read
    try {
      const own = readOptions(options, NEXT_OPTIONS.sync);
      this.#requireOne(hidden);
      const request = this.#request(own);
      if (!this.#hook) return this.#acceptSample(this.#head.sampleSync(hidden, request));
      return this.#acceptSample(this.#draw(this.#head.logitsSync(hidden, statesOf(request)), request));
    } finally {
      turn.end();
    }
  }

  /**
   * Speculative verification with this sampler's options, history and position in the random stream: verifies the tokens that a faster
   * model has drafted, as `head.verifyDraft` does, and takes those that are accepted and the one that follows them.
   * Greedy, they are the tokens that `next` would give one by one; else their distribution is that of these.
   * @param hidden one hidden state per draft id, and one more for the bonus token after a draft of which all is accepted
   * @param draftIds what the faster model drew
   * @param options the draft's log-probabilities, and an AbortSignal
   * @throws LMHeadError RANGE for a sampler with mirostat, whose limit each token sets anew, with `over` or with topLogProbs
   */
  async verify(
    hidden: Hidden,
    draftIds: Ids,
    options?: Pick<VerifyDraftOptions, 'draftLogProbs'> & AsyncOptions,
  ): Promise<DraftResult> {
    const turn = this.#begin();
    try {
      const request = { ...this.#draftRequest(), ...optionsIfAny(options, VERIFY_OPTIONS.async) };
      const result = await this.#head.verifyDraft(hidden, draftIds, request);
      this.#acceptDraftResult(result);
      return result;
    } catch (error) {
      turn.failed();
      throw error;
    } finally {
      turn.end();
    }
  }

  /**
   * `verify` without a promise: blocks the event loop.
   * @param hidden one hidden state per draft id, and one more for the bonus token
   * @param draftIds n − 1 or n ids below V
   * @param options the draft's log-probabilities
   * @returns how many draft ids were accepted; those and the token that follows them
   * @throws LMHeadError BUSY where a promise of `next` is pending; NAN where a row that counts has NaN; RANGE for a sampler with mirostat,
   *   `over` or topLogProbs; SHAPE, DTYPE, ARGUMENT, CLOSED, MEMORY
   */
  verifySync(
    hidden: Hidden,
    draftIds: Ids,
    options?: Pick<VerifyDraftOptions, 'draftLogProbs'>,
  ): DraftResult {
    const turn = this.#begin();
    try {
      const request = { ...this.#draftRequest(), ...optionsIfAny(options, VERIFY_OPTIONS.sync) };
      const result = this.#head.verifyDraftSync(hidden, draftIds, request);
      this.#acceptDraftResult(result);
      return result;
    } finally {
      turn.end();
    }
  }

  /**
   * Takes a token that came from elsewhere (a prompt's, a tool's) for the next one; draws nothing.
   * @param id below validVocabSize
   */
  accept(id: number | bigint): void {
    this.#requireIdle();
    const [token] = tokenIds([id], 'id', 1, this.#valid);
    this.#history.push(token);
    this.#generated++;
  }

  /** Back to the beginning: the same hidden states give the same tokens again. */
  reset(): void {
    this.#requireIdle();
    this.#history = new TokenHistory(this.#first.slice());
    this.#step = 0;
    this.#generated = 0;
    this.#limit = 2 * (this.#mirostat?.tau ?? 0);
  }

  /** A sampler in the same state, which goes its own way from here. */
  clone(): Sampler<Token> {
    this.#requireIdle();
    const clone = new Sampler<Token>(this.#head, this.#valid, { ...this.#options, history: this.#first });
    clone.restore(this.toJSON());
    return clone;
  }

  /** What console.log shows. @hidden */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    const { seed, step, generated } = this.toJSON();
    return `Sampler ${inspect({ seed, step, history: this.history, generated }, options)}`;
  }

  /** The state, for JSON.stringify; `restore` takes it. Options are no part of it. */
  toJSON(): SamplerState {
    return {
      seed: String(this.#seed),
      step: this.#step,
      history: Array.from(this.#history.toArray()),
      generated: this.#generated,
      surprisalLimit: this.#limit,
    };
  }

  /**
   * Goes on where a state was taken.
   * @param state what `toJSON` gave, or JSON.parse of it
   */
  restore(state: SamplerState): void {
    this.#requireIdle();
    optionsObject(state, 'state');
    const { seed, step, history, generated, surprisalLimit } = reading('state', () => ({ ...state }));
    if (typeof seed !== 'string' || !/^\d{1,20}$/.test(seed)) {
      throw new LMHeadError('ARGUMENT', `state.seed: got ${got(seed)}; want an integer as text`);
    }
    const restored = {
      seed: seedOf(BigInt(seed)),
      step: integerBetween(step, 'state.step', 0, LAST_STEP + 1),
      history: idList(history, 'state.history', this.#valid),
      generated: integerBetween(generated, 'state.generated', 0, Number.MAX_SAFE_INTEGER),
      limit: numberBetween(surprisalLimit, 'state.surprisalLimit', -Number.MAX_VALUE, Number.MAX_VALUE),
    };
    this.#seed = restored.seed;
    this.#step = restored.step;
    this.#history = new TokenHistory(restored.history);
    this.#generated = restored.generated;
    this.#limit = restored.limit;
  }

  #requireIdle(): void {
    if (this.#pending) {
      throw new LMHeadError(
        'BUSY',
        'sampler: got a call while another is pending; want its promise settled first',
      );
    }
  }

  /** A call that has the sampler for itself. */
  #begin(): Turn {
    this.#requireIdle();
    this.#pending = true;
    return {
      head: this.#head,
      hiddenDtype: this.#options.hiddenDtype,
      request: options => this.#request(options),
      draftRequest: () => this.#draftRequest(),
      draw: this.#hook && ((logits, request) => this.#draw(logits, request)),
      acceptSample: sample => this.#acceptSample(sample),
      acceptDraftResult: result => this.#acceptDraftResult(result),
      failed: () => {
        // The pass reads what this history has kept.
        this.#history = new TokenHistory(this.#history.toArray());
      },
      end: () => {
        this.#pending = false;
      },
    };
  }

  #requireOne(hidden: Hidden): void {
    const { n } = hiddenRows(hidden, this.#head.hiddenSize, this.#options.hiddenDtype);
    if (n !== 1) throw new LMHeadError('SHAPE', `hidden: got ${n} hidden states; want one`);
  }

  /** The options and the state, as of a stateless call. */
  #stated(): SampleOptions & LogProbsOption {
    const { mirostat, logits, ...own } = this.#options;
    const { promptLength } = own;
    return {
      ...own,
      seed: this.#seed,
      step: this.#step,
      history: this.#history as unknown as Ids,
      length: promptLength === undefined ? this.#generated : Math.max(this.#history.length - promptLength, 0),
    };
  }

  #draftRequest(): VerifyDraftOptions {
    const { over, topLogProbs, withLogProbs, ...request } = this.#stated();
    const notForDrafts = { mirostat: this.#mirostat, logits: this.#hook, over, topLogProbs };
    for (const [name, value] of Object.entries(notForDrafts)) {
      if (value !== undefined)
        throw new LMHeadError(
          'RANGE',
          `${name}: got a sampler that has it; want one without, to verify a draft`,
        );
    }
    // Each row of a draft has another one, so that they are added to it.
    return { ...request, history: new TokenHistory(this.#history.toArray()) as unknown as Ids };
  }

  #acceptDraftResult({ ids }: DraftResult): void {
    for (const id of ids) this.#history.push(id);
    this.#generated += ids.length;
    this.#step += ids.length;
  }

  #request(options: NextOptions): SampleOptions & LogProbsOption {
    const request = this.#stated();
    if (this.#mirostat) {
      request.maxSurprisal = Math.max(this.#limit, 0);
      request.withLogProbs = undefined; // it is steered by them
    }
    for (const name of ['rows', 'over', 'guidance'] as const) {
      if (options[name] !== undefined) Object.assign(request, { [name]: options[name] });
    }
    if (this.#hook) requireNoRows(request);
    return Object.assign(request, withMoreIds(this.#ids, options, this.#head.vocabSize, this.#valid));
  }

  #draw(logits: Float32Array, request: SampleOptions): Sample {
    return drawThroughHook(this.#hook!, logits, this.#valid, request, this.#head.backend);
  }

  #acceptSample(sample: DrawnSample): Token {
    const { ids, logProbs, modelLogProbs, topLogProbs, modelTopLogProbs } = sample;
    const [id] = ids;
    this.#history.push(id);
    this.#generated++;
    this.#step++;
    if (this.#mirostat) {
      const surprisal = -logProbs![0] / Math.LN2;
      this.#limit -= this.#mirostat.eta * (surprisal - this.#mirostat.tau);
    }
    if (this.#options.withLogProbs === false) return { id } as Token;
    const [logProb] = logProbs!;
    if (!modelLogProbs) return { id, logProb } as TokenLogProb as DrawnToken as Token;
    return {
      id,
      logProb,
      modelLogProb: modelLogProbs[0],
      topLogProbs: listed(topLogProbs!),
      modelTopLogProbs: listed(modelTopLogProbs!),
    } as TokenLogProb as DrawnToken as Token;
  }
}

function listed({ ids, logProbs, counts }: TopLogProbs): TokenLogProb[] {
  return Array.from(ids.subarray(0, counts[0]), (id, i) => ({ id, logProb: logProbs[i] }));
}
