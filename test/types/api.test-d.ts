/** The types that users see. `npm run typecheck` checks them; nothing here runs. */

import {
  type Capabilities,
  candidatesOf,
  capabilities,
  type HeadOptions,
  type Hidden,
  type Ids,
  LMHead,
  type LMHeadError,
  logSoftmax,
  type OpenOptions,
  type Sample,
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

describe('results', () => {
  it('of the methods', () => {
    expectTypeOf(head.logits(hidden)).resolves.toEqualTypeOf<Float32Array>();
    expectTypeOf(head.topKSync(hidden, 3)).toEqualTypeOf<TopK>();
    expectTypeOf(head.argmax(hidden)).resolves.toEqualTypeOf<Uint32Array>();
    expectTypeOf(head.sample(hidden)).resolves.toEqualTypeOf<Sample>();
    expectTypeOf(head.sampleSync(hidden, { topLogProbs: 5 }).topLogProbs).toEqualTypeOf<
      TopLogProbs | undefined
    >();
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
  });

  it('of the functions over held logits', () => {
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
