/** What a server may learn of every call: how long it waited, and how long it computed. */
import { channel } from 'node:diagnostics_channel';
import { performance } from 'node:perf_hooks';
import { APART, type HeadBackend, type HiddenJob, PassFact } from '../backend/backend';
import type { PassTiming } from '../types';

const passes = channel('lmhead:pass');

/** Does anybody want to know? Where not, a call is not timed. */
export function isWatched(performanceMarks: boolean): boolean {
  return performanceMarks || passes.hasSubscribers;
}

/** What a head's timings have in common. */
export interface TimedHead {
  vocabSize: number;
  hiddenSize: number;
  backend: HeadBackend['kind'];
  /** Leave an entry on the performance timeline too. */
  performanceMarks: boolean;
}

/** What a call is called, and its hidden states. */
interface TimedCall {
  method: string;
  n: number;
}

export function timedSync(head: TimedHead, call: TimedCall, run: () => void): void {
  const startTime = performance.now();
  let error: unknown;
  try {
    run();
  } catch (thrown) {
    error = thrown;
    throw thrown;
  } finally {
    const duration = performance.now() - startTime;
    report(head, {
      ...about(head, call, error),
      async: false,
      startTime,
      duration,
      queueTime: 0,
      passTime: duration,
      calls: 1,
      rows: call.n,
    });
  }
}

/** @param run is told the facts of its pass */
export async function timed(
  head: TimedHead,
  call: TimedCall,
  run: (told: Float64Array) => Promise<void>,
): Promise<void> {
  const startTime = performance.now();
  const told = new Float64Array(PassFact.count);
  let error: unknown;
  try {
    await run(told);
  } catch (thrown) {
    error = thrown;
    throw thrown;
  } finally {
    const duration = performance.now() - startTime;
    const apart = APART[told[PassFact.apart]];
    report(head, {
      ...about(head, call, error),
      async: true,
      startTime,
      duration,
      queueTime: 1000 * told[PassFact.waited],
      passTime: 1000 * told[PassFact.took],
      calls: told[PassFact.calls],
      rows: told[PassFact.rows],
      ...(apart && { apart }),
    });
  }
}

function about({ vocabSize, hiddenSize, backend }: TimedHead, { method, n }: TimedCall, error: unknown) {
  const code = (error as { code?: string } | undefined)?.code;
  return { method, n, vocabSize, hiddenSize, backend, ...(code && { error: code }) };
}

const METHOD_OF_RESULT: { [result in keyof HiddenJob]?: string } = {
  logits: 'logits',
  logProbs: 'logProbs',
  probs: 'probs',
  argmax: 'argmax',
  top: 'topK',
  sample: 'sample',
  candidates: 'candidates',
  score: 'score',
  draft: 'verifyDraft',
};

export function callOf(job: HiddenJob): TimedCall {
  return { method: methodOf(job), n: job.n };
}

/** The method whose results these are; `run` where they are no single one's. */
function methodOf(job: HiddenJob): string {
  if (job.metric !== undefined) return 'nearest';
  const asked = Object.entries(METHOD_OF_RESULT).filter(
    ([result]) => job[result as keyof HiddenJob] !== undefined,
  );
  return asked.length === 1 ? asked[0][1] : 'run';
}

function report({ performanceMarks }: TimedHead, timing: PassTiming): void {
  passes.publish(timing);
  if (!performanceMarks) return;
  const { startTime: start, duration, ...detail } = timing;
  performance.measure(`lmhead ${timing.method}`, { start, duration, detail });
}
