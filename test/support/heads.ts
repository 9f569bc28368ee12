import { expect } from 'vitest';
import type { ErrorKind } from '../../lib/errors';
import { LMHead } from '../../lib/lm-head';
import type { AsyncOptions, HeadOptions, Hidden, OutOption, RunRequest } from '../../lib/types';
import { rejectsKind, throwsKind } from './errors';
import { someNumbers } from './numbers';

/** Sizes of the heads below: odd, so that no kernel's width divides them. */
export const V = 13;
export const D = 7;

export const someWeight = (): Float32Array => someNumbers(V * D, 3);
export const someHidden = (n = 2): Float32Array => someNumbers(n * D, 5);

export function makeHead(
  backend: 'native' | 'reference',
  options: Partial<HeadOptions> = {},
  weight: unknown = someWeight(),
): LMHead {
  return LMHead.from(weight as Float32Array, { vocabSize: V, hiddenSize: D, backend, ...options });
}

/** A head, and a check to follow each error: the head answers as it did at first. */
export function headUnderTest(backend: 'native' | 'reference', options: Partial<HeadOptions> = {}) {
  const head = makeHead(backend, options);
  const hidden = someHidden();
  const answer = () => head.runSync(hidden, { logits: true, top: 2, sample: true, seed: 4, targets: [1, 2] });
  const first = answer();
  const worksOn = () => expect(answer()).toEqual(first);
  /** The synchronous method throws and its twin rejects, alike; then the head works on. */
  const refuses = async (
    method: Method,
    [ofHidden, options]: [hidden: unknown, options?: object | null],
    kind: ErrorKind,
    ...words: string[]
  ) => {
    const thrown = throwsKind(
      () => callSync[method](head, ofHidden as Hidden, options ?? {}),
      kind,
      ...words,
    );
    const rejected = await rejectsKind(
      () => call[method](head, ofHidden as Hidden, options ?? {}),
      kind,
      ...words,
    );
    expect(rejected.message).toBe(thrown.message);
    worksOn();
  };
  return { head, hidden, worksOn, refuses };
}

/** A head on which a long call takes many times as long as to make a few dozen short ones. */
export function busyHead(backend: 'native' | 'reference', options: Partial<HeadOptions> = {}) {
  const [vocabSize, hiddenSize] = [20_000, 16];
  const weight = someNumbers(vocabSize * hiddenSize);
  const head = LMHead.from(weight, { vocabSize, hiddenSize, backend, ...options });
  const rows = backend === 'native' ? 1000 : 50;
  const [many, one] = [someNumbers(rows * hiddenSize, 2), someNumbers(hiddenSize, 3)];
  const long = (of = head) => of.run(many, {});
  const short = (of = head) => of.argmax(one);
  return { head, long, short, rows };
}

/** Options, with `targets` and `top`, which are options of run, and arguments of score and topK. */
export interface AnyOptions extends RunRequest, OutOption, AsyncOptions {}

/** As many zeros as there are hidden states, where no targets are given. */
const targets = (head: LMHead, hidden: Hidden, o: AnyOptions) =>
  'targets' in o
    ? o.targets!
    : new Uint32Array(ArrayBuffer.isView(hidden) ? (hidden as Float32Array).length / head.hiddenSize : 0);

/** The options without `targets` and `top`; getters stay getters. */
const options = (o: AnyOptions): AnyOptions => {
  if (typeof o !== 'object' || !('targets' in o || 'top' in o)) return o;
  const { targets, top, ...rest } = Object.getOwnPropertyDescriptors(o);
  return Object.defineProperties({}, rest);
};

/** The methods that take hidden states, with the least that each wants. */
export const callSync = {
  logits: (head: LMHead, hidden: Hidden, o: AnyOptions = {}) => head.logitsSync(hidden, options(o)),
  logProbs: (head: LMHead, hidden: Hidden, o: AnyOptions = {}) => head.logProbsSync(hidden, options(o)),
  probs: (head: LMHead, hidden: Hidden, o: AnyOptions = {}) => head.probsSync(hidden, options(o)),
  topK: (head: LMHead, hidden: Hidden, o: AnyOptions = {}) => head.topKSync(hidden, o.top ?? 1, options(o)),
  argmax: (head: LMHead, hidden: Hidden, o: AnyOptions = {}) => head.argmaxSync(hidden, options(o)),
  sample: (head: LMHead, hidden: Hidden, o: AnyOptions = {}) =>
    head.sampleSync(hidden, { seed: 1, ...options(o) }),
  score: (head: LMHead, hidden: Hidden, o: AnyOptions = {}) =>
    head.scoreSync(hidden, targets(head, hidden, o), options(o)),
  run: (head: LMHead, hidden: Hidden, o: AnyOptions = {}) => head.runSync(hidden, { argmax: true, ...o }),
} as const;

export const call = {
  logits: (head: LMHead, hidden: Hidden, o: AnyOptions = {}) => head.logits(hidden, options(o)),
  logProbs: (head: LMHead, hidden: Hidden, o: AnyOptions = {}) => head.logProbs(hidden, options(o)),
  probs: (head: LMHead, hidden: Hidden, o: AnyOptions = {}) => head.probs(hidden, options(o)),
  topK: (head: LMHead, hidden: Hidden, o: AnyOptions = {}) => head.topK(hidden, o.top ?? 1, options(o)),
  argmax: (head: LMHead, hidden: Hidden, o: AnyOptions = {}) => head.argmax(hidden, options(o)),
  sample: (head: LMHead, hidden: Hidden, o: AnyOptions = {}) =>
    head.sample(hidden, { seed: 1, ...options(o) }),
  score: (head: LMHead, hidden: Hidden, o: AnyOptions = {}) =>
    head.score(hidden, targets(head, hidden, o), options(o)),
  run: (head: LMHead, hidden: Hidden, o: AnyOptions = {}) => head.run(hidden, { argmax: true, ...o }),
} as const;

export type Method = keyof typeof callSync;
export const methods = Object.keys(callSync) as Method[];
