/** The signatures that programs are written against, name by name. `npm run typecheck` checks them; nothing here runs. */
import {
  type AsyncOptions,
  type CallOptions,
  type Candidates,
  type Capabilities,
  candidatesOf,
  capabilities,
  type DraftResult,
  type HeadOptions,
  type Hidden,
  type Ids,
  LMHead,
  LMHeadError,
  logSoftmax,
  mergeSamples,
  mergeScores,
  mergeTopK,
  type Neighbors,
  type Neighbours,
  type OpenOptions,
  type OutOption,
  type PerRow,
  type RunRequest,
  type RunResult,
  rowsOf,
  type Sample,
  type SampledToken,
  type SampleOptions,
  type Sampler,
  type Score,
  type ScoreOptions,
  sampleFrom,
  softmax,
  type TopK,
  type TopLogProbs,
  topKOf,
  type Weight,
} from 'lmhead';
import { describe, expectTypeOf, it } from 'vitest';

declare const head: LMHead;
declare const hidden: Hidden;
declare const ids: Ids;
declare const signal: AbortSignal;
declare const floats: Float32Array;

/** What a caller may have in hand: every option, none of which needs another one beside it. */
declare const call: { hiddenDtype?: 'f16' | 'bf16'; norm?: boolean; temperature?: PerRow<number> };
declare const draw: typeof call & {
  topK?: PerRow<number>;
  topP?: PerRow<number>;
  minP?: PerRow<number>;
  seed?: PerRow<number | bigint>;
  step?: PerRow<number>;
};

type Wide = [hidden: Hidden, options?: CallOptions & OutOption];
type WideAsync = [hidden: Hidden, options?: CallOptions & OutOption & AsyncOptions];

describe('shards', () => {
  it('a part of the vocabulary, and results made one', () => {
    expectTypeOf<OpenOptions['shard']>().toEqualTypeOf<{ index: number; count: number } | undefined>();
    type MergeTopK = (shards: readonly TopK[], options?: { offsets?: readonly number[] }) => TopK;
    expectTypeOf(mergeTopK).toEqualTypeOf<MergeTopK>();
    expectTypeOf(mergeScores).toEqualTypeOf<(shards: readonly Score[]) => Score>();
    expectTypeOf(mergeSamples).toEqualTypeOf<(shards: readonly Sample[]) => Sample>();
  });
});

describe('LMHead, static', () => {
  it('open, from, attach', () => {
    expectTypeOf(LMHead.open).toEqualTypeOf<(path: string | URL, options?: OpenOptions) => Promise<LMHead>>();
    expectTypeOf(LMHead.openSync).toEqualTypeOf<(path: string | URL, options?: OpenOptions) => LMHead>();
    expectTypeOf(LMHead.from).toEqualTypeOf<(weight: Weight, options: HeadOptions) => LMHead>();
    expectTypeOf(LMHead.attach).toEqualTypeOf<(handle: unknown) => LMHead>();
  });
});

describe('LMHead, properties', () => {
  it('says what it is', () => {
    expectTypeOf(head.handle).toBeUnknown();
    expectTypeOf(head.vocabSize).toBeNumber();
    expectTypeOf(head.hiddenSize).toBeNumber();
    expectTypeOf(head.dtype).toExtend<string>();
    expectTypeOf(head.tied).toBeBoolean();
    expectTypeOf(head.parameterCount).toBeNumber();
    expectTypeOf(head.backend).toEqualTypeOf<'native' | 'reference'>();
    expectTypeOf(head.threads).toBeNumber();
  });
});

