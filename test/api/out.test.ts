import { describe, expect, it } from 'vitest';
import { nativeUnavailable } from '../../lib/backend/addon';
import { logSoftmax, softmax } from '../../lib/pass/given-logits';
import { backends } from '../support/backends';
import { growable, resizable } from '../support/buffers';
import { rejectsKind, throwsKind } from '../support/errors';
import { call, callSync, D, headUnderTest, makeHead, someHidden, someWeight, V } from '../support/heads';

const wide = ['logits', 'logProbs', 'probs'] as const;

describe.each(backends)('out, %s', backend => {
  const { head, hidden, refuses } = headUnderTest(backend);

  describe.each(wide)('of %s', method => {
    it.each([
      ['null', null, 'ARGUMENT', 'null'],
      ['an array', [], 'ARGUMENT', 'an array'],
      ['a buffer', new ArrayBuffer(4 * 2 * V), 'ARGUMENT', 'an object'],
      ['true', true, 'ARGUMENT', 'true'],
      ['float64', new Float64Array(2 * V), 'DTYPE', 'Float64Array'],
      ['16 bits', new Uint16Array(2 * V), 'DTYPE', 'Uint16Array'],
      ['one number short', new Float32Array(2 * V - 1), 'SHAPE', `${2 * V - 1}`],
      ['empty', new Float32Array(0), 'SHAPE', 'got 0'],
    ] as const)('is not %s', async (_, out, kind, word) => {
      await refuses(method, [hidden, { out }], kind, 'out', word);
    });

    it('does not overlap the hidden states by a single byte', async () => {
      const memory = new Float32Array(2 * D + 2 * V);
      const input = memory.subarray(0, 2 * D);
      input.set(hidden);
      const before = memory.slice();
      await refuses(method, [input, { out: memory }], 'RANGE', 'out', 'overlaps hidden');
      await refuses(method, [input, { out: memory.subarray(2 * D - 1) }], 'RANGE', 'out', 'overlaps hidden');
      expect(memory).toEqual(before);
      // Side by side is apart.
      const out = memory.subarray(2 * D);
      expect(callSync[method](head, input, { out })).toBe(out);
      expect(out).toEqual(callSync[method](head, hidden));
      expect(input).toEqual(hidden);
    });

    it('is returned itself, filled from its start; the rest stays', async () => {
      const wanted = [...(callSync[method](head, hidden) as Float32Array), 7, 7];
      for (const start of [callSync, call]) {
        const out = new Float32Array(2 * V + 2).fill(7);
        expect(await start[method](head, hidden, { out })).toBe(out);
        expect([...out]).toEqual(wanted);
      }
    });

    it('may lie in shared memory', async () => {
      for (const start of [callSync, call]) {
        const out = new Float32Array(new SharedArrayBuffer(8 * V));
        expect(await start[method](head, hidden, { out })).toBe(out);
        expect([...out]).toEqual([...(callSync[method](head, hidden) as Float32Array)]);
      }
    });

    it('stays untouched by a call that is refused', async () => {
      const out = new Float32Array(2 * V).fill(7);
      await refuses(method, [hidden, { out, temperature: -1 }], 'RANGE', 'temperature');
      expect(out).toEqual(new Float32Array(2 * V).fill(7));
    });
  });

  it('does not lie on weights that are borrowed', async () => {
    const memory = new Float32Array(new SharedArrayBuffer(4 * (V * D + 3 * V)));
    const weight = memory.subarray(V, V + V * D);
    weight.set(someWeight());
    const input = new Float32Array(new SharedArrayBuffer(4 * V * D));
    const borrowed = makeHead(backend, { copy: false, inputEmbedding: input }, weight);
    const before = memory.slice();
    for (const out of [memory, memory.subarray(V + V * D - 1), input]) {
      for (const method of wide) {
        throwsKind(() => callSync[method](borrowed, hidden, { out }), 'RANGE', 'out', 'weights');
        await rejectsKind(() => call[method](borrowed, hidden, { out }), 'RANGE', 'out', 'weights');
      }
      throwsKind(() => borrowed.embed([1], out), 'RANGE', 'out', 'weights');
    }
    expect(memory).toEqual(before);
    const out = memory.subarray(V + V * D);
    expect(borrowed.logitsSync(hidden, { out })).toBe(out);
    expect(out.slice(0, 2 * V)).toEqual(head.logitsSync(hidden));
  });
});

/** Not in the types of Node. */
const { Memory } = (globalThis as unknown as { WebAssembly: WebAssembly }).WebAssembly;
interface WebAssembly {
  Memory: new (limits: {
    initial: number;
    maximum: number;
    shared: true;
  }) => { buffer: SharedArrayBuffer; grow(pages: number): void };
}

