/** Calls with no hidden states: every method, with every option that it takes, gives an empty result. */
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { candidatesOf, logSoftmax, type SampleOptions, sampleFrom, softmax, topKOf } from '../../lib';
import {
  ARGMAX_OPTIONS,
  CANDIDATES_OF_OPTIONS,
  CANDIDATES_OPTIONS,
  DENSE_OPTIONS,
  LENS_OPTIONS,
  LOG_SOFTMAX_OPTIONS,
  type OptionNames,
  RUN_OPTIONS,
  SAMPLE_FROM_OPTIONS,
  SAMPLE_OPTIONS,
  SCORE_OPTIONS,
  SOFTMAX_OPTIONS,
  TOP_K_OF_OPTIONS,
  TOP_K_OPTIONS,
  VERIFY_DRAFT_OPTIONS,
} from '../../lib/arguments/option-names';
import { backends } from '../support/backends';
import { D, makeHead, V } from '../support/heads';

const ids = { type: 'int32', data: Int32Array.of(1, 2), dims: [1, 2] };
const perRow = (value: unknown) => [value, []];
const lists = [
  [],
  [3],
  Uint32Array.of(3, 5),
  BigInt64Array.of(3n),
  ids,
  { ...ids, dims: [0, 2], data: new Int32Array(0) },
];
/** Values of every option. */
const VALUES: Record<string, unknown[]> = {
  hiddenDtype: ['f16', 'bf16'],
  norm: [true, false],
  guidance: [{ hidden: new Float32Array(0), scale: 2 }],
  temperature: perRow(0.5),
  rows: [[3, 1], ids],
  over: ['rows', 'vocabulary'],
  history: lists,
  promptLength: perRow(0),
  penaltyWindow: [0, 3],
  repetitionPenalty: perRow(1.2),
  frequencyPenalty: perRow(0.5),
  presencePenalty: perRow(0.5),
  dryMultiplier: perRow(1),
  dryBase: perRow(2),
  dryAllowedLength: perRow(1),
  dryWindow: [0, 4],
  dryBreakers: [[], [3], [[3, 4]]],
  noRepeatNgramSize: perRow(1),
  minLength: perRow(2),
  eosIds: lists,
  beginSuppressIds: lists,
  bannedSequences: [[], [[3, 4], ids]],
  biasedSequences: [[], [{ ids: [3, 4], bias: 1 }]],
  length: perRow(1),
  topK: perRow(2),
  topP: perRow(0.5),
  minP: perRow(0.1),
  typicalP: perRow(0.5),
  draftLogProbs: [new Float32Array(0)],
  epsilonCutoff: perRow(0.01),
  etaCutoff: perRow(0.01),
  topNSigma: perRow(1),
  pLess: perRow(true),
  xtcProbability: perRow(0.5),
  xtcThreshold: perRow(0.1),
  xtcProtectedIds: lists,
  temperatureRange: perRow(0.2),
  temperatureExponent: perRow(2),
  maxSurprisal: perRow(4),
  minKeep: perRow(2),
  stageOrder: [
    [
      'xtc',
      'topNSigma',
      'topK',
      'typicalP',
      'topP',
      'minP',
      'epsilonCutoff',
      'etaCutoff',
      'pLess',
      'temperature',
      'maxSurprisal',
    ],
  ],
  logitBias: [...perRow({ 3: 1 }), {}, new Map([[3, -Infinity]]), new Map()],
  bannedIds: [...lists, Array.from({ length: V }, (_, id) => id)],
  allowedIds: lists,
  allowedMask: perRow(Uint32Array.of(0)),
  seed: perRow(1n),
  stream: perRow(3),
  step: [...perRow(5), 0, 2 ** 32 - 1],
  topLogProbs: [0, 3],
  withLogProbs: [true, false],
  ignoreIndex: [-100],
  translators: [[undefined], [null, { weight: new Float32Array(D * D), residual: true }]],
  entropy: [true, false],
  logits: [true, false],
  logProbs: [true, false],
  argmax: [true, false],
  top: [1, V],
  sample: [true, false],
  targets: [[], new Uint32Array(0), { ...ids, dims: [0], data: new Int32Array(0) }],
  out: [new Float32Array(0), new Float32Array(9)],
  signal: [new AbortController().signal],
};
/** What an option needs beside it, to have an effect or to be taken. */
const BESIDE: Record<string, { rows?: number[]; eosIds?: number[]; targets?: number[] }> = {
  over: { rows: [1, 2] },
  minLength: { eosIds: [1] },
  ignoreIndex: { targets: [] },
  entropy: { targets: [] },
};
const OF_HISTORY = /^(promptLength|penaltyWindow|dry.*|noRepeatNgramSize|.*Sequences|.*Penalty)$/;

/** Every number in it, or in arrays in it. */
function countOf(result: object): number {
  if (ArrayBuffer.isView(result)) return (result as Float32Array).length;
  return Object.entries(result)
    .filter(([name]) => name !== 'offsets') // one more than there are rows
    .reduce((sum, [, value]) => sum + (typeof value === 'object' ? countOf(value) : 0), 0);
}

