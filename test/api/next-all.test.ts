/** A token for each of several samplers in one pass: those that `next` draws one by one, whatever the samplers. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib/lm-head';
import type { Sampler } from '../../lib/sampler';
import type { NextOptions, SampledToken, SamplerOptions } from '../../lib/types';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { someNumbers } from '../support/numbers';

const [V, d] = [600, 24];
const weight = someNumbers(V * d);

/** A head, and another one over the same weights with scale, cap and bias of its own. */
function heads(backend: 'native' | 'reference') {
  const norm = { type: 'rmsnorm' as const, weight: new Float32Array(d).fill(2), eps: 1e-6 };
  const head = LMHead.from(weight, { vocabSize: V, hiddenSize: d, backend, norm });
  const { handle } = head as { handle: { settings: object } };
  const settings = { ...handle.settings, softCap: 3, logitScale: 0.7, bias: someNumbers(V, 8) };
  return { head, other: LMHead.attach(structuredClone({ ...handle, settings })) };
}

const KINDS: SamplerOptions[] = [
  {},
  { temperature: 0 },
  { temperature: 0.7, topK: 40, topP: 0.9 },
  { topP: 0.9, repetitionPenalty: 1.3, history: [1, 2, 3, 1], promptLength: 2 },
  { minP: 0.05, noRepeatNgramSize: 2, stream: 3 },
  { mirostat: { tau: 4 } },
  { norm: true, typicalP: 0.8 },
  { topLogProbs: 4, bannedIds: [5, 6] },
  { rows: [9, 4, 77, 300], over: 'vocabulary', topLogProbs: 2 },
  { allowedIds: [10, 20, 30] },
  { eosIds: [7], minLength: 4, logitBias: { 7: 5, 8: 3 } },
  { xtcProbability: 0.5, xtcThreshold: 0.05, temperatureRange: 0.3 },
];

const someSamplers = ({ head, other }: ReturnType<typeof heads>, count: number) =>
  Array.from({ length: count }, (_, i) =>
    (i % 3 === 2 ? other : head).sampler({ seed: i, ...KINDS[i % KINDS.length] } as object),
  );
const row = (hidden: Float32Array, i: number) => hidden.subarray(i * d, (i + 1) * d);
const states = (samplers: Sampler[]) => samplers.map(sampler => sampler.toJSON());

