/** Calls about several samplers or drafts, which are made as one. */
import { got, label } from '../arguments/describe';
import { hiddenRows, requireStill } from '../arguments/hidden';
import {
  DRAFT_OPTIONS,
  NEXT_OPTIONS,
  optionsIfAny,
  readOptions,
  VERIFY_DRAFT_OPTIONS,
  VERIFY_OPTIONS,
} from '../arguments/option-names';
import { isArray, reading } from '../arguments/reading';
import { restoreOrder } from '../arguments/row-subset';
import { liveSignal } from '../arguments/values';
import { within } from '../arguments/within';
import type { ListedJob } from '../backend/backend';
import { LMHeadError } from '../errors';
import { SAMPLE } from '../pass/asked';
import { isWatched, timed, timedSync } from '../pass/diagnostics';
import { draftResultOf } from '../pass/verify-draft';
import { beginTurns, type Sampler, type Turn } from '../sampler';
import type {
  AsyncOptions,
  Draft,
  DraftResult,
  DrawnToken,
  Hidden,
  NextAllOptions,
  NextOptions,
  NextTokens,
  SampleOptions,
} from '../types';
import { passesOf } from './head-properties';
import type { HeadJob, HeadPasses } from './passes';

interface Listed extends ListedJob {
  passes: HeadPasses;
  job: HeadJob;
  /** Of a sampler's token. */
  request?: SampleOptions;
}

/** The calls of one head. Samplers may be of other heads over the same weights. */
export class ListedPasses {
  readonly #own: HeadPasses;

  constructor(own: HeadPasses) {
    this.#own = own;
  }

  async nextAll<Token extends DrawnToken>(
    samplers: readonly Sampler<Token>[],
    hidden: Hidden,
    options: (NextAllOptions & AsyncOptions) | undefined,
  ): Promise<NextTokens<Token>> {
    const turns = turnsOf(samplers);
    return during(turns, async () => {
      const list = this.#nextJobs(turns, hidden, options);
      await this.#compute('nextAll', list, options);
      return tokensOf(list, turns) as NextTokens<Token>;
    });
  }

  nextAllSync<Token extends DrawnToken>(
    samplers: readonly Sampler<Token>[],
    hidden: Hidden,
    options: NextAllOptions | undefined,
  ): NextTokens<Token> {
    const turns = turnsOf(samplers);
    return duringSync(turns, () => {
      const list = this.#nextJobs(turns, hidden, options);
      this.#computeSync('nextAll', list);
      return tokensOf(list, turns) as NextTokens<Token>;
    });
  }

  async verifyDrafts(drafts: unknown, options: AsyncOptions | undefined): Promise<DraftResult[]> {
    const read = readDrafts(drafts);
    const turns = draftTurns(read);
    return during([...turns.values()], async () => {
      const list = this.#draftJobs(read, turns, true);
      await this.#compute('verifyDrafts', list, options);
      return draftResultsOf(list, read, turns);
    });
  }

  verifyDraftsSync(drafts: unknown): DraftResult[] {
    const read = readDrafts(drafts);
    const turns = draftTurns(read);
    return duringSync([...turns.values()], () => {
      const list = this.#draftJobs(read, turns, false);
      this.#computeSync('verifyDrafts', list);
      return draftResultsOf(list, read, turns);
    });
  }

