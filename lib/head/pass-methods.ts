/** The methods that take hidden states and need no random numbers: one pass each. A base of LMHead. */
import {
  ARGMAX_OPTIONS,
  LENS_OPTIONS,
  NEAREST_OPTIONS,
  optionsIfAny,
  RUN_OPTIONS,
  readOptions,
  SCORE_OPTIONS,
  TOP_K_OPTIONS,
} from '../arguments/option-names';
import { refusePositionalMetric } from '../arguments/positional';
import { lensStates } from '../lens/translate';
import { ARGMAX, LOG_SUM_EXP, requested, SCORE, TOP } from '../pass/asked';
import { neighborsOf } from '../pass/nearest';
import { answer, scoreOf, topOf } from '../pass/results';
import type {
  AsyncOptions,
  CallOptions,
  Hidden,
  Ids,
  LensOptions,
  LogProbsOption,
  NearestOptions,
  Neighbors,
  OutOption,
  RunRequest,
  RunResult,
  Score,
  ScoreOptions,
  TopKOf,
} from '../types';
import type { Effective, EffectiveRequest } from '../types/effective';
import { HeadProperties, openPasses } from './head-properties';

type TopKOptions = CallOptions & LogProbsOption;
type LensCall = LensOptions & LogProbsOption;
type Request = RunRequest & LogProbsOption;

export abstract class PassMethods extends HeadProperties {
  /**
   * Any set of results from one pass over E; the other methods are shorthands.
   * @param hidden n·d elements
   * @param request what to return, and how; temperature 0 only where a sample is the one distribution asked for
   * @returns what was asked for, and logSumExp [n], of logits over temperature, unless `withLogProbs` is false
   */
  async run<const R extends Request & AsyncOptions & EffectiveRequest<R, Request & AsyncOptions>>(
    hidden: Hidden,
    request: R,
  ): Promise<RunResult<R>> {
    const passes = openPasses(this);
    const own: Request & AsyncOptions = readOptions(request, RUN_OPTIONS.async, 'request');
    const asked = requested(own);
    const job = passes.runJob(asked, hidden, own);
    await passes.compute(job, own);
    return answer(asked, job) as RunResult<R>;
  }

  /**
   * `run` without a promise: blocks the event loop.
   * @param hidden n·d elements
   * @param request what to return, and how; temperature 0 only where a sample is the one distribution asked for
   * @returns what was asked for, and logSumExp [n], unless `withLogProbs` is false
   * @throws LMHeadError NAN where a row has NaN and a token is ranked or drawn; SHAPE, DTYPE, RANGE, ARGUMENT, CLOSED, MEMORY
   */
  runSync<const R extends Request & EffectiveRequest<R, Request>>(hidden: Hidden, request: R): RunResult<R> {
    const passes = openPasses(this);
    const own: Request = readOptions(request, RUN_OPTIONS.sync, 'request');
    const asked = requested(own);
    const job = passes.runJob(asked, hidden, own);
    passes.computeSync(job);
    return answer(asked, job) as RunResult<R>;
  }

  /**
   * Raw logits: scaled, biased and capped as the model's are, never divided by a temperature (one is taken, and does nothing).
   * @param hidden n·d elements
   * @param options of the call; `out` takes the result
   * @returns [n,V]; −∞ at and beyond validVocabSize
   */
  async logits(hidden: Hidden, options?: CallOptions & OutOption & AsyncOptions): Promise<Float32Array> {
    return openPasses(this).dense('logits', hidden, options);
  }

  /**
   * `logits` without a promise: blocks the event loop.
   * @param hidden n·d elements
   * @param options of the call; `out` takes the result
   * @returns [n,V]; −∞ at and beyond validVocabSize
   * @throws LMHeadError SHAPE, DTYPE, RANGE, ARGUMENT, CLOSED, MEMORY; BUSY where a pending call owns `out`
   */
  logitsSync(hidden: Hidden, options?: CallOptions & OutOption): Float32Array {
    return openPasses(this).denseSync('logits', hidden, options);
  }

