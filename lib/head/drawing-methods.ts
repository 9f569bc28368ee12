/** The methods that draw tokens, and that tell what is drawn from. A base of LMHead. */
import {
  BEAM_OPTIONS,
  CANDIDATES_OPTIONS,
  optionsIfAny,
  SAMPLE_OPTIONS,
  VERIFY_DRAFT_OPTIONS,
} from '../arguments/option-names';
import { refusePositionalLogProbs } from '../arguments/positional';
import { asJson } from '../pass/as-json';
import { CANDIDATES, SAMPLE } from '../pass/asked';
import { bestBeams } from '../pass/beam';
import { sampleOf } from '../pass/results';
import { draftResultOf } from '../pass/verify-draft';
import type {
  AsyncOptions,
  BeamOptions,
  Beams,
  Candidates,
  DraftResult,
  Hidden,
  Ids,
  LogProbsOption,
  SampleOf,
  SampleOptions,
  VerifyDraftOptions,
} from '../types';
import type { Effective } from '../types/effective';
import { openPasses } from './head-properties';
import { PassMethods } from './pass-methods';

type Drawing = SampleOptions & LogProbsOption;

export abstract class DrawingMethods extends PassMethods {
  /**
   * Draws a token per row: single logits change, stages filter, and a token is drawn of what is left, as SampleOptions tells
   * (temperature 0 takes the likeliest). The same seed, step, stream and options draw the same token.
   * @param hidden n·d elements
   * @param options how to draw: temperature, filters, penalties, seed…
   * @returns ids [n]; logProbs [n] under the distribution that was sampled; with `topLogProbs` also what is likeliest, raw and
   *   as sampled; with `withLogProbs: false` ids alone
   * @throws LMHeadError NAN where a row has NaN, and as every method does
   */
  async sample<const O extends Drawing & AsyncOptions & Effective<O, Drawing & AsyncOptions> = SampleOptions>(
    hidden: Hidden,
    options?: O,
  ): Promise<SampleOf<O>> {
    const passes = openPasses(this);
    const own: (Drawing & AsyncOptions) | undefined = optionsIfAny(options, SAMPLE_OPTIONS.async);
    const job = passes.prepare(SAMPLE, passes.rows(hidden, own), own);
    await passes.compute(job, own);
    return sampleOf(job) as SampleOf<O>;
  }

  /**
   * `sample` without a promise: blocks the event loop.
   * @param hidden n·d elements
   * @param options how to draw: temperature, filters, penalties, seed…
   * @returns ids [n]; logProbs [n] under the distribution that was sampled; with `topLogProbs` the likeliest tokens too; with
   *   `withLogProbs: false` ids alone
   * @throws LMHeadError NAN where a row has NaN; RANGE where nothing is left to draw; SHAPE, DTYPE, RANGE, ARGUMENT, CLOSED, MEMORY
   */
  sampleSync<const O extends Drawing & Effective<O, Drawing> = SampleOptions>(
    hidden: Hidden,
    options?: O,
  ): SampleOf<O> {
    const passes = openPasses(this);
    const own: Drawing | undefined = optionsIfAny(options, SAMPLE_OPTIONS.sync);
    const job = passes.prepare(SAMPLE, passes.rows(hidden, own), own);
    passes.computeSync(job);
    return sampleOf(job) as SampleOf<O>;
  }

  /**
   * What `sample` draws from: the ids that the filters leave, and their probabilities.
   * @param hidden n·d elements
   * @param options as sample's, so that the same object serves both; topLogProbs and withLogProbs have no effect here, and seed, step and stream have one
   *   on XTC alone. Temperature 0 leaves the likeliest token alone
   * @returns row i is [offsets[i], offsets[i+1]): ids, best first, and their renormalized probabilities; offsets [n+1]
   * @throws LMHeadError NAN where a row has NaN, and as every method does
   */
  async candidates<const O extends Drawing & AsyncOptions & Effective<O, Drawing & AsyncOptions>>(
    hidden: Hidden,
    options?: O,
  ): Promise<Candidates> {
    const passes = openPasses(this);
    const own: (Drawing & AsyncOptions) | undefined = optionsIfAny(options, CANDIDATES_OPTIONS.async);
    const job = passes.prepare(CANDIDATES, passes.rows(hidden, own), own);
    await passes.compute(job, own);
    return asJson(job.candidates!);
  }

