/** Proxies of which nothing can be asked any more, as arguments: an error of the library's, and a head that works on. */
import { describe, expect, it } from 'vitest';
import { candidatesOf, LMHead, LMHeadError, logSoftmax, rowsOf, sampleFrom, topKOf } from '../../lib';
import type { OptionNames } from '../../lib/arguments/option-names';
import * as optionNames from '../../lib/arguments/option-names';
import { backends } from '../support/backends';
import { D, makeHead, someHidden, someWeight, V } from '../support/heads';

function revoked(): never {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy as never;
}

const O = optionNames;

describe.each(backends)('proxies that have been revoked, %s', backend => {
  const norm = { type: 'rmsnorm', weight: new Float32Array(D).fill(1), eps: 1e-6 } as const;
  const head = makeHead(backend, { norm });
  const hidden = someHidden(1);
  const logits = head.logitsSync(hidden);
  const answer = () => head.runSync(hidden, { logits: true, top: 2, targets: [1] });
  const first = answer();

  type Call = (argument: never) => unknown;
  const METHODS: [OptionNames, Call][] = [
    [O.FROM_OPTIONS, options => LMHead.from(someWeight(), options)],
    [O.DENSE_OPTIONS.logits.sync, options => head.logitsSync(hidden, options)],
    [O.DENSE_OPTIONS.probs.async, options => head.probs(hidden, options)],
    [O.RUN_OPTIONS.sync, options => head.runSync(hidden, options)],
    [O.RUN_OPTIONS.async, options => head.run(hidden, options)],
    [O.TOP_K_OPTIONS.async, options => head.topK(hidden, 2, options)],
    [O.ARGMAX_OPTIONS.sync, options => head.argmaxSync(hidden, options)],
    [O.SAMPLE_OPTIONS.sync, options => head.sampleSync(hidden, options)],
    [O.SAMPLE_OPTIONS.async, options => head.sample(hidden, options)],
    [O.CANDIDATES_OPTIONS.sync, options => head.candidatesSync(hidden, options)],
    [O.SCORE_OPTIONS.sync, options => head.scoreSync(hidden, [1], options)],
    [O.LENS_OPTIONS.async, options => head.lens(hidden, 2, options)],
    [O.NEAREST_OPTIONS.sync, options => head.nearestSync(1, 2, options)],
    [O.VERIFY_DRAFT_OPTIONS.async, options => head.verifyDraft(hidden, [1], options)],
    [O.SAMPLER_OPTIONS, options => head.sampler(options)],
    [O.NEXT_OPTIONS.sync, options => head.sampler().nextSync(hidden, options)],
    [O.QUANTIZE_OPTIONS, options => head.quantize('i8', options)],
    [O.LOG_SOFTMAX_OPTIONS, options => logSoftmax(logits, V, options)],
    [O.SAMPLE_FROM_OPTIONS, options => sampleFrom(logits, V, options)],
    [O.CANDIDATES_OF_OPTIONS, options => candidatesOf(logits, V, options)],
  ];
  /** What gives an option its effect. */
  const COMPANIONS = { history: [1], eosIds: [1], rows: [1, 2], targets: [1], sample: true };

  /** @param unread whether it may be that nothing asks for it */
  async function refuses(call: () => unknown, what: string, unread = false): Promise<void> {
    let thrown: unknown;
    try {
      await call();
      if (unread) return;
    } catch (error) {
      thrown = error;
    }
    expect(thrown, what).toBeInstanceOf(LMHeadError);
  }

  it.each(METHODS.map(([names, call]) => [names.method, names, call] as const))(
    'are no options of %s, and none of its options',
    async (method, { names }, call) => {
      await refuses(() => call(revoked()), method);
      for (const [name, needed] of names) {
        const options: Record<string, unknown> =
          method === 'LMHead.from' ? { vocabSize: V, hiddenSize: D, backend } : {};
        for (const [other, value] of Object.entries(COMPANIONS))
          if (needed.includes(other)) options[other] = value;
        if (name === 'promptLength') options.repetitionPenalty = 1.1;
        options[name] = revoked();
        await refuses(() => call(options as never), `${method}, ${name}`, true);
      }
      expect(answer()).toEqual(first);
    },
  );

  it.each<[string, Call]>([
    ['hidden', bad => head.logitsSync(bad)],
    ['data', bad => head.logitsSync({ data: bad, dims: [1, D] })],
    ['dims', bad => head.logitsSync({ data: hidden, dims: bad })],
    ['type', bad => head.logitsSync({ data: hidden, type: bad, dims: [1, D] })],
    ['k', bad => head.topKSync(hidden, bad)],
    ['targets', bad => head.scoreSync(hidden, bad)],
    ['a target', bad => head.scoreSync(hidden, [bad])],
    ['ids', bad => head.embed(bad)],
    ['out', bad => head.embed([1], bad)],
    ['idOrVector', bad => head.nearestSync(bad, 2)],
    ['metric', bad => head.nearestSync(1, 2, { metric: bad })],
    ['draftIds', bad => head.verifyDraftSync(hidden, bad)],
    ['draftLogProbs', bad => head.verifyDraftSync(hidden, [1], { draftLogProbs: bad })],
    ['the states of verify', bad => head.verify(bad)],
    ['dtype', bad => head.quantize(bad)],
    ['a path', bad => head.saveSync(bad)],
    ['a path to open', bad => LMHead.openSync(bad)],
    ['weight', bad => LMHead.from(bad, { vocabSize: V, hiddenSize: D, backend })],
    ['handle', bad => LMHead.attach(bad)],
    ['a token', bad => head.sampler().accept(bad)],
    ['a state', bad => head.sampler().restore(bad)],
    ['a row of biases', bad => head.sampleSync(hidden, { logitBias: [bad] })],
    ['a row of a history', bad => head.sampleSync(hidden, { history: [bad], repetitionPenalty: 2 })],
    ['a breaker', bad => head.sampleSync(hidden, { history: [1], dryMultiplier: 1, dryBreakers: [bad] })],
    ['a stage', bad => head.sampleSync(hidden, { stageOrder: [bad] })],
    ['logits', bad => topKOf(bad, V, 2)],
    ['vocabSize', bad => topKOf(logits, bad, 2)],
    ['a result', bad => rowsOf(bad)],
  ])('are not taken for %s', async (what, call) => {
    await refuses(() => call(revoked()), what);
    expect(answer()).toEqual(first);
  });
});
