/** How the methods of a head become passes: arguments checked, arrays for the results made, the pass run. */
import { adjustmentsOf } from '../arguments/adjustments';
import { firstOf, newFloats, newWords, outputArray, overlap } from '../arguments/arrays';
import { because } from '../arguments/describe';
import { draftJob } from '../arguments/draft';
import type { HeadSettings } from '../arguments/head-options';
import { type HiddenRows, hiddenRows, requireStill } from '../arguments/hidden';
import { targetIds } from '../arguments/ids';
import { tellsLogProbs } from '../arguments/log-probs';
import { DENSE_OPTIONS, optionsIfAny } from '../arguments/option-names';
import { rowParameters } from '../arguments/row-parameters';
import { type RowSubset, restoreOrder, rowSubset } from '../arguments/row-subset';
import { flag, integerBetween, liveSignal, oneOf } from '../arguments/values';
import { type HeadBackend, type HeadSpec, type HiddenJob, noCandidates } from '../backend/backend';
import { floats } from '../dtypes/half';
import { LMHeadError } from '../errors';
import {
  ARGMAX,
  CANDIDATES,
  DRAFT,
  DRAWN,
  LOG_PROBS,
  LOG_SUM_EXP,
  LOGITS,
  NOT_GREEDY,
  SAMPLE,
  SCORE,
  TOP,
} from '../pass/asked';
import { beamScores, MOST_BEAMS } from '../pass/beam';
import { callOf, isWatched, type TimedHead, timed, timedSync } from '../pass/diagnostics';
import { guidanceOf, guidedStates } from '../pass/guidance';
import { statesOf } from '../pass/logits-hook';
import { queryRows } from '../pass/nearest';
import { lease, release, requireFree } from '../pass/pending-outputs';
import { newDrawnIds, newSample } from '../pass/sample-result';
import { finalNorm } from '../reference/norm';
import { requireMergeable, requireOwn } from '../shard/mergeable';
import { refuseShard, type ShardRange } from '../shard/range';
import type {
  AsyncOptions,
  BeamOptions,
  CallOptions,
  Hidden,
  Ids,
  LogProbsOption,
  NearestOptions,
  OutOption,
  RunRequest,
  SampleOptions,
  VerifyDraftOptions,
} from '../types';
import type { HeadParts } from './open';

/** Results of [n,V]; alone in a pass, a caller may say where they go. */
type DenseResult = 'logits' | 'logProbs' | 'probs';

export interface HeadJob extends HiddenJob {
  view?: RowSubset;
}

export class HeadPasses {
  readonly backend: HeadBackend;
  readonly settings: HeadSettings;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly #validVocabSize: number;
  readonly #normProblem: string | undefined;
  readonly #shard: ShardRange | undefined;
  /** The caller's own bytes, where they are used in place; no result may be written there. */
  readonly #borrowed: ArrayBufferView[];
  #closed = false;

  constructor({ spec, settings, backend, shard }: HeadParts) {
    this.backend = backend;
    this.#shard = shard?.range;
    this.settings = settings;
    this.vocabSize = spec.vocabSize;
    this.hiddenSize = spec.hiddenSize;
    this.#validVocabSize = spec.epilogue.validVocabSize;
    this.#normProblem = spec.normProblem;
    this.#borrowed = borrowedMemory(spec);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.backend.close();
    // A running job still reads borrowed weights: they are let go when it has ended.
    void this.backend.idle().then(() => {
      this.#borrowed.length = 0;
    });
  }