  /**
   * `candidates` without a promise: blocks the event loop.
   * @param hidden n·d elements
   * @param options as those of `sample`
   * @returns row i is [offsets[i], offsets[i+1]): ids, best first, and their renormalized probabilities; offsets [n+1]
   * @throws LMHeadError NAN where a row has NaN; RANGE where nothing is left to draw; SHAPE, DTYPE, RANGE, ARGUMENT, CLOSED, MEMORY
   */
  candidatesSync<const O extends Drawing & Effective<O, Drawing>>(hidden: Hidden, options?: O): Candidates {
    const passes = openPasses(this);
    const own: Drawing | undefined = optionsIfAny(options, CANDIDATES_OPTIONS.sync);
    const job = passes.prepare(CANDIDATES, passes.rows(hidden, own), own);
    passes.computeSync(job);
    return asJson(job.candidates!);
  }

  /**
   * One step of beam search: of all beams' continuations by one token those of the largest sums of log-probabilities, in one pass. What is
   * to be done with beams that end (`eosIds` ban nothing here) and how lengths are weighed is the caller's; see docs/sampling.md.
   * @param hidden n·d elements, one hidden state per beam
   * @param scores n values: the log-probability of each beam so far; -Infinity for one that is not to go on. Of a first step: [0]
   * @param options what `sample` would draw from: biases, bans, penalties with a history per beam, filters, temperature; and `count`
   * @returns parents, ids, scores, logProbs, [count] each or as many continuations as there are; best first, of equal sums that of the lower
   *   beam, and then the lower id
   * @throws LMHeadError NAN where a row has NaN; RANGE where a beam has nothing left, and as every method does
   */
  async beam<const O extends BeamOptions & AsyncOptions & Effective<O, BeamOptions & AsyncOptions>>(
    hidden: Hidden,
    scores: Float64Array | Float32Array | readonly number[],
    options?: O,
  ): Promise<Beams> {
    const passes = openPasses(this);
    const own = optionsIfAny<BeamOptions & AsyncOptions>(options, BEAM_OPTIONS.async);
    const beams = passes.beamJob(hidden, scores, own);
    await passes.compute(beams.job, own);
    return bestBeams(beams.scores, beams.job.sample!.topLogProbs!, beams.most);
  }

  /**
   * `beam` without a promise: blocks the event loop.
   * @param hidden n·d elements, one hidden state per beam
   * @param scores n values: the log-probability of each beam so far, or -Infinity
   * @param options as those of `beam`
   * @returns parents, ids, scores, logProbs, best first
   * @throws LMHeadError NAN where a row has NaN; RANGE where a beam has nothing left; SHAPE, DTYPE, ARGUMENT, CLOSED, MEMORY
   */
  beamSync<const O extends BeamOptions & Effective<O, BeamOptions>>(
    hidden: Hidden,
    scores: Float64Array | Float32Array | readonly number[],
    options?: O,
  ): Beams {
    const passes = openPasses(this);
    const beams = passes.beamJob(hidden, scores, optionsIfAny<BeamOptions>(options, BEAM_OPTIONS.sync));
    passes.computeSync(beams.job);
    return bestBeams(beams.scores, beams.job.sample!.topLogProbs!, beams.most);
  }

  /**
   * Speculative verification: accepts or rejects the tokens that a faster model has drafted, one hidden state per
   * token (that at the position before it), and draws the token after the last one accepted. Every token has exactly the
   * distribution that `sample` with these options draws from, whatever the draft's was; at temperature 0 a token is
   * accepted where it is the likeliest. Leviathan et al., "Fast inference from transformers via speculative decoding" (2023).
   * @param hidden n·d elements: one hidden state per draft id, and one more for the bonus token that
   *   follows a draft of which all is accepted
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
    const passes = openPasses(this);
    refusePositionalLogProbs(options, more);
    const own = optionsIfAny(options, VERIFY_DRAFT_OPTIONS.async);
    const job = passes.draftJob(hidden, draftIds, own, true);
    await passes.compute(job, own);
    return draftResultOf(job.draft!, job.n);
  }

  /**
   * `verifyDraft` without a promise: blocks the event loop.
   * @param hidden n·d elements: a hidden state per draft id, and one more for a bonus token
   * @param draftIds n − 1 or n ids below V
   * @param options as those of `sample`, and `draftLogProbs`
   * @returns how many draft ids were accepted; those and the token that follows them, with their log-probabilities
   * @throws LMHeadError NAN where a row that counts has NaN; SHAPE, DTYPE, RANGE, ARGUMENT, CLOSED, MEMORY
   */
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
    const passes = openPasses(this);
    refusePositionalLogProbs(options, more);
    const own = optionsIfAny(options, VERIFY_DRAFT_OPTIONS.sync);
    const job = passes.draftJob(hidden, draftIds, own, false);
    passes.computeSync(job);
    return draftResultOf(job.draft!, job.n);
  }
}