/** Other objects over the same shared memory. */
const others: [name: string, make: () => { first: SharedArrayBuffer; second: SharedArrayBuffer }][] = [
  [
    'a clone',
    () => {
      const first = new SharedArrayBuffer(4 * 65536);
      return { first, second: structuredClone(first) };
    },
  ],
  [
    'a clone of a growable buffer',
    () => {
      const first = growable(65536, 4 * 65536);
      const second = structuredClone(first);
      first.grow(4 * 65536);
      return { first, second };
    },
  ],
  [
    'what a WebAssembly.Memory gives when it has grown',
    () => {
      const memory = new Memory({ initial: 4, maximum: 8, shared: true });
      const first = memory.buffer;
      memory.grow(1);
      return { first, second: memory.buffer };
    },
  ],
];

// Only the addon sees that two buffers are one memory.
describe.skipIf(nativeUnavailable()).each(backends)('shared memory under another object, %s', backend => {
  const { head, hidden } = headUnderTest(backend);

  it.each(others)('%s: no out on weights that are borrowed', async (_, make) => {
    const { first, second } = make();
    expect(first).not.toBe(second);
    const weight = new Float32Array(first, 4 * V, V * D);
    weight.set(someWeight());
    const borrowed = makeHead(backend, { copy: false }, weight);
    const before = new Float32Array(first).slice();
    for (const out of [
      new Float32Array(second),
      new Float32Array(second, 4 * V, V * D),
      new Float32Array(second, 4 * (V + V * D - 1), 2 * V),
    ]) {
      for (const method of wide) {
        throwsKind(() => callSync[method](borrowed, hidden, { out }), 'RANGE', 'out', 'weights');
        await rejectsKind(() => call[method](borrowed, hidden, { out }), 'RANGE', 'out', 'weights');
      }
    }
    expect(new Float32Array(first)).toEqual(before);
    const beside = new Float32Array(second, 4 * (V + V * D), 2 * V);
    expect(borrowed.logitsSync(hidden, { out: beside })).toBe(beside);
    expect(beside).toEqual(head.logitsSync(hidden));
  });

  it.each(others)('%s: no out on hidden states, nor on a pending out', async (_, make) => {
    const { first, second } = make();
    const input = new Float32Array(first, 0, 2 * D);
    input.set(hidden);
    const overlapping = new Float32Array(second, 4 * (2 * D - 1), 2 * V);
    throwsKind(() => head.logitsSync(input, { out: overlapping }), 'RANGE', 'out', 'overlaps hidden');

    const out = new Float32Array(first, 65536, 2 * V);
    const pending = head.logits(hidden, { out });
    const taken = new Float32Array(second, 65536 + 4 * (2 * V - 1), 2 * V);
    throwsKind(() => head.logitsSync(hidden, { out: taken }), 'BUSY', 'out', 'pending');
    await rejectsKind(() => head.logits(hidden, { out: taken }), 'BUSY', 'out', 'pending');
    throwsKind(() => softmax(new Float32Array(V), V, { out: taken }), 'BUSY', 'out', 'pending');
    const beside = head.logits(hidden, { out: new Float32Array(second, 65536 + 8 * V, 2 * V) });
    expect(await pending).toBe(out);
    expect(out).toEqual(head.logitsSync(hidden));
    expect(await beside).toEqual(out);
    expect(head.logitsSync(hidden, { out: taken })).toBe(taken);
  });

  it('is one tied matrix where both are the same numbers', () => {
    const first = new SharedArrayBuffer(4 * V * D);
    const weight = new Float32Array(first);
    weight.set(someWeight());
    const inputEmbedding = new Float32Array(structuredClone(first));
    expect(makeHead(backend, { copy: false, inputEmbedding }, weight).tied).toBe(true);
  });
});