describe('LMHead, methods', () => {
  it('embed', () => {
    expectTypeOf(head.embed).toEqualTypeOf<(ids: Ids, out?: Float32Array) => Float32Array>();
  });

  it('run', () => {
    const request = {
      logits: true,
      logProbs: true,
      argmax: true,
      top: 3,
      sample: true,
      targets: ids,
    } as const;
    type Whole = {
      logits: Float32Array;
      logProbs: Float32Array;
      argmax: Uint32Array;
      top: TopK;
      sample: Sample;
      score: Score;
      logSumExp: Float32Array;
    };
    expectTypeOf(head.runSync(hidden, request)).toExtend<Whole>();
    expectTypeOf(head.run(hidden, { ...request, signal })).resolves.toExtend<Whole>();
    expectTypeOf(head.runSync(hidden, { argmax: true })).toExtend<RunResult<{ argmax: true }>>();
    expectTypeOf(head.runSync(hidden, {})).toExtend<{ logSumExp: Float32Array }>();
    expectTypeOf(head.runSync(hidden, {})).not.toHaveProperty('logits');
    expectTypeOf<{
      top: number;
      ignoreIndex: number;
      entropy: boolean;
      targets: Ids;
    }>().toExtend<RunRequest>();
  });

  it('logits, logProbs, probs', () => {
    for (const name of ['logits', 'logProbs', 'probs'] as const) {
      expectTypeOf(head[name]).toEqualTypeOf<(...args: WideAsync) => Promise<Float32Array>>();
      expectTypeOf(head[`${name}Sync`]).toEqualTypeOf<(...args: Wide) => Float32Array>();
    }
  });

  it('topK, argmax', () => {
    expectTypeOf(head.topK).toExtend<
      (hidden: Hidden, k: number, options?: CallOptions & AsyncOptions) => Promise<TopK>
    >();
    expectTypeOf(head.topKSync).toExtend<(hidden: Hidden, k: number, options?: CallOptions) => TopK>();
    expectTypeOf(head.topK(hidden, 3)).resolves.toEqualTypeOf<TopK>();
    expectTypeOf(head.topK(hidden, 3, { ...call, signal })).resolves.toEqualTypeOf<TopK>();
    expectTypeOf(head.topKSync(hidden, 3, call)).toEqualTypeOf<TopK>();
    expectTypeOf(head.lens(hidden, 3)).resolves.toEqualTypeOf<TopK>();
    expectTypeOf(head.lensSync(hidden, 3, {})).toEqualTypeOf<TopK>();
    expectTypeOf(head.argmax).toEqualTypeOf<
      (hidden: Hidden, options?: CallOptions & AsyncOptions) => Promise<Uint32Array>
    >();
    expectTypeOf(head.argmaxSync).toEqualTypeOf<(hidden: Hidden, options?: CallOptions) => Uint32Array>();
  });

  it('sample', () => {
    expectTypeOf(head.sample(hidden)).resolves.toEqualTypeOf<Sample>();
    expectTypeOf(head.sample(hidden, { ...draw, signal })).resolves.toEqualTypeOf<Sample>();
    expectTypeOf(head.sampleSync(hidden, draw)).toEqualTypeOf<Sample>();
    expectTypeOf(head.sampleSync(hidden, {} as SampleOptions)).toEqualTypeOf<Sample>();
    head.sampleSync(hidden, { allowedIds: [1], stream: 3 });
    head.sampleSync(hidden, { allowedIds: [[1], ids], stream: [3, 4] });
    head.sampleSync(hidden, { allowedMask: new Uint32Array(1) });
    head.sampleSync(hidden, { allowedMask: [new Int32Array(1), new Uint32Array(1)] });
  });

  it('withLogProbs: false, of topK, lens, sample, samplers and run', () => {
    const none = { withLogProbs: false } as const;
    type Ranked = { readonly n: number; readonly k: number; ids: Uint32Array; logits: Float32Array };
    const top = head.topKSync(hidden, 3, none);
    expectTypeOf(top).toExtend<Ranked>();
    expectTypeOf(top).not.toHaveProperty('logProbs');
    expectTypeOf(top).not.toHaveProperty('logSumExp');
    expectTypeOf(head.topK(hidden, 3, { withLogProbs: false, signal })).resolves.toEqualTypeOf<typeof top>();
    expectTypeOf(head.lens(hidden, 3, { withLogProbs: false, signal })).resolves.toEqualTypeOf<typeof top>();
    expectTypeOf(head.lensSync(hidden, 3, none)).toEqualTypeOf<typeof top>();
    expectTypeOf(rowsOf(top)).toExtend<{ id: number; logit?: number }[][]>();
    const sample = head.sampleSync(hidden, { ...draw, withLogProbs: false });
    expectTypeOf(sample.ids).toEqualTypeOf<Uint32Array>();
    expectTypeOf(sample).not.toHaveProperty('logProbs');
    expectTypeOf(head.sample(hidden, { withLogProbs: false, signal })).resolves.toEqualTypeOf<
      typeof sample
    >();
    const sampler = head.sampler({ temperature: 0.7, withLogProbs: false });
    expectTypeOf(sampler.nextSync(hidden).id).toBeNumber();
    expectTypeOf(sampler.nextSync(hidden)).not.toHaveProperty('logProb');
    expectTypeOf(sampler.clone().next(hidden)).resolves.not.toHaveProperty('logProb');
    const tokens = head.nextAllSync([sampler, head.sampler()], hidden);
    expectTypeOf(tokens[0].id).toBeNumber();
    expectTypeOf(tokens[0].logProb).toEqualTypeOf<number | undefined>();
    expectTypeOf(head.nextAll([sampler], hidden)).resolves.toEqualTypeOf<typeof tokens>();
    void head.verifyDrafts([{ hidden, draftIds: ids, sampler }]);
    const run = head.runSync(hidden, { top: 3, sample: true, argmax: true, withLogProbs: false });
    expectTypeOf(run.argmax).toEqualTypeOf<Uint32Array>();
    expectTypeOf(run.top).toEqualTypeOf<typeof top>();
    expectTypeOf(run.sample).toEqualTypeOf<typeof sample>();
    expectTypeOf(run).not.toHaveProperty('logSumExp');
    void head.run(hidden, { top: 3, withLogProbs: false, signal });
    // Where a type leaves it open, they are perhaps there.
    const perhaps = { withLogProbs: true as boolean };
    expectTypeOf(head.topKSync(hidden, 3, perhaps).logSumExp).toEqualTypeOf<Float32Array | undefined>();
    expectTypeOf(head.sampleSync(hidden, perhaps).logProbs).toEqualTypeOf<Float32Array | undefined>();
    expectTypeOf(head.runSync(hidden, perhaps).logSumExp).toEqualTypeOf<Float32Array | undefined>();
    expectTypeOf(head.sampler(perhaps).nextSync(hidden).logProb).toEqualTypeOf<number | undefined>();
    expectTypeOf(head.topKSync(hidden, 3, { withLogProbs: true })).toEqualTypeOf<TopK>();
    expectTypeOf(head.sampleSync(hidden, { withLogProbs: true })).toEqualTypeOf<Sample>();
    expectTypeOf(head.sampler({ withLogProbs: true }).nextSync(hidden)).toEqualTypeOf<SampledToken>();
    head.candidatesSync(hidden, { topP: 0.9, withLogProbs: false });
    // @ts-expect-error: they tell log-probabilities
    head.sampleSync(hidden, { topLogProbs: 3, withLogProbs: false });
    // @ts-expect-error
    head.sampler({ topLogProbs: 3, withLogProbs: false });
    // @ts-expect-error
    head.runSync(hidden, { logProbs: true, withLogProbs: false });
    // @ts-expect-error
    head.runSync(hidden, { targets: [1], withLogProbs: false });
    // @ts-expect-error: it takes no such option
    head.scoreSync(hidden, [1], { withLogProbs: false });
    // @ts-expect-error
    sampleFrom(floats, 2, { withLogProbs: true });
    // @ts-expect-error
    head.verifyDraftSync(hidden, [1], { withLogProbs: true });
    // @ts-expect-error
    void head.beam(hidden, [0], { withLogProbs: true });
    // @ts-expect-error: of topK, a name that is none
    head.topKSync(hidden, 3, { withLogProb: true });
  });

  it('score', () => {
    expectTypeOf(head.score).toEqualTypeOf<
      (hidden: Hidden, targets: Ids, options?: ScoreOptions & AsyncOptions) => Promise<Score>
    >();
    expectTypeOf(head.scoreSync).toEqualTypeOf<
      (hidden: Hidden, targets: Ids, options?: ScoreOptions) => Score
    >();
  });

  it('verifyDraft: log-probabilities are among the options', () => {
    expectTypeOf(head.verifyDraft(hidden, ids)).resolves.toEqualTypeOf<DraftResult>();
    expectTypeOf(
      head.verifyDraft(hidden, ids, { ...draw, draftLogProbs: floats, signal }),
    ).resolves.toEqualTypeOf<DraftResult>();
    expectTypeOf(head.verifyDraftSync(hidden, ids)).toEqualTypeOf<DraftResult>();
    expectTypeOf(
      head.verifyDraftSync(hidden, ids, { ...draw, draftLogProbs: floats }),
    ).toEqualTypeOf<DraftResult>();
    // @ts-expect-error: they have no place of their own
    void head.verifyDraft(hidden, ids, floats);
    // @ts-expect-error
    head.verifyDraftSync(hidden, ids, undefined, { temperature: 0 });
    // @ts-expect-error: only what returns a promise takes a signal
    head.verifyDraftSync(hidden, ids, { signal });
  });

  it('nearest: the metric is among the options', () => {
    type Search = { metric?: 'dot' | 'cosine'; rows?: Ids };
    const search: Search = {};
    expectTypeOf(head.nearest(1, 3)).resolves.toEqualTypeOf<Neighbours>();
    expectTypeOf(head.nearest(1n, 3, { ...search, signal })).resolves.toEqualTypeOf<Neighbours>();
    expectTypeOf(head.nearestSync(hidden, 3, search)).toEqualTypeOf<Neighbours>();
    expectTypeOf(head.nearest).parameter(0).toEqualTypeOf<number | bigint | Hidden>();
    expectTypeOf(head.nearest).parameter(2).exclude<undefined>().toHaveProperty('metric');
    // @ts-expect-error: it has no place of its own
    void head.nearest(1, 3, 'cosine');
    // @ts-expect-error
    head.nearestSync(1, 3, undefined, { rows: [1] });
    // @ts-expect-error
    head.nearestSync(1, 3, { metric: 'euclid' });
  });

  it('verify', () => {
    expectTypeOf(head.verify).parameters.toEqualTypeOf<[hidden: Hidden]>();
    expectTypeOf(head.verify(hidden)).resolves.toExtend<{
      ok: boolean;
      maxError: number;
      bound: number;
      argmaxAgrees: boolean;
    }>();
  });

  it('close', () => {
    expectTypeOf(head.close).toEqualTypeOf<() => void>();
    expectTypeOf(head[Symbol.dispose]).toEqualTypeOf<() => void>();
    expectTypeOf(head[Symbol.asyncDispose]).toEqualTypeOf<() => Promise<void>>();
  });
});