  /**
   * Log-softmax of logits over temperature.
   * @param hidden n·d elements
   * @param options of the call; `out` takes the result
   * @returns [n,V]; −∞ at and beyond validVocabSize. A row with NaN or +∞, or of nothing but −∞, has NaN
   */
  async logProbs(hidden: Hidden, options?: CallOptions & OutOption & AsyncOptions): Promise<Float32Array> {
    return openPasses(this).dense('logProbs', hidden, options);
  }

  /**
   * `logProbs` without a promise: blocks the event loop.
   * @param hidden n·d elements
   * @param options of the call; `out` takes the result
   * @returns [n,V]; −∞ at and beyond validVocabSize. A row with NaN or +∞, or of nothing but −∞, has NaN
   * @throws LMHeadError SHAPE, DTYPE, RANGE, ARGUMENT, CLOSED, MEMORY; BUSY where a pending call owns `out`
   */
  logProbsSync(hidden: Hidden, options?: CallOptions & OutOption): Float32Array {
    return openPasses(this).denseSync('logProbs', hidden, options);
  }

  /**
   * Softmax of logits over temperature.
   * @param hidden n·d elements
   * @param options of the call; `out` takes the result
   * @returns [n,V]; each row adds up to 1
   */
  async probs(hidden: Hidden, options?: CallOptions & OutOption & AsyncOptions): Promise<Float32Array> {
    return openPasses(this).dense('probs', hidden, options);
  }

  /**
   * `probs` without a promise: blocks the event loop.
   * @param hidden n·d elements
   * @param options of the call; `out` takes the result
   * @returns [n,V]; each row adds up to 1
   * @throws LMHeadError SHAPE, DTYPE, RANGE, ARGUMENT, CLOSED, MEMORY; BUSY where a pending call owns `out`
   */
  probsSync(hidden: Hidden, options?: CallOptions & OutOption): Float32Array {
    return openPasses(this).denseSync('probs', hidden, options);
  }

  /**
   * The k best ids of each row, best first, equal logits by lower id.
   * @param hidden n·d elements
   * @param k from 1 to validVocabSize
   * @param options of the call; `withLogProbs`, `signal`
   * @returns ids, raw logits and logProbs (under the whole vocabulary, over temperature), [n,k] each; logSumExp [n]. With
   *   `withLogProbs: false` ids and logits alone
   * @throws LMHeadError NAN where a row has NaN, and as every method does
   */
  async topK<
    const O extends TopKOptions & AsyncOptions & Effective<O, TopKOptions & AsyncOptions> = CallOptions,
  >(hidden: Hidden, k: number, options?: O): Promise<TopKOf<O>> {
    const passes = openPasses(this);
    const own: (TopKOptions & AsyncOptions) | undefined = optionsIfAny(options, TOP_K_OPTIONS.async);
    const job = passes.prepare(TOP | LOG_SUM_EXP, passes.rows(hidden, own), own, k);
    await passes.compute(job, own);
    return topOf(job) as TopKOf<O>;
  }

  /**
   * `topK` without a promise: blocks the event loop.
   * @param hidden n·d elements
   * @param k from 1 to validVocabSize (or as many as there are `rows`)
   * @param options of the call; `withLogProbs`
   * @returns ids, raw logits and logProbs, [n,k] each; logSumExp [n]. With `withLogProbs: false` ids and logits alone
   * @throws LMHeadError NAN where a row has NaN; SHAPE, DTYPE, RANGE, ARGUMENT, CLOSED, MEMORY
   */
  topKSync<const O extends TopKOptions & Effective<O, TopKOptions> = CallOptions>(
    hidden: Hidden,
    k: number,
    options?: O,
  ): TopKOf<O> {
    const passes = openPasses(this);
    const own: TopKOptions | undefined = optionsIfAny(options, TOP_K_OPTIONS.sync);
    const job = passes.prepare(TOP | LOG_SUM_EXP, passes.rows(hidden, own), own, k);
    passes.computeSync(job);
    return topOf(job) as TopKOf<O>;
  }