describe.each(backends)('out of a pending call, %s', backend => {
  const { head, hidden, worksOn } = headUnderTest(backend);
  const one = hidden.subarray(0, D);
  const other = makeHead(backend);
  const busy = ['BUSY', 'out', 'pending'] as const;

  it('is taken until it settles, for every head and every function', async () => {
    const memory = new Float32Array(4 * V);
    const out = memory.subarray(0, 2 * V);
    const first = head.logits(hidden, { out });
    const overlapping = [out, memory, memory.subarray(2 * V - 1), new Float32Array(memory.buffer, 4, V)];
    for (const taken of overlapping) {
      for (const method of wide) {
        throwsKind(() => callSync[method](head, one, { out: taken }), ...busy);
        await rejectsKind(() => call[method](other, one, { out: taken }), ...busy);
      }
      throwsKind(() => other.embed([0], taken), ...busy);
      throwsKind(() => softmax(new Float32Array(V), V, { out: taken }), ...busy);
      throwsKind(() => logSoftmax(new Float32Array(V), V, { out: taken }), ...busy);
    }
    expect(await first).toBe(out);
    expect(out).toEqual(head.logitsSync(hidden));
    expect(await head.probs(hidden, { out })).toBe(out);
    expect(out).toEqual(head.probsSync(hidden));
    worksOn();
  });

  it('leaves the memory beside it free', async () => {
    const memory = new Float32Array(4 * V);
    const pending = head.logits(hidden, { out: memory.subarray(0, 2 * V) });
    const beside = head.logits(hidden, { out: memory.subarray(2 * V) });
    expect([...(await pending)]).toEqual([...(await beside)]);
  });

  it('may be one of many in one buffer, taken and freed in any order', async () => {
    const memory = new Float32Array(64 * V);
    const calls: Promise<unknown>[] = [];
    for (let i = 0; i < 64; i++) {
      const place = (i * 37) % 64;
      if (place % 3 === 0) continue;
      const out = memory.subarray(place * V, (place + 1) * V);
      const controller = new AbortController();
      calls.push(head.logits(one, { out, signal: controller.signal }).catch(() => undefined));
      if (place % 2 === 0) controller.abort();
    }
    await Promise.all(calls);
    expect(await head.logits(hidden, { out: memory })).toBe(memory);
  });

  it('is known by where it lies: any byte between, before and after is told right', async () => {
    const memory = new Float32Array(12 * V);
    const taken = [9, 1, 5].map(at => memory.subarray(at * V, (at + 1) * V));
    const calls = taken.map(out => head.logits(one, { out }));
    for (let at = 0; at < 11 * V; at++) {
      const out = memory.subarray(at, at + V);
      const hit = [9, 1, 5].some(start => at < (start + 1) * V && at + V > start * V);
      if (hit) throwsKind(() => head.logitsSync(one, { out }), ...busy);
      else expect(head.logitsSync(one, { out })).toBe(out);
    }
    await Promise.all(calls);
    expect(head.logitsSync(hidden, { out: memory })).toBe(memory);
  });

  it('is free again after a call that was refused, aborted or failed', async () => {
    const out = new Float32Array(2 * V);
    await rejectsKind(() => head.logits(hidden, { out, temperature: 0 }), 'RANGE', 'temperature');
    await rejectsKind(() => head.logits(hidden, { out, signal: AbortSignal.abort() }), 'ABORTED');
    const controller = new AbortController();
    const aborted = head.logits(hidden, { out, signal: controller.signal });
    controller.abort();
    await rejectsKind(() => aborted, 'ABORTED');
    const closing = makeHead(backend);
    const calls = [closing.logits(hidden), closing.logits(hidden), closing.logits(hidden, { out })];
    closing.close();
    await Promise.allSettled(calls);
    expect(await head.logits(hidden, { out })).toBe(out);
    expect(out).toEqual(head.logitsSync(hidden));
  });

  it('that is detached or shrunk meanwhile rejects the call, and no other', async () => {
    const out = new Float32Array(2 * V);
    const detached = head.logits(hidden, { out });
    structuredClone(0, { transfer: [out.buffer] });
    await rejectsKind(() => detached, 'SHAPE', 'out', 'detached');

    const buffer = resizable(8 * V);
    for (const fixed of [true, false]) {
      buffer.resize(8 * V);
      const view = fixed ? new Float32Array(buffer, 0, 2 * V) : new Float32Array(buffer);
      const shrunk = head.logits(hidden, { out: view });
      buffer.resize(4 * V);
      await rejectsKind(
        () => shrunk,
        'SHAPE',
        'out',
        fixed ? 'outside its resized buffer' : `at least ${2 * V}`,
      );
    }
    worksOn();
  });

  it('may be read as hidden states by another call', async () => {
    const out = new Float32Array(2 * D * V);
    const pending = head.logits(hidden, { out });
    expect(other.argmaxSync(out.subarray(0, D))).toEqual(other.argmaxSync(new Float32Array(D)));
    await pending;
  });
});

describe('without n', () => {
  it.each(backends)('%s: an out of any length is returned as it is', async backend => {
    const head = makeHead(backend);
    const none = someHidden(0);
    for (const length of [0, 3]) {
      const out = new Float32Array(length).fill(2);
      expect(head.logitsSync(none, { out })).toBe(out);
      expect(await head.logits(none, { out })).toBe(out);
      expect([...out]).toEqual(Array(length).fill(2));
    }
  });
});