describe('results', () => {
  it('have their arrays', () => {
    expectTypeOf<TopK>().toExtend<{
      readonly n: number;
      readonly k: number;
      ids: Uint32Array;
      logits: Float32Array;
      logProbs: Float32Array;
      logSumExp: Float32Array;
    }>();
    expectTypeOf<Sample>().toExtend<{ ids: Uint32Array; logProbs: Float32Array }>();
    expectTypeOf<Score>().toExtend<{
      logProbs: Float32Array;
      ranks: Uint32Array;
      entropy?: Float32Array;
      count: number;
      nll: number;
      perplexity: number;
    }>();
    expectTypeOf<DraftResult>().toExtend<{ accepted: number; ids: Uint32Array; logProbs: Float32Array }>();
    expectTypeOf<Neighbours>().toExtend<{ ids: Uint32Array; similarities: Float32Array }>();
    expectTypeOf<Neighbors>().toEqualTypeOf<Neighbours>();
    expectTypeOf<Candidates>().toExtend<{ ids: Uint32Array; probs: Float32Array; offsets: Uint32Array }>();
    expectTypeOf<Sampler>().toHaveProperty('next');
    expectTypeOf<SampledToken>().toExtend<{ id: number; logProb: number }>();
  });

  it('rowsOf', () => {
    expectTypeOf(rowsOf({} as TopK)).toExtend<{ id: number; logit?: number; logProb?: number }[][]>();
    expectTypeOf(rowsOf({} as TopLogProbs)).toExtend<{ id: number; logit?: number; logProb?: number }[][]>();
  });
});

describe('functions', () => {
  it('over given logits', () => {
    const wide = {} as { temperature?: PerRow<number>; out?: Float32Array };
    expectTypeOf(logSoftmax(floats, 2, wide)).toEqualTypeOf<Float32Array>();
    expectTypeOf(softmax(floats, 2, wide)).toEqualTypeOf<Float32Array>();
    expectTypeOf(topKOf(floats, 2, 1)).toEqualTypeOf<TopK>();
    expectTypeOf(sampleFrom(floats, 2, draw)).toEqualTypeOf<Sample>();
    expectTypeOf(candidatesOf(floats, 2, draw)).toEqualTypeOf<Candidates>();
  });

  it('capabilities', () => {
    expectTypeOf(capabilities).toEqualTypeOf<() => Capabilities>();
    expectTypeOf<Capabilities>().toExtend<{
      isa: string;
      available: string[];
      threads: number;
      version: string;
      napi: number;
    }>();
  });

  it('LMHeadError', () => {
    expectTypeOf<LMHeadError>().toExtend<Error>();
    expectTypeOf<LMHeadError['code']>().toExtend<`ERR_LMHEAD_${string}`>();
    expectTypeOf(LMHeadError).toHaveProperty('prototype');
  });
});
