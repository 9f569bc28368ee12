/** The types that users see. `npm run typecheck` checks them; nothing here runs. */

import {
  type Capabilities,
  candidatesOf,
  capabilities,
  type EffectiveRequest,
  type HeadOptions,
  type Hidden,
  type Ids,
  LMHead,
  type LMHeadError,
  logSoftmax,
  type OpenOptions,
  type RunRequest,
  type Sample,
  type SampledToken,
  type SampleOptions,
  type SamplerOptions,
  type Score,
  sampleFrom,
  softmax,
  type TopK,
  type TopLogProbs,
  topKOf,
  type Verification,
  type Weight,
} from 'lmhead';
import { describe, expectTypeOf, it } from 'vitest';

declare const head: LMHead;
const hidden = new Float32Array(2);

describe('making a head', () => {
  it('open and from', () => {
    expectTypeOf(LMHead.open).parameters.toEqualTypeOf<[path: string | URL, options?: OpenOptions]>();
    expectTypeOf(LMHead.open('x')).resolves.toEqualTypeOf<LMHead>();
    expectTypeOf(LMHead.openSync('x')).toEqualTypeOf<LMHead>();
    expectTypeOf(LMHead.from).parameters.toEqualTypeOf<[weight: Weight, options: HeadOptions]>();
    expectTypeOf<HeadOptions>().toHaveProperty('vocabSize').toEqualTypeOf<number>();
    expectTypeOf<OpenOptions>().not.toHaveProperty('vocabSize');
    // @ts-expect-error: sizes are needed
    LMHead.from(new Float32Array(6), {});
    // @ts-expect-error: no such backend
    LMHead.openSync('x', { backend: 'gpu' });
    // @ts-expect-error: heads are made by open and from
    expectTypeOf(new LMHead());
  });

  it('takes the weights that there are', () => {
    expectTypeOf<Float32Array>().toExtend<Weight>();
    expectTypeOf<Uint16Array>().toExtend<Weight>();
    expectTypeOf<Float64Array>().not.toExtend<Weight>();
    expectTypeOf<number[]>().not.toExtend<Weight>();
  });

  it('can be used with `using`', () => {
    expectTypeOf<LMHead>().toExtend<Disposable>();
    expectTypeOf<LMHead>().toExtend<AsyncDisposable>();
  });

  it('shows itself read-only', () => {
    expectTypeOf(head.vocabSize).toEqualTypeOf<number>();
    expectTypeOf(head.backend).toEqualTypeOf<'native' | 'reference'>();
    // @ts-expect-error
    head.vocabSize = 3;
  });
});

describe('arguments', () => {
  it('hidden states', () => {
    expectTypeOf<Float32Array>().toExtend<Hidden>();
    expectTypeOf<{ data: Float32Array; type: 'float32'; dims: readonly number[] }>().toExtend<Hidden>();
    expectTypeOf<number[]>().not.toExtend<Hidden>();
  });

  it('ids', () => {
    expectTypeOf<number[]>().toExtend<Ids>();
    expectTypeOf<Int32Array>().toExtend<Ids>();
    expectTypeOf<BigInt64Array>().toExtend<Ids>();
    expectTypeOf<{ data: BigInt64Array; type: 'int64'; dims: readonly number[] }>().toExtend<Ids>();
    expectTypeOf<string[]>().not.toExtend<Ids>();
  });

  it('per row or for all', () => {
    expectTypeOf(head.sample).toBeCallableWith(hidden, { temperature: 0.5, topP: [0.9, 1], seed: 7n });
    // @ts-expect-error: a number, not its text
    head.sampleSync(hidden, { temperature: '0.5' });
  });
});

