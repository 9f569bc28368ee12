/**
 * Every way to call a head, for the tests of memory: name, and the call. One that returns a promise is awaited. Whoever adds a
 * method to the library adds it here.
 * @type {Record<string, (head: import('../../dist/index.mjs').LMHead, hidden: Float32Array, options?: object) => unknown>}
 */
export const METHODS = {
  logitsSync: (head, hidden) => head.logitsSync(hidden),
  logits: (head, hidden, options) => head.logits(hidden, options),
  logProbsSync: (head, hidden) => head.logProbsSync(hidden),
  logProbs: (head, hidden, options) => head.logProbs(hidden, options),
  probsSync: (head, hidden) => head.probsSync(hidden),
  probs: (head, hidden, options) => head.probs(hidden, options),
  topKSync: (head, hidden) => head.topKSync(hidden, 3),
  topK: (head, hidden, options) => head.topK(hidden, 3, options),
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
  verifyDraftSync: (head, hidden) => head.verifyDraftSync(hidden, [1], undefined, { seed: 1 }),
  verifyDraft: (head, hidden, options) => head.verifyDraft(hidden, [1], undefined, { seed: 1, ...options }),
  nearestSync: head => head.nearestSync(1, 3, 'cosine'),
  nearest: (head, hidden, options) => head.nearest(hidden, 3, 'dot', options),
  'sampler.nextSync': (head, hidden) => head.sampler({ topK: 5, repetitionPenalty: 1.1 }).nextSync(hidden),
  'sampler.next': (head, hidden, options) =>
    head.sampler({ topP: 0.9, topLogProbs: 2 }).next(hidden, options),
  'rows of E': (head, hidden, options) => head.topK(hidden, 2, { rows: [1, 5, 9], ...options }),
  embed: head => head.embed([1, 2, 3]),
  'a call that fails': (head, hidden) => head.argmax(hidden.subarray(1)).catch(() => {}),
};