describe.each(backends)('with no hidden states, %s', backend => {
  const norm = { type: 'rmsnorm', weight: new Float32Array(D).fill(1), eps: 1e-5 } as const;
  const head = makeHead(backend, { norm });
  const none = new Float32Array(0);
  type Call = (h: never, o: never) => object | Promise<object>;
  const calls: Record<string, [OptionNames, Call]> = {
    run: [RUN_OPTIONS.async, (h, o) => head.run(h, o)],
    runSync: [RUN_OPTIONS.sync, (h, o) => head.runSync(h, o)],
    logits: [DENSE_OPTIONS.logits.async, (h, o) => head.logits(h, o)],
    logitsSync: [DENSE_OPTIONS.logits.sync, (h, o) => head.logitsSync(h, o)],
    logProbs: [DENSE_OPTIONS.logProbs.async, (h, o) => head.logProbs(h, o)],
    logProbsSync: [DENSE_OPTIONS.logProbs.sync, (h, o) => head.logProbsSync(h, o)],
    probs: [DENSE_OPTIONS.probs.async, (h, o) => head.probs(h, o)],
    probsSync: [DENSE_OPTIONS.probs.sync, (h, o) => head.probsSync(h, o)],
    topK: [TOP_K_OPTIONS.async, (h, o) => head.topK(h, 2, o)],
    topKSync: [TOP_K_OPTIONS.sync, (h, o) => head.topKSync(h, 2, o)],
    lens: [LENS_OPTIONS.async, (h, o) => head.lens(h, 2, o)],
    lensSync: [LENS_OPTIONS.sync, (h, o) => head.lensSync(h, 2, o)],
    argmax: [ARGMAX_OPTIONS.async, (h, o) => head.argmax(h, o)],
    argmaxSync: [ARGMAX_OPTIONS.sync, (h, o) => head.argmaxSync(h, o)],
    sample: [SAMPLE_OPTIONS.async, (h, o) => head.sample(h, o)],
    sampleSync: [SAMPLE_OPTIONS.sync, (h, o) => head.sampleSync(h, o)],
    candidates: [CANDIDATES_OPTIONS.async, (h, o) => head.candidates(h, o)],
    candidatesSync: [CANDIDATES_OPTIONS.sync, (h, o) => head.candidatesSync(h, o)],
    score: [SCORE_OPTIONS.async, (h, o) => head.score(h, [], o)],
    scoreSync: [SCORE_OPTIONS.sync, (h, o) => head.scoreSync(h, [], o)],
    verifyDraft: [VERIFY_DRAFT_OPTIONS.async, (h, o) => head.verifyDraft(h, [], o)],
    verifyDraftSync: [VERIFY_DRAFT_OPTIONS.sync, (h, o) => head.verifyDraftSync(h, [], o)],
    softmax: [SOFTMAX_OPTIONS, (h, o) => softmax(h, V, o)],
    logSoftmax: [LOG_SOFTMAX_OPTIONS, (h, o) => logSoftmax(h, V, o)],
    topKOf: [TOP_K_OF_OPTIONS, (h, o) => topKOf(h, V, 2, o)],
    sampleFrom: [SAMPLE_FROM_OPTIONS, (h, o) => sampleFrom(h, V, o)],
    candidatesOf: [CANDIDATES_OF_OPTIONS, (h, o) => candidatesOf(h, V, o)],
  };

  it.each(Object.keys(calls))('%s is empty, whatever option there is', async name => {
    const [{ names }, call] = calls[name];
    const takesSample = names.has('sample');
    const empty = async (options: object) => {
      const hidden = 'hiddenDtype' in options ? new Uint16Array(0) : none;
      for (const h of [hidden, { data: hidden, dims: [0, name.endsWith('Of') || !(name in head) ? V : D] }]) {
        const result = await call(h as never, options as never);
        const out = 'out' in options ? options.out : undefined;
        if (out) expect(result).toBe(out);
        else expect(countOf(result), inspect(options)).toBe(0);
        if ('offsets' in result) expect(result.offsets).toEqual(new Uint32Array(1));
        if ('count' in result) expect(result).toMatchObject({ count: 0, nll: Number.NaN });
        if ('accepted' in result) expect(result.accepted).toBe(0);
      }
    };
    await empty({});
    for (const option of names.keys()) {
      expect(Object.keys(VALUES)).toContain(option);
      for (const value of VALUES[option])
        await empty({
          ...(takesSample && { sample: true }),
          ...(OF_HISTORY.test(option) && { history: [1, 2, 1, 2] }),
          ...((takesSample || !BESIDE[option]?.targets) && BESIDE[option]),
          [option]: value,
        });
    }
  });

  it('all options of a sample at once are no more', () => {
    for (let form = 0; form < 2; form++) {
      const options: Record<string, unknown> = {};
      for (const name of SAMPLE_OPTIONS.sync.names.keys())
        if (name !== 'allowedMask' && name !== 'hiddenDtype') options[name] = VALUES[name][form];
      options.withLogProbs = true; // beside topLogProbs
      expect(countOf(head.sampleSync(none, options as SampleOptions))).toBe(0);
      expect(countOf(head.candidatesSync(none, options as SampleOptions))).toBe(0);
    }
  });
});