describe.each(backends)('nextAll, %s', backend => {
  it.each([1, 12, 60, 150])('draws for %i samplers what next draws one by one', async count => {
    const both = heads(backend);
    const [alone, together, atOnce] = [0, 1, 2].map(() => someSamplers(both, count));
    for (let step = 0; step < (backend === 'native' ? 6 : 2); step++) {
      const hidden = someNumbers(count * d, 20 + step);
      const each: (NextOptions | undefined)[] = alone.map((_, i) =>
        i % 5 === 1 ? { bannedIds: [step], logitBias: { 3: 9 } } : undefined,
      );
      const wanted = alone.map((sampler, i) => sampler.nextSync(row(hidden, i), each[i]));
      expect(await both.head.nextAll(together, hidden, { each })).toEqual(wanted);
      expect(both.head.nextAllSync(atOnce, hidden, { each })).toEqual(wanted);
    }
    expect(states(together)).toEqual(states(alone));
    expect(states(atOnce)).toEqual(states(alone));
  });

  it('takes hidden states of 16 bits, and tensors', async () => {
    const { head } = heads(backend);
    const bits = Uint16Array.from({ length: 2 * d }, (_, i) => 0x3c00 + i);
    const made = () => [
      head.sampler({ seed: 1, hiddenDtype: 'bf16' }),
      head.sampler({ seed: 2, hiddenDtype: 'bf16' }),
    ];
    const wanted = made().map((sampler, i) => sampler.nextSync(bits.subarray(i * d, (i + 1) * d)));
    expect(await head.nextAll(made(), bits)).toEqual(wanted);
    expect(head.nextAllSync(made(), { data: bits, type: 'bfloat16', dims: [2, d] })).toEqual(wanted);
  });

  it('draws nothing for no samplers', async () => {
    const { head } = heads(backend);
    expect(await head.nextAll([], new Float32Array(0))).toEqual([]);
    expect(head.nextAllSync([], new Float32Array(0))).toEqual([]);
  });

  it('draws for a head with strict turns, too', async () => {
    const strict = LMHead.from(weight, { vocabSize: V, hiddenSize: d, backend, coalesce: false });
    const made = () => [1, 2, 3].map(seed => strict.sampler({ seed }));
    const hidden = someNumbers(3 * d, 5);
    const wanted = made().map((sampler, i) => sampler.nextSync(row(hidden, i)));
    expect(await strict.nextAll(made(), hidden)).toEqual(wanted);
  });

  it('leaves all as they were where one has no token, and says whose it is', async () => {
    const both = heads(backend);
    const samplers = someSamplers(both, 12);
    const before = states(samplers);
    const hidden = someNumbers(12 * d, 4);
    hidden[7 * d + 1] = Number.NaN;
    throwsKind(() => both.head.nextAllSync(samplers, hidden), 'NAN', 'row 7');
    await rejectsKind(() => both.head.nextAll(samplers, hidden), 'NAN', 'row 7');
    const each = samplers.map((_, i) => (i === 4 ? { allowedIds: [1], bannedIds: [1] } : undefined));
    const good = someNumbers(12 * d, 4);
    throwsKind(() => both.head.nextAllSync(samplers, good, { each }), 'RANGE', 'row 4');
    await rejectsKind(() => both.head.nextAll(samplers, good, { each }), 'RANGE', 'row 4');
    expect(states(samplers)).toEqual(before);
    expect(await both.head.nextAll(samplers, good)).toHaveLength(12);
  });

  it('keeps samplers busy until it is over, and may be aborted', async () => {
    const both = heads(backend);
    const samplers = someSamplers(both, 12);
    const before = states(samplers);
    const hidden = someNumbers(12 * d, 4);
    const controller = new AbortController();
    const call = both.head.nextAll(samplers, hidden, { signal: controller.signal });
    throwsKind(() => samplers[3].nextSync(row(hidden, 3)), 'BUSY', 'sampler');
    throwsKind(() => both.head.nextAllSync([samplers[2]], row(hidden, 2)), 'BUSY', 'sampler');
    controller.abort();
    await rejectsKind(() => call, 'ABORTED', 'aborted');
    expect(states(samplers)).toEqual(before);
    const wanted = someSamplers(both, 12).map((sampler, i) => sampler.nextSync(row(hidden, i)));
    expect(await both.head.nextAll(samplers, hidden)).toEqual(wanted);
  });

  it('reads hidden states before it returns', async () => {
    const both = heads(backend);
    const hidden = someNumbers(12 * d, 4);
    const wanted = both.head.nextAllSync(someSamplers(both, 12), hidden);
    const call = both.head.nextAll(someSamplers(both, 12), hidden);
    hidden.fill(Number.NaN);
    expect(await call).toEqual(wanted);
  });

  it('goes on where another head is closed while it waits, and not where its own is', async () => {
    const both = heads(backend);
    const hidden = someNumbers(12 * d, 4);
    const wanted = both.head.nextAllSync(someSamplers(both, 12), hidden);
    const call = both.head.nextAll(someSamplers(both, 12), hidden);
    both.other.close();
    expect(await call).toEqual(wanted);
    const rest = [both.head.sampler({ seed: 1 })];
    both.head.close();
    await rejectsKind(() => both.head.nextAll(rest, row(hidden, 0)), 'CLOSED', 'closed');
  });

  describe('refuses', () => {
    const { head, other } = heads(backend);
    const one = () => head.sampler({ seed: 1 });
    const twice = one();
    const strange = LMHead.from(someNumbers(V * d, 77), { vocabSize: V, hiddenSize: d, backend });
    const copied = LMHead.from(weight, { vocabSize: V, hiddenSize: d, backend });
    const narrow = LMHead.from(weight.subarray(0, V * 12), { vocabSize: V, hiddenSize: 12, backend });
    const closed = LMHead.attach(structuredClone(head.handle));
    const ofClosed = closed.sampler({ seed: 1 });
    closed.close();
    const h = (n: number) => someNumbers(n * d, 4);
    const cases: [string, unknown, unknown, unknown, Parameters<typeof throwsKind>[1], string][] = [
      ['what is no array', one(), h(1), undefined, 'ARGUMENT', 'samplers: got'],
      ['what is no sampler', [one(), {}], h(2), undefined, 'ARGUMENT', 'samplers[1]: got'],
      ['nothing', [undefined], h(1), undefined, 'ARGUMENT', 'samplers[0]: got undefined'],
      ['a sampler twice', [twice, one(), twice], h(3), undefined, 'ARGUMENT', 'samplers[2]: got'],
      ['too few hidden states', [one(), one()], h(1), undefined, 'SHAPE', 'one per sampler'],
      ['too many', [one()], h(2), undefined, 'SHAPE', 'one per sampler'],
      [
        'a sampler over other weights',
        [one(), strange.sampler()],
        h(2),
        undefined,
        'ARGUMENT',
        'samplers[1]',
      ],
      ['one over a copy of the weights', [copied.sampler()], h(1), undefined, 'ARGUMENT', 'samplers[0]'],
      ['and of another size', [narrow.sampler()], h(1), undefined, 'ARGUMENT', 'samplers[0]'],
      ['one whose head is closed', [one(), ofClosed], h(2), undefined, 'CLOSED', 'closed'],
      ['options of too few', [one(), one()], h(2), { each: [{}] }, 'SHAPE', 'each'],
      ['options that are none', [one()], h(1), { each: [5] }, 'ARGUMENT', 'each[0]'],
      ['an unknown one of each', [one()], h(1), { each: [{ topK: 5 }] }, 'ARGUMENT', 'topK'],
      ['an id that is none', [one()], h(1), { each: [{ bannedIds: [V] }] }, 'RANGE', 'each[0].bannedIds'],
      ['an unknown option', [one()], h(1), { topK: 5 }, 'ARGUMENT', 'topK'],
      [
        'a number out of range',
        [one(), other.sampler({ topP: 7 })],
        h(2),
        undefined,
        'RANGE',
        'samplers[1].topP',
      ],
      [
        'types that differ',
        [one(), head.sampler({ hiddenDtype: 'bf16' })],
        h(2),
        undefined,
        'DTYPE',
        'hiddenDtype',
      ],
    ];

    it.each(cases)('%s', async (_, samplers, hidden, options, kind, words) => {
      const thrown = throwsKind(
        () => head.nextAllSync(samplers as Sampler[], hidden as Float32Array, options as object),
        kind,
        words,
      );
      const rejected = await rejectsKind(
        () => head.nextAll(samplers as Sampler[], hidden as Float32Array, options as object),
        kind,
        words,
      );
      const plain = (message: string) => message.replace('Sync', '').replace(', signal', '');
      expect(plain(rejected.message)).toBe(plain(thrown.message));
      // And the samplers are free again.
      const usable = head.sampler({ seed: 3 });
      expect(head.nextAllSync([twice, usable], h(2))).toHaveLength(2);
    });
  });
});