describe('options without an effect', () => {
  const h = hidden;
  const signal = new AbortController().signal;

  it('names that are none, in run and wherever a token is drawn', () => {
    head.runSync(h, { argmax: true, top: 3, targets: [1], entropy: true, temperature: 0.5 });
    void head.run(h, { sample: true, topP: 0.9, history: [1], noRepeatNgramSize: 2, signal });
    // @ts-expect-error
    head.runSync(h, { argmax: true, wombat: 1 });
    // @ts-expect-error
    void head.run(h, { argmax: true, out: new Float32Array(3) });
    // @ts-expect-error: only what returns a promise takes a signal
    head.runSync(h, { argmax: true, signal });
    // @ts-expect-error
    head.sampleSync(h, { top_p: 0.5 });
    // @ts-expect-error
    head.sampleSync(h, { signal });
    // @ts-expect-error: it is allowedIds or allowedMask
    void head.sample(h, { allowed: [1] });
    // @ts-expect-error
    head.candidatesSync(h, { topp: 0.5 });
    // @ts-expect-error
    head.verifyDraftSync(h, [1], { topLogProbs: 1 });
    // @ts-expect-error: given logits are all that there are
    sampleFrom(h, 2, { rows: [1] });
    // @ts-expect-error
    candidatesOf(h, 2, { norm: true });
    // @ts-expect-error
    head.sampler({ step: 3 });
    // @ts-expect-error
    head.logitsSync(h, { topP: 0.5 });
  });

  it('what is about a sample where run is asked for none', () => {
    // @ts-expect-error
    head.runSync(h, { argmax: true, topP: 0.9 });
    // @ts-expect-error
    void head.run(h, { sample: false, seed: 1 });
    // @ts-expect-error
    head.runSync(h, { allowedIds: [1] });
    // @ts-expect-error
    head.runSync(h, { bannedIds: [1], sample: undefined });
    // @ts-expect-error
    head.runSync(h, { history: [1], repetitionPenalty: 1.1 });
    // @ts-expect-error
    head.runSync(h, { topLogProbs: 3, top: 2 });
    // @ts-expect-error
    head.runSync(h, { entropy: true });
    // @ts-expect-error
    void head.run(h, { sample: true, ignoreIndex: -100 });
    head.runSync(h, { pLess: false, entropy: false, sample: false, seed: undefined });
  });

  it('what is about a history where there is none', () => {
    head.sampleSync(h, {
      history: [1],
      repetitionPenalty: 1.1,
      dryMultiplier: 0.8,
      dryBreakers: [1, [2, 3]],
    });
    head.sampleSync(h, { repetitionPenalty: undefined });
    // @ts-expect-error
    head.sampleSync(h, { repetitionPenalty: 1.1 });
    // @ts-expect-error
    void head.sample(h, { frequencyPenalty: [1, 2], history: undefined });
    // @ts-expect-error
    head.candidatesSync(h, { noRepeatNgramSize: 2 });
    // @ts-expect-error
    void head.candidates(h, { dryMultiplier: 1 });
    // @ts-expect-error
    head.verifyDraftSync(h, [1], { presencePenalty: 1 });
    // @ts-expect-error
    void head.verifyDraft(h, [1], { penaltyWindow: 4, topK: 3 });
    // @ts-expect-error
    sampleFrom(h, 2, { repetitionPenalty: 1.1 });
    // @ts-expect-error
    candidatesOf(h, 2, { dryWindow: 3 });
    // @ts-expect-error
    head.runSync(h, { sample: true, repetitionPenalty: 1.1 });
    // A sampler has one.
    head.sampler({ repetitionPenalty: 1.1, over: 'vocabulary' });
  });

  it('a shortest length without what ends, a normalizer without rows, a mask beside ids', () => {
    head.sampleSync(h, { minLength: 3, eosIds: [1], length: 2, rows: [1, 2], over: 'vocabulary' });
    // @ts-expect-error
    head.sampleSync(h, { minLength: 3 });
    // @ts-expect-error
    head.sampler({ minLength: 3 });
    // @ts-expect-error
    head.sampleSync(h, { over: 'vocabulary' });
    // @ts-expect-error
    head.runSync(h, { over: 'rows', logits: true });
    const allowedMask = new Int32Array(1);
    head.sampleSync(h, { allowedMask });
    head.sampleSync(h, { allowedMask: [allowedMask, new Uint32Array(1)] });
    // @ts-expect-error
    head.sampleSync(h, { allowedMask, allowedIds: [1] });
    // @ts-expect-error
    head.sampler({ allowedIds: [1], allowedMask });
    // @ts-expect-error: bytes
    head.sampleSync(h, { allowedMask: new Uint8Array(4) });
    // @ts-expect-error: ids
    head.sampleSync(h, { allowedMask: [1, 2] });
  });

  it('are left to the call where a type leaves them open', () => {
    const options: SampleOptions = {};
    const either = [{ topP: 0.5 }, { temperature: 2, history: [1], presencePenalty: 1 }];
    const request: RunRequest = { ...options, sample: true };
    const named: { [name: string]: number } = { seed: 1 };
    const maybe = either[0] as SampleOptions | undefined;
    head.sampleSync(h, options);
    head.sampleSync(h, maybe);
    head.sampleSync(h, { ...options, seed: 1 });
    head.sampleSync(h, named);
    void head.sample(h, { ...options, signal });
    for (const each of either) head.candidatesSync(h, each);
    for (const each of either) candidatesOf(h, 2, each);
    sampleFrom(h, 2, options);
    head.sampler(options as SamplerOptions);
    expectTypeOf(head.runSync(h, request)).toHaveProperty('logSumExp');
    expectTypeOf(head.runSync(h, { ...request, argmax: true }).argmax).toEqualTypeOf<Uint32Array>();
    // What takes options of any type asks for those that a call takes.
    const wrapped = <const R extends RunRequest & EffectiveRequest<R, RunRequest>>(asked: R) =>
      head.runSync(h, asked);
    expectTypeOf(wrapped({ top: 3 }).top).toEqualTypeOf<TopK>();
  });
});