  /**
   * The best id of each row, the lowest of equals, at any temperature.
   * @param hidden n·d elements
   * @param options of the call
   * @returns [n]
   * @throws LMHeadError NAN where a row has NaN, and as every method does
   */
  async argmax(hidden: Hidden, options?: CallOptions & AsyncOptions): Promise<Uint32Array> {
    const passes = openPasses(this);
    const own = optionsIfAny(options, ARGMAX_OPTIONS.async);
    const job = passes.prepare(ARGMAX, passes.rows(hidden, own), own);
    await passes.compute(job, own);
    return job.argmax!;
  }

  /**
   * `argmax` without a promise: blocks the event loop.
   * @param hidden n·d elements
   * @param options of the call
   * @returns [n]
   * @throws LMHeadError NAN where a row has NaN; SHAPE, DTYPE, RANGE, ARGUMENT, CLOSED, MEMORY
   */
  argmaxSync(hidden: Hidden, options?: CallOptions): Uint32Array {
    const passes = openPasses(this);
    const own = optionsIfAny(options, ARGMAX_OPTIONS.sync);
    const job = passes.prepare(ARGMAX, passes.rows(hidden, own), own);
    passes.computeSync(job);
    return job.argmax!;
  }

  /**
   * How likely given tokens are, in memory that does not grow with V.
   * @param hidden n·d elements
   * @param targets n ids below validVocabSize, one per hidden state, or `ignoreIndex`
   * @param options of the call; `ignoreIndex`, `entropy`, `signal`
   * @returns logProbs, ranks and (if asked) entropy, [n] each; count; nll in nats per counted token; perplexity = e^nll
   */
  async score(hidden: Hidden, targets: Ids, options?: ScoreOptions & AsyncOptions): Promise<Score> {
    const passes = openPasses(this);
    const own = optionsIfAny(options, SCORE_OPTIONS.async);
    const job = passes.prepare(SCORE, passes.rows(hidden, own), own, undefined, targets);
    await passes.compute(job, own);
    return scoreOf(job);
  }

  /**
   * `score` without a promise: blocks the event loop.
   * @param hidden n·d elements
   * @param targets n ids below validVocabSize, one per hidden state, or `ignoreIndex`
   * @param options of the call; `ignoreIndex`, `entropy`
   * @returns logProbs, ranks and (if asked) entropy, [n] each; count; nllSum, nll; perplexity
   * @throws LMHeadError SHAPE, DTYPE, RANGE, ARGUMENT, CLOSED, MEMORY
   */
  scoreSync(hidden: Hidden, targets: Ids, options?: ScoreOptions): Score {
    const passes = openPasses(this);
    const own = optionsIfAny(options, SCORE_OPTIONS.sync);
    const job = passes.prepare(SCORE, passes.rows(hidden, own), own, undefined, targets);
    passes.computeSync(job);
    return scoreOf(job);
  }

  /**
   * Logit lens: what the head would say of hidden states from the middle of the model. The final norm is applied to each, then
   * the k best are taken, as by `topK` with `norm: true`. (nostalgebraist, "interpreting GPT: the logit lens", 2020.)
   * With `translators` it is a tuned lens: an affine map per layer comes before the norm.
   * @param hidden [layers, d], before the final norm; where a runtime has already normalized the last layer's state, use `topK`
   *   for that one
   * @param k from 1 to validVocabSize (or as many as there are `rows`)
   * @param options of the call; `translators`, `withLogProbs`, `signal`
   * @returns as `topK`, a row per layer
   * @throws LMHeadError RANGE for a head made without a norm, and as every method does
   */
  async lens<const O extends LensCall & AsyncOptions & Effective<O, LensCall & AsyncOptions> = LensOptions>(
    hidden: Hidden,
    k: number,
    options?: O,
  ): Promise<TopKOf<O>> {
    const passes = openPasses(this);
    const read: (LensCall & AsyncOptions) | undefined = optionsIfAny(options, LENS_OPTIONS.async);
    const [states, own] = lensStates(passes, hidden, read);
    return this.topK<TopKOptions & AsyncOptions>(states, k, { ...own, norm: true }) as Promise<TopKOf<O>>;
  }

