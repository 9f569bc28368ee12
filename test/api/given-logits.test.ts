/** The forms that given logits come in: those of hidden states. */
import { describe, expect, it } from 'vitest';
import { candidatesOf, type Hidden, logSoftmax, sampleFrom, softmax, topKOf } from '../../lib';
import { throwsKind } from '../support/errors';

const V = 5;
/** Numbers that f16 and bf16 hold exactly. */
const logits = Float32Array.of(1, -2, 0.5, 3, 2.25, 4, 0, -1.5, 4, 1);
const words = new Uint32Array(logits.buffer);
const bf16 = Uint16Array.from(words, word => word >>> 16);
const f16 = Uint16Array.from(words, word =>
  word << 1 === 0 ? 0 : ((word >>> 16) & 0x8000) | (((word >>> 13) & 0x3ffff) - (112 << 10)),
);
type HiddenDtype = 'f16' | 'bf16';
type Call = (of: Hidden, options?: { hiddenDtype?: HiddenDtype }) => unknown;
const calls: [name: string, call: Call][] = [
  ['softmax', (of, options) => softmax(of, V, options)],
  ['logSoftmax', (of, options) => logSoftmax(of, V, { temperature: 0.5, ...options })],
  ['topKOf', (of, options) => topKOf(of, V, 3, options)],
  ['sampleFrom', (of, options) => sampleFrom(of, V, { seed: 3, topLogProbs: 2, ...options })],
  ['candidatesOf', (of, options) => candidatesOf(of, V, { topP: 0.8, ...options })],
];

describe.each(calls)('%s takes logits', (_, call) => {
  const wanted = call(logits);

  it.each([
    ['f16', 'float16', f16],
    ['bf16', 'bfloat16', bf16],
  ] as const)('in %s', (hiddenDtype, type, data) => {
    expect(call(data, { hiddenDtype })).toEqual(wanted);
    expect(call({ data, type, dims: [2, V] })).toEqual(wanted);
    expect(call({ data, dims: [1, 2, V] }, { hiddenDtype })).toEqual(wanted);
  });

  it('in a float32 tensor', () => {
    expect(call({ data: logits, type: 'float32', dims: [2, V] })).toEqual(wanted);
    expect(call({ data: logits.subarray(0, V), dims: [V] })).toEqual(call(logits.subarray(0, V)));
  });

  it.runIf('Float16Array' in globalThis)('in a Float16Array', () => {
    const { Float16Array } = globalThis as unknown as { Float16Array: new (b: ArrayBufferLike) => Hidden };
    expect(call(new Float16Array(f16.buffer))).toEqual(wanted);
  });

  it('and no others', () => {
    throwsKind(() => call(f16), 'DTYPE', 'hiddenDtype: got undefined for a Uint16Array in logits');
    throwsKind(() => call(logits, { hiddenDtype: 'f16' }), 'DTYPE', 'hiddenDtype', 'Float32Array in logits');
    throwsKind(() => call([1, 2, 3, 4, 5] as never), 'ARGUMENT', 'logits: got an array');
    throwsKind(() => call(new Float64Array(V) as never), 'DTYPE', 'logits: got a Float64Array');
    throwsKind(() => call(logits.subarray(1)), 'SHAPE', 'logits: got 9 elements', 'multiple of vocabSize 5');
    throwsKind(() => call({ data: logits, dims: [5, 2] }), 'SHAPE', 'logits.dims: got [5, 2]', '[n, 5]');
    throwsKind(() => call({ data: logits, dims: [3, V] }), 'SHAPE', 'logits.data: got 10', 'logits.dims');
    throwsKind(() => call({ data: f16, type: 'int64', dims: [2, V] }), 'DTYPE', 'logits.type: got "int64"');
    const tensor = { data: f16, type: 'float16', dims: [2, V] };
    throwsKind(
      () => call(tensor, { hiddenDtype: 'bf16' }),
      'DTYPE',
      'hiddenDtype: got "bf16"',
      'logits.type',
    );
  });
});

it('out lies apart from the data of a tensor', () => {
  const tensor = { data: logits.slice(), dims: [2, V] };
  throwsKind(() => softmax(tensor, V, { out: tensor.data }), 'RANGE', 'out', 'overlaps logits');
});
