/**
 * Every way to call a head, for the tests of memory: name, and the call. One that returns a promise is awaited. A test holds the
 * list against the methods that there are. The head needs a final norm, and a vocabulary of at least 10.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { candidatesOf, LMHead, logSoftmax, sampleFrom, softmax, topKOf } from '../../dist/index.mjs';

/** @typedef {(head: LMHead, hidden: Float32Array, options?: object) => unknown} Call */

/** @type {Record<string, Call>} */
export const METHODS = {
  toJSON: head => JSON.stringify(head),
  logitsSync: (head, hidden) => head.logitsSync(hidden),
  logits: (head, hidden, options) => head.logits(hidden, options),
  logProbsSync: (head, hidden) => head.logProbsSync(hidden),
  logProbs: (head, hidden, options) => head.logProbs(hidden, options),
  probsSync: (head, hidden) => head.probsSync(hidden),
  probs: (head, hidden, options) => head.probs(hidden, options),
  topKSync: (head, hidden) => head.topKSync(hidden, 3),
  topK: (head, hidden, options) => head.topK(hidden, 3, options),
  'topKSync, without log-probabilities': (head, hidden) => head.topKSync(hidden, 3, { withLogProbs: false }),
  'sample, without log-probabilities': (head, hidden, options) =>
    head.sample(hidden, { temperature: 0.8, withLogProbs: false, ...options }),
  argmaxSync: (head, hidden) => head.argmaxSync(hidden),
  argmax: (head, hidden, options) => head.argmax(hidden, options),
  sampleSync: (head, hidden) => head.sampleSync(hidden, { topK: 5, topP: 0.9, seed: 1 }),
  sample: (head, hidden, options) => head.sample(hidden, { topP: 0.9, ...options }),
  scoreSync: (head, hidden) => head.scoreSync(hidden, [1], { entropy: true }),
  score: (head, hidden, options) => head.score(hidden, [1], options),
  runSync: (head, hidden) => head.runSync(hidden, { logits: true, top: 2, argmax: true, targets: [3] }),
  run: (head, hidden, options) => head.run(hidden, { logProbs: true, sample: true, ...options }),
  candidatesSync: (head, hidden) => head.candidatesSync(hidden, { topP: 0.9 }),
  candidates: (head, hidden, options) => head.candidates(hidden, { topK: 20, ...options }),
  verifyDraftSync: (head, hidden) => head.verifyDraftSync(hidden, [1], { seed: 1 }),
  verifyDraft: (head, hidden, options) => head.verifyDraft(hidden, [1], { seed: 1, ...options }),
  lensSync: (head, hidden) => head.lensSync(hidden, 2),
  lens: (head, hidden, options) => head.lens(hidden, 2, options),
  nearestSync: head => head.nearestSync(1, 3, { metric: 'cosine' }),
  nearest: (head, hidden, options) => head.nearest(hidden, 3, options),
  nextAllSync: (head, hidden) =>
    head.nextAllSync([head.sampler({ topK: 5, repetitionPenalty: 1.1 })], hidden),
  nextAll: (head, hidden, options) => head.nextAll([head.sampler({ topP: 0.9, seed: 1 })], hidden, options),
  verifyDraftsSync: (head, hidden) =>
    head.verifyDraftsSync([{ hidden, draftIds: [1], options: { seed: 1 } }]),
  verifyDrafts: (head, hidden, options) =>
    head.verifyDrafts([{ hidden, draftIds: [1], sampler: head.sampler({ topK: 5, seed: 1 }) }], options),
  beamSync: (head, hidden) => head.beamSync(hidden, [0], { count: 5 }),
  beam: (head, hidden, options) => head.beam(hidden, [-1], options),
  'guidance, sequences': (head, hidden, options) =>
    head.sample(hidden, {
      ...{ guidance: { hidden: hidden.slice(), scale: 1.5 }, history: [1], bannedSequences: [[1, 2]] },
      ...{ minKeep: 3, topP: 0.5, xtcProbability: 1, xtcProtectedIds: [1, 2], beginSuppressIds: [3] },
      ...options,
    }),
  'a logits hook': (head, hidden, options) =>
    head.sampler({ topP: 0.9, topLogProbs: 2, logits: u => void u.fill(0, 0, 2) }).next(hidden, options),
  'sampler.verifySync': (head, hidden) => head.sampler({ topK: 5 }).verifySync(hidden, [1]),
  'sampler.nextSync': (head, hidden) => head.sampler({ topK: 5, repetitionPenalty: 1.1 }).nextSync(hidden),
  'sampler.next': (head, hidden, options) =>
    head.sampler({ topP: 0.9, topLogProbs: 2 }).next(hidden, options),
  'sampler, saved and restored': (head, hidden) => {
    const sampler = head.sampler({ seed: 1, history: [1, 2] });
    sampler.accept(sampler.nextSync(hidden).id);
    head.sampler().restore(JSON.parse(JSON.stringify(sampler)));
  },
  'every stage': (head, hidden, options) =>
    head.sample(hidden, {
      ...{
        topNSigma: 3,
        typicalP: 0.99,
        minP: 1e-4,
        epsilonCutoff: 1e-4,
        etaCutoff: 1e-4,
        xtcProbability: 0.5,
        temperatureRange: 0.1,
      },
      ...{ history: [1, 2, 1], dryMultiplier: 1, noRepeatNgramSize: 2, bannedIds: [4], logitBias: { 5: 1 } },
      ...options,
    }),
  'rows of E': (head, hidden, options) => head.topK(hidden, 2, { rows: [9, 1, 5], ...options }),
  'rows of E, over the vocabulary': (head, hidden) =>
    head.logProbsSync(hidden, { rows: [1, 5, 9], over: 'vocabulary' }),
  allowedIds: (head, hidden, options) => head.sample(hidden, { allowedIds: [1, 5, 9], ...options }),
  embed: head => head.embed([1, 2, 3]),
  attach: head => LMHead.attach(head.handle).close(),
  logSoftmax: (_, logits) => logSoftmax(logits, logits.length),
  softmax: (_, logits) => softmax(logits, logits.length),
  topKOf: (_, logits) => topKOf(logits, logits.length, 2),
  sampleFrom: (_, logits) => sampleFrom(logits, logits.length, { topP: 0.9, seed: 1 }),
  candidatesOf: (_, logits) => candidatesOf(logits, logits.length, { topK: 5 }),
  'a call that fails': (head, hidden) => head.argmax(hidden.subarray(1)).catch(() => {}),
};

/** Those that take milliseconds, which a test may call less often. @type {Record<string, Call>} */
export const SLOW_METHODS = {
  verify: (head, hidden) => head.verify(hidden),
  quantize: async (head, hidden) => (await head.quantize('i8', { hidden })).head.close(),
  saveSync: head => inFolder(path => head.saveSync(path)),
  save: head => inFolder(path => head.save(path)),
};

async function inFolder(save) {
  const folder = mkdtempSync(join(tmpdir(), 'lmhead-'));
  try {
    await save(join(folder, 'head.safetensors'));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