describe('results', () => {
  it('of the methods', () => {
    expectTypeOf(head.logits(hidden)).resolves.toEqualTypeOf<Float32Array>();
    expectTypeOf(head.topKSync(hidden, 3)).toEqualTypeOf<TopK>();
    expectTypeOf(head.argmax(hidden)).resolves.toEqualTypeOf<Uint32Array>();
    expectTypeOf(head.sample(hidden)).resolves.toEqualTypeOf<Sample>();
    expectTypeOf(head.sampleSync(hidden, { topLogProbs: 5 }).topLogProbs).toEqualTypeOf<TopLogProbs>();
    expectTypeOf(head.sampleSync(hidden).topLogProbs).toEqualTypeOf<TopLogProbs | undefined>();
    expectTypeOf(head.sample(hidden, { topLogProbs: 5 })).resolves.toHaveProperty('modelLogProbs');
    expectTypeOf(
      head.runSync(hidden, { sample: true, topLogProbs: 2 }).sample.modelLogProbs,
    ).toEqualTypeOf<Float32Array>();
    expectTypeOf(sampleFrom(hidden, 3, { topLogProbs: 2 }).modelTopLogProbs).toEqualTypeOf<TopLogProbs>();
    const sampler = head.sampler({ topLogProbs: 3 });
    expectTypeOf(sampler.nextSync(hidden).modelLogProb).toEqualTypeOf<number>();
    expectTypeOf(sampler.clone().next(hidden)).resolves.toHaveProperty('topLogProbs');
    expectTypeOf(head.nextAllSync([sampler], hidden)).toEqualTypeOf<SampledToken[]>();
    expectTypeOf(head.sampler().nextSync(hidden)).toEqualTypeOf<SampledToken>();
    expectTypeOf(head.scoreSync(hidden, [1])).toEqualTypeOf<Score>();
    expectTypeOf(head.verify(hidden)).resolves.toEqualTypeOf<Verification>();
    expectTypeOf(head.close()).toEqualTypeOf<void>();
  });

  it('of run are those asked for', () => {
    const all = head.runSync(hidden, { logits: true, top: 3, sample: true, targets: [1], argmax: true });
    expectTypeOf(all.logits).toEqualTypeOf<Float32Array>();
    expectTypeOf(all.top).toEqualTypeOf<TopK>();
    expectTypeOf(all.sample).toEqualTypeOf<Sample>();
    expectTypeOf(all.score).toEqualTypeOf<Score>();
    expectTypeOf(all.argmax).toEqualTypeOf<Uint32Array>();
    expectTypeOf(head.run(hidden, {})).resolves.toHaveProperty('logSumExp');
    expectTypeOf(head.runSync(hidden, { top: 3 })).not.toHaveProperty('logits');
    expectTypeOf(head.runSync(hidden, { argmax: false })).not.toHaveProperty('argmax');
    const perhaps = head.runSync(hidden, {} as { logits: boolean; top?: number; targets?: Ids });
    expectTypeOf(perhaps.logits).toEqualTypeOf<Float32Array | undefined>();
    expectTypeOf(perhaps.top).toEqualTypeOf<TopK | undefined>();
    expectTypeOf(perhaps.score).toEqualTypeOf<Score | undefined>();
    expectTypeOf(perhaps).not.toHaveProperty('argmax');
  });

  it('of the functions over given logits', () => {
    expectTypeOf(logSoftmax(hidden, 2)).toEqualTypeOf<Float32Array>();
    expectTypeOf(softmax(hidden, 2, { temperature: [1] })).toEqualTypeOf<Float32Array>();
    expectTypeOf(topKOf(hidden, 2, 1)).toEqualTypeOf<TopK>();
    expectTypeOf(sampleFrom(hidden, 2)).toEqualTypeOf<Sample>();
    expectTypeOf(candidatesOf(hidden, 2, { topP: 0.9 }).offsets).toEqualTypeOf<Uint32Array>();
    expectTypeOf(capabilities()).toEqualTypeOf<Capabilities>();
  });

  it('of errors', () => {
    expectTypeOf<LMHeadError>().toExtend<Error>();
    expectTypeOf<LMHeadError['code']>().toEqualTypeOf<`ERR_LMHEAD_${string}`>();
  });
});