  /**
   * `lens` without a promise: blocks the event loop.
   * @param hidden [layers, d], before the final norm
   * @param k from 1 to validVocabSize (or as many as there are `rows`)
   * @param options of the call; `translators`, `withLogProbs`
   * @returns as `topK`, a row per layer
   * @throws LMHeadError RANGE for a head made without a norm; NAN where a row has NaN; SHAPE, DTYPE, RANGE, ARGUMENT, CLOSED, MEMORY
   */
  lensSync<const O extends LensCall & Effective<O, LensCall> = LensOptions>(
    hidden: Hidden,
    k: number,
    options?: O,
  ): TopKOf<O> {
    const passes = openPasses(this);
    const read: LensCall | undefined = optionsIfAny(options, LENS_OPTIONS.sync);
    const [states, own] = lensStates(passes, hidden, read);
    return this.topKSync<TopKOptions>(states, k, { ...own, norm: true }) as TopKOf<O>;
  }

  /**
   * The k ids whose rows of E are most like a vector: E as an index to search. The similarity is the logit without bias, scale
   * and cap: the dot product, or the cosine of the angle, which asks for the lengths of all rows (read once, at the first call).
   * A row or vector of zeros has cosine 0 with everything.
   * @param idOrVector d elements; or an id, for its row of the output matrix, which is then among the answers itself
   * @param k from 1 to validVocabSize (or as many as there are `rows`)
   * @param options `metric`, which is 'dot' (default) or 'cosine', and the `rows` to search among
   * @throws LMHeadError NAN where a similarity is NaN, and as every method does
   */
  nearest(
    idOrVector: number | bigint | Hidden,
    k: number,
    options?: NearestOptions & AsyncOptions,
  ): Promise<Neighbors>;
  async nearest(
    idOrVector: number | bigint | Hidden,
    k: number,
    options?: NearestOptions & AsyncOptions,
    ...more: unknown[]
  ): Promise<Neighbors> {
    const passes = openPasses(this);
    refusePositionalMetric(options, more);
    const own = optionsIfAny(options, NEAREST_OPTIONS.async);
    const job = passes.nearestJob(idOrVector, k, own);
    await passes.compute(job, own);
    return neighborsOf(job);
  }

  /**
   * `nearest` without a promise: blocks the event loop.
   * @param idOrVector d elements; or an id, for its row of the output matrix
   * @param k from 1 to validVocabSize (or as many as there are `rows`)
   * @param options `metric`, which is 'dot' (default) or 'cosine', and the `rows` to search among
   * @returns ids and similarities, [k] each, the most similar first
   * @throws LMHeadError NAN where a similarity is NaN; SHAPE, DTYPE, RANGE, ARGUMENT, CLOSED, MEMORY
   */
  nearestSync(idOrVector: number | bigint | Hidden, k: number, options?: NearestOptions): Neighbors;
  nearestSync(
    idOrVector: number | bigint | Hidden,
    k: number,
    options?: NearestOptions,
    ...more: unknown[]
  ): Neighbors {
    const passes = openPasses(this);
    refusePositionalMetric(options, more);
    const job = passes.nearestJob(idOrVector, k, optionsIfAny(options, NEAREST_OPTIONS.sync));
    passes.computeSync(job);
    return neighborsOf(job);
  }
}
