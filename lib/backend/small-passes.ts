/**
 * Synchronous passes with results of few elements. A typed array of 64 bytes or less lies in V8's heap until somebody asks for its buffer, as
 * Node-API does, and that moves it out: for each array a tenth of what the smallest call costs. So such a call computes into arrays that
 * are here, and its results are copied into those that the caller gets.
 */
import type { NativeHead, NativeResult } from './addon';
import type { HiddenJob, PassJob } from './backend';
import { DTYPE_CODE, rareArguments } from './pass-arguments';

/** Elements of 64 bytes. */
const MOST = 16;

const slot = <T>(View: new (buffer: ArrayBuffer, offset: number, length: number) => T, index: number): T =>
  new View(memory, index * 4 * MOST, MOST);
const memory = new ArrayBuffer(12 * 4 * MOST);

const SMALL = {
  argmax: slot(Uint32Array, 0),
  topIds: slot(Uint32Array, 1),
  topLogits: slot(Float32Array, 2),
  topLogProbs: slot(Float32Array, 3),
  sampleIds: slot(Uint32Array, 4),
  sampleLogProbs: slot(Float32Array, 5),
  scoreTargets: slot(Uint32Array, 6),
  scoreLogProbs: slot(Float32Array, 7),
  scoreRanks: slot(Uint32Array, 8),
  scoreEntropy: slot(Float32Array, 9),
  logSumExp: slot(Float32Array, 10),
};

/** Whether its results fit, but for those of [n,V]. */
export function isSmall({ n, top }: PassJob): boolean {
  return n <= MOST && (top === undefined || n * top.k <= MOST);
}

function copied<T extends Uint32Array | Float32Array>(to: T, from: T, count: number): T {
  for (let i = 0; i < count; i++) to[i] = from[i];
  return to;
}

/** Runs it. Written out, as such calls cost little else; what is not passed need not be looked at. */
export function runSmall(head: NativeHead, job: HiddenJob): NativeResult {
  const { n, hidden, argmax, logits, logProbs, probs, rowParameters, top, sample, score, logSumExp } = job;
  const dtype = DTYPE_CODE[job.hiddenDtype];
  const rare = rareArguments(job);
  // Objects are read by the addon, which runs what somebody has put on their prototype: perhaps another call.
  const callsBack = rare !== undefined || job.adjustments !== undefined;
  let result: NativeResult;
  if (top || sample || score || logSumExp || job.candidates || callsBack) {
    result = head.run(
      n,
      hidden,
      dtype,
      argmax && SMALL.argmax,
      logits,
      logProbs,
      probs,
      rowParameters,
      top?.k,
      top && SMALL.topIds,
      top && SMALL.topLogits,
      top?.logProbs && SMALL.topLogProbs,
      sample && SMALL.sampleIds,
      sample?.logProbs && SMALL.sampleLogProbs,
      score && (callsBack ? score.targets : copied(SMALL.scoreTargets, score.targets, n)),
      score && SMALL.scoreLogProbs,
      score && SMALL.scoreRanks,
      score?.entropy && SMALL.scoreEntropy,
      logSumExp && SMALL.logSumExp,
      job.adjustments,
      job.candidates && true,
      rare,
    );
  } else if (logits || logProbs || probs || rowParameters) {
    result = head.run(n, hidden, dtype, argmax && SMALL.argmax, logits, logProbs, probs, rowParameters);
  } else {
    result = head.run(n, hidden, dtype, argmax && SMALL.argmax);
  }
  if (!Array.isArray(result)) takeSmall(job);
  return result;
}

/** Hands out what a call has computed. */
function takeSmall({ n, argmax, top, sample, score, logSumExp }: PassJob): void {
  if (argmax) copied(argmax, SMALL.argmax, n);
  if (top) {
    const count = n * top.k;
    copied(top.ids, SMALL.topIds, count);
    copied(top.logits, SMALL.topLogits, count);
    if (top.logProbs) copied(top.logProbs, SMALL.topLogProbs, count);
  }
  if (sample) {
    copied(sample.ids, SMALL.sampleIds, n);
    if (sample.logProbs) copied(sample.logProbs, SMALL.sampleLogProbs, n);
  }
  if (score) {
    copied(score.logProbs, SMALL.scoreLogProbs, n);
    copied(score.ranks, SMALL.scoreRanks, n);
    if (score.entropy) copied(score.entropy, SMALL.scoreEntropy, n);
  }
  if (logSumExp) copied(logSumExp, SMALL.logSumExp, n);
}