describe.each(backends)('nextAll with code of a caller’s own, %s', backend => {
  it.each([
    ['transferred', (buffer: ArrayBuffer) => void structuredClone(buffer, { transfer: [buffer] })],
    ['resized', (buffer: ArrayBuffer & { resize(size: number): void }) => buffer.resize(0)],
  ])('refuses hidden states whose memory is %s while options are read', async (_, takeAway) => {
    const both = heads(backend);
    for (const at of [0, 1]) {
      for (const isAsync of [false, true]) {
        const samplers = someSamplers(both, 2);
        const before = states(samplers);
        const bytes = 2 * d * Float32Array.BYTES_PER_ELEMENT;
        const Resizable = ArrayBuffer as unknown as new (
          size: number,
          options: object,
        ) => ArrayBuffer & { resize(size: number): void };
        const buffer = new Resizable(bytes, { maxByteLength: bytes });
        const each: NextOptions[] = [{}, {}];
        Object.defineProperty(each[at], 'bannedIds', { enumerable: true, get: () => takeAway(buffer) });
        const hidden = new Float32Array(buffer, 0, 2 * d);
        const call = async () =>
          isAsync
            ? both.head.nextAll(samplers, hidden, { each })
            : both.head.nextAllSync(samplers, hidden, { each });
        await rejectsKind(call, 'SHAPE', 'hidden');
        expect(states(samplers)).toEqual(before);
      }
    }
  });

  it('reads each thing once, and the head may be closed meanwhile', async () => {
    const { head } = heads(backend);
    const sampler = head.sampler({ seed: 1 });
    const hidden = { data: someNumbers(d, 4), dims: [1, d] };
    const closing = {
      get dims() {
        head.close();
        return hidden.dims;
      },
      data: hidden.data,
    };
    throwsKind(() => head.nextAllSync([sampler], closing), 'CLOSED', 'closed');
    const list = new Proxy([sampler], {
      get(target, name) {
        if (name === '0') throw new Error('on purpose');
        return Reflect.get(target, name);
      },
    });
    const open = heads(backend).head;
    throwsKind(() => open.nextAllSync(list as Sampler[], hidden), 'ARGUMENT', 'samplers');
    const result: SampledToken[] = open.nextAllSync([open.sampler({ seed: 1 })], hidden);
    expect(result).toHaveLength(1);
  });
});