  requireOpen(): void {
    if (this.#closed) throw new LMHeadError('CLOSED', 'the head is closed; want one that is open');
  }

  /** Refuses an `out` that a pending call will write to, or that holds the weights. */
  requireWritable(out: Float32Array): void {
    requireFree(out);
    for (const weights of this.#borrowed) {
      if (overlap(out, weights)) {
        throw new LMHeadError('RANGE', "out: got memory of the head's weights; want memory of its own");
      }
    }
  }

  rows(hidden: Hidden, options: CallOptions | undefined): HiddenRows {
    return hiddenRows(hidden, this.hiddenSize, options?.hiddenDtype);
  }

  /** Checks the other arguments and makes the arrays for the results, but for those of [n,V]. */
  prepare(
    asked: number,
    rows: HiddenRows,
    options: (RunRequest & LogProbsOption) | undefined,
    k?: number,
    targets?: Ids,
    kName = 'k',
  ): HeadJob {
    const { n } = rows;
    const valid = this.#validVocabSize;
    const tells = tellsLogProbs(options);
    if (this.#shard) requireMergeable(asked, options);
    const view = options && rowSubset(options, valid);
    const notGreedy = tells ? NOT_GREEDY : NOT_GREEDY & ~TOP;
    const greedy = (asked & DRAWN) !== 0 && (asked & notGreedy) === 0;
    const purpose = asked & (SAMPLE | DRAFT) ? 'sample' : asked & CANDIDATES ? 'filter' : 'distribution';
    const job: HeadJob = {
      n,
      view,
      metric: undefined,
      draft: undefined,
      hidden: rows.data,
      hiddenDtype: rows.dtype,
      rowParameters: rowParameters(options, n, valid, purpose, greedy),
      logits: undefined,
      logProbs: undefined,
      probs: undefined,
      argmax: undefined,
      top: undefined,
      sample: undefined,
      score: undefined,
      logSumExp: undefined,
      adjustments:
        asked & (SAMPLE | CANDIDATES) ? adjustmentsOf(options, n, this.vocabSize, valid) : undefined,
      candidates: asked & CANDIDATES ? noCandidates() : undefined,
    };
    if (asked & TOP) {
      const most = integerBetween(k, kName, 1, view ? view.rows.length : valid);
      job.top = {
        k: most,
        ids: newWords(n * most, 'ids'),
        logits: newFloats(n * most, 'logits'),
        logProbs: tells ? newFloats(n * most, 'logProbs') : undefined,
      };
    }
    if (asked & SCORE) {
      job.score = {
        targets: targetIds(targets, n, valid, options?.ignoreIndex, view?.rows),
        logProbs: newFloats(n, 'logProbs'),
        ranks: newWords(n, 'ranks'),
        entropy: flag(options?.entropy, 'entropy') ? newFloats(n, 'entropy') : undefined,
      };
    }
    if (asked & ARGMAX) job.argmax = newWords(n, 'argmax');
    if (asked & SAMPLE)
      job.sample = tells ? newSample(options, n, view ? view.rows.length : valid) : newDrawnIds(n);
    if (asked & LOG_SUM_EXP && tells) job.logSumExp = newFloats(n, 'logSumExp');
    if (options !== undefined) this.#prepareStates(job, rows, options);
    return job;
  }

  /** Puts the final norm, and guidance, between the hidden states and the pass. */
  #prepareStates(job: HiddenJob, rows: HiddenRows, options: CallOptions): void {
    const isNormed = flag(options.norm, 'norm');
    const { settings, hiddenSize } = this;
    const guidance =
      options.guidance === undefined
        ? undefined
        : guidanceOf(options.guidance, rows, hiddenSize, options.hiddenDtype, settings);
    if (!isNormed && !guidance) return;
    const states = isNormed ? this.#normalized(rows) : this.#floats(rows);
    const other = guidance && (isNormed ? this.#normalized(guidance.states) : this.#floats(guidance.states));
    job.hidden = other ? guidedStates(states, other, guidance.scales, hiddenSize) : states;
    job.hiddenDtype = 'f32';
  }

  #normalized(rows: HiddenRows): Float32Array {
    const { norm } = this.settings;
    if (!norm) {
      throw new LMHeadError(
        'RANGE',
        `norm: got true for a head without one${because(this.#normProblem)}; want the option norm where the head is made`,
      );
    }
    return finalNorm(this.#floats(rows), rows.n, this.hiddenSize, norm);
  }

  #floats({ data, dtype, n }: HiddenRows): Float32Array {
    requireStill(data, n * this.hiddenSize);
    return floats(data, dtype);
  }

  nearestJob(idOrVector: unknown, k: number, options: NearestOptions | undefined): HeadJob {
    const metric = oneOf(options?.metric ?? 'dot', 'metric', ['dot', 'cosine']);
    if (this.#shard) requireOwn(this.#shard, idOrVector);
    const query = queryRows(idOrVector, options?.hiddenDtype, metric, this.backend, this);
    const withLogProbs = this.#shard !== undefined; // a shard's results have them always
    const job = this.prepare(TOP, query, { rows: options?.rows, withLogProbs }, k);
    job.metric = metric;
    return job;
  }

  draftJob(hidden: Hidden, draftIds: Ids, options: VerifyDraftOptions | undefined, keep: boolean): HeadJob {
    const job = this.prepare(DRAFT, this.rows(hidden, options), options);
    job.draft = draftJob(draftIds, options?.draftLogProbs, job.n, this.vocabSize, job.view, keep);
    const { ids } = job.draft;
    job.adjustments = adjustmentsOf(options, job.n, this.vocabSize, this.#validVocabSize, ids);
    return job;
  }

  /** Of the logits that a sampler's hook is to see. */
  logitsJob(rows: HiddenRows, request: SampleOptions): HeadJob {
    const job = this.prepare(0, rows, statesOf(request));
    job.logits = newFloats(this.#denseCount(job), 'logits');
    return job;
  }

  /** A sample's, which tells of each row the likeliest tokens. */
  beamJob(hidden: Hidden, scores: unknown, options: BeamOptions | undefined) {
    if (this.#shard) throw refuseShard('beam', 'the whole head');
    const rows = this.rows(hidden, options);
    const most = integerBetween(options?.count ?? Math.max(rows.n, 1), 'count', 1, MOST_BEAMS);
    const job = this.prepare(SAMPLE, rows, { ...options, topLogProbs: most, seed: 0 });
    return { job, most, scores: beamScores(scores, rows.n) };
  }

  runJob(asked: number, hidden: Hidden, request: RunRequest & LogProbsOption): HeadJob {
    const job = this.prepare(
      asked,
      hiddenRows(hidden, this.hiddenSize, request.hiddenDtype),
      request,
      request.top,
      request.targets,
      'top',
    );
    const count = this.#denseCount(job);
    if (asked & LOGITS) job.logits = newFloats(count, 'logits');
    if (asked & LOG_PROBS) job.logProbs = newFloats(count, 'logProbs');
    return job;
  }

  /** How many elements a result of one per hidden state and id has. */
  #denseCount({ n, view }: HeadJob): number {
    if (this.#shard) return n * (this.#shard.end - this.#shard.begin);
    return n * (view ? view.rows.length : this.vocabSize);
  }

  /** The job of a result of [n,V], and how many elements that has; a caller's `out` has been checked. */
  #denseJob(hidden: Hidden, options: (CallOptions & OutOption) | undefined): { job: HeadJob; count: number } {
    const rows = this.rows(hidden, options);
    const job = this.prepare(0, rows, options);
    const count = this.#denseCount(job);
    const out = options?.out;
    if (out !== undefined) {
      outputArray(out, count, rows.data, 'hidden');
      this.requireWritable(out);
    }
    return { job, count };
  }

  /** A pass with one result of [n,V], written where it is wanted. */
  denseSync(result: DenseResult, hidden: Hidden, given: (CallOptions & OutOption) | undefined): Float32Array {
    const options = optionsIfAny(given, DENSE_OPTIONS[result].sync);
    const { job, count } = this.#denseJob(hidden, options);
    const out = options?.out ?? newFloats(count, result);
    job[result] = firstOf(out, count);
    this.computeSync(job);
    return out;
  }

  /** Computes into an array that no one else can reach; a caller's own may be detached or written to meanwhile. */
  async dense(
    result: DenseResult,
    hidden: Hidden,
    given: (CallOptions & OutOption & AsyncOptions) | undefined,
  ): Promise<Float32Array> {
    const options = optionsIfAny(given, DENSE_OPTIONS[result].async);
    const { job, count } = this.#denseJob(hidden, options);
    const out = options?.out;
    const fresh = newFloats(count, result);
    job[result] = fresh;
    if (out === undefined) {
      await this.compute(job, options);
      return fresh;
    }
    lease(out);
    try {
      await this.compute(job, options);
      firstOf(outputArray(out, count), count).set(fresh);
      return out;
    } finally {
      release(out);
    }
  }

  timedHead(): TimedHead {
    const { vocabSize, hiddenSize, settings } = this;
    const { performanceMarks } = settings;
    return { vocabSize, hiddenSize, backend: this.backend.kind, performanceMarks };
  }

  computeSync(job: HeadJob): void {
    this.requireOpen(); // still: arguments may run code when they are read
    if (job.n === 0 && !this.#shard) return;
    requireStill(job.hidden, job.n * this.hiddenSize);
    if (isWatched(this.settings.performanceMarks))
      timedSync(this.timedHead(), callOf(job), () => this.backend.run(job));
    else this.backend.run(job);
    if (job.view) restoreOrder(job, job.view);
  }

  async compute(job: HeadJob, options: AsyncOptions | undefined): Promise<void> {
    const signal = liveSignal(options?.signal);
    this.requireOpen();
    if (job.n === 0 && !this.#shard) return;
    requireStill(job.hidden, job.n * this.hiddenSize);
    if (isWatched(this.settings.performanceMarks))
      await timed(this.timedHead(), callOf(job), told => this.backend.runAsync(job, signal, told));
    else await this.backend.runAsync(job, signal);
    if (job.view) restoreOrder(job, job.view);
  }
}

function borrowedMemory(spec: HeadSpec): ArrayBufferView[] {
  const borrowed: ArrayBufferView[] = [];
  for (const source of [spec.output, spec.input]) {
    if (source?.kind === 'memory' && !source.copy) borrowed.push(source.data);
  }
  return borrowed;
}