  #nextJobs(turns: readonly Turn[], hidden: Hidden, options: NextAllOptions | undefined): Listed[] {
    const each =
      options?.each === undefined
        ? undefined
        : listOf<NextOptions | undefined>(options.each, 'each', 'options of next');
    if (each && each.length !== turns.length) {
      throw new LMHeadError(
        'SHAPE',
        `each: got options of ${each.length} tokens; want ${turns.length}, those of each sampler's`,
      );
    }
    const { hiddenSize } = this.#own;
    const typed = turns.find(({ hiddenDtype }) => hiddenDtype !== undefined);
    const { data, dtype, n } = hiddenRows(hidden, hiddenSize, typed?.hiddenDtype);
    if (n !== turns.length) {
      throw new LMHeadError('SHAPE', `hidden: got ${n} hidden states; want ${turns.length}, one per sampler`);
    }
    // Before options are read, which may run code that takes the memory away: then the views know of it.
    const rows = turns.map((_, i) => data.subarray(i * hiddenSize, (i + 1) * hiddenSize));
    return turns.map((turn, i) => {
      const name = label('samplers', i);
      const passes = this.#sibling(turn, name);
      const { hiddenDtype } = turn;
      if (hiddenDtype !== undefined && hiddenDtype !== dtype) {
        throw new LMHeadError('DTYPE', `${name}.hiddenDtype: got ${got(hiddenDtype)}; want ${got(dtype)}`);
      }
      const given = each?.[i];
      const own = given === undefined ? {} : readOptions(given, NEXT_OPTIONS.sync, label('each', i));
      const request = within(label('each', i), () => turn.request(own));
      const row = { data: rows[i], dtype, n: 1 };
      const job = within(name, () =>
        turn.draw ? passes.logitsJob(row, request) : passes.prepare(SAMPLE, row, request),
      );
      job.rowName = () => i;
      return { passes, backend: passes.backend, job, request };
    });
  }

  #draftJobs(drafts: readonly Draft[], turns: ReadonlyMap<Draft, Turn>, keep: boolean): Listed[] {
    return drafts.map((draft, i) => {
      const name = label('drafts', i);
      const turn = turns.get(draft);
      const passes = turn ? this.#sibling(turn, `${name}.sampler`) : this.#own;
      const job = within(name, () => {
        const { hidden, draftIds } = draft;
        const own = optionsIfAny(draft.options, (turn ? VERIFY_OPTIONS : VERIFY_DRAFT_OPTIONS).sync);
        return passes.draftJob(hidden, draftIds, turn ? { ...turn.draftRequest(), ...own } : own, keep);
      });
      job.rowName = row => `${row} of ${name}`;
      return { passes, backend: passes.backend, job };
    });
  }

  /** Of a sampler whose passes may be part of this head's. */
  #sibling({ head }: Turn, name: string): HeadPasses {
    const own = this.#own;
    const passes = passesOf(head);
    if (passes === own) return own;
    passes.requireOpen();
    const isOne =
      passes.vocabSize === own.vocabSize &&
      passes.hiddenSize === own.hiddenSize &&
      passes.settings.activations === own.settings.activations &&
      own.backend.hasWeightsOf(passes.backend);
    if (isOne) return passes;
    throw new LMHeadError(
      'ARGUMENT',
      `${name}: got one of a head over other weights; want one of this head, or of another over the same weights`,
    );
  }

  #computeSync(method: string, list: readonly Listed[]): void {
    const { backend, settings } = this.#own;
    const { jobs, n } = this.#still(list);
    if (n === 0) return;
    const run = () => backend.runAll(jobs);
    if (isWatched(settings.performanceMarks)) timedSync(this.#own.timedHead(), { method, n }, run);
    else run();
    restoreOrders(jobs);
  }

  async #compute(method: string, list: readonly Listed[], options: AsyncOptions | undefined): Promise<void> {
    const { backend, settings } = this.#own;
    const signal = liveSignal(options?.signal);
    const { jobs, n } = this.#still(list);
    if (n === 0) return;
    const run = (told?: Float64Array) => backend.runAllAsync(jobs, signal, told);
    if (isWatched(settings.performanceMarks)) await timed(this.#own.timedHead(), { method, n }, run);
    else await run();
    restoreOrders(jobs);
  }

  /** Those with hidden states, which are all there still, as their heads are open: arguments may run code when they are read. */
  #still(list: readonly Listed[]): { jobs: Listed[]; n: number } {
    this.#own.requireOpen();
    const jobs = list.filter(({ job }) => job.n > 0);
    let n = 0;
    for (const { passes, job } of jobs) {
      passes.requireOpen();
      requireStill(job.hidden, job.n * this.#own.hiddenSize);
      n += job.n;
    }
    return { jobs, n };
  }
}

function restoreOrders(jobs: readonly Listed[]): void {
  for (const { job } of jobs) if (job.view) restoreOrder(job, job.view);
}

const MOST_LISTED = 2 ** 20;

/** A caller's array, read. */
function listOf<T>(list: unknown, name: string, of: string): T[] {
  if (!isArray(list)) throw new LMHeadError('ARGUMENT', `${name}: got ${got(list)}; want an array of ${of}`);
  return reading(name, () => {
    const { length }: { length: unknown } = list; // a proxy's may be anything
    if (typeof length !== 'number' || !Number.isInteger(length) || length < 0 || length > MOST_LISTED) {
      throw new LMHeadError(
        'ARGUMENT',
        `${name}: got an array of length ${got(length)}; want 0 to ${MOST_LISTED} ${of}`,
      );
    }
    return Array.from({ length }, (_, i) => list[i] as T);
  });
}

function turnsOf(samplers: unknown): Turn[] {
  return beginTurns(listOf(samplers, 'samplers', 'samplers'), i => label('samplers', i));
}

function readDrafts(drafts: unknown): Draft[] {
  return listOf<Draft>(drafts, 'drafts', 'drafts').map((draft, i) =>
    readOptions(draft, DRAFT_OPTIONS, label('drafts', i)),
  );
}

/** The turns of their samplers. */
function draftTurns(drafts: readonly Draft[]): Map<Draft, Turn> {
  const theirs: number[] = [];
  drafts.forEach(({ sampler }, i) => {
    if (sampler !== undefined) theirs.push(i);
  });
  const turns = beginTurns(
    theirs.map(i => drafts[i].sampler),
    i => `${label('drafts', theirs[i])}.sampler`,
  );
  return new Map(theirs.map((index, i) => [drafts[index], turns[i]]));
}

/** What `call` gives; the turns end with it. */
async function during<T>(turns: readonly Turn[], call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    for (const turn of turns) turn.failed();
    throw error;
  } finally {
    for (const turn of turns) turn.end();
  }
}

function duringSync<T>(turns: readonly Turn[], call: () => T): T {
  try {
    return call();
  } finally {
    for (const turn of turns) turn.end();
  }
}

function tokensOf(list: readonly Listed[], turns: readonly Turn[]): DrawnToken[] {
  // All of them before any is taken, as an error leaves every sampler as it was.
  const samples = list.map(({ job, request }, i) => turns[i].draw?.(job.logits!, request!) ?? job.sample!);
  return turns.map((turn, i) => turn.acceptSample(samples[i]));
}

function draftResultsOf(
  list: readonly Listed[],
  drafts: readonly Draft[],
  turns: ReadonlyMap<Draft, Turn>,
): DraftResult[] {
  const results = list.map(({ job }) => draftResultOf(job.draft!, job.n));
  results.forEach((result, i) => {
    turns.get(drafts[i])?.acceptDraftResult(result);
  });
  return results;
}
