/** Calls that return a promise: their order, their canceling, and what may happen to their arguments meanwhile. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { backends } from '../support/backends';
import { rejectsKind } from '../support/errors';
import { busyHead, call, callSync, D, makeHead, methods, someHidden, V } from '../support/heads';
import { someNumbers } from '../support/numbers';

/** Numbers on memory that threads share. */
const shared = (numbers: Float32Array): Float32Array => {
  const list = new Float32Array(new SharedArrayBuffer(numbers.byteLength));
  list.set(numbers);
  return list;
};

describe.each(backends)('calls that return a promise, %s', backend => {
  const head = makeHead(backend);
  const hidden = someHidden(3);

  it.each([
    ['of few hidden states each', {}, 16],
    ['of a head that has strict turns', { coalesce: false }, 50],
  ])('%s settle in the order of the calls', async (_, options, most) => {
    const head = makeHead(backend, options);
    const settled: number[] = [];
    const calls = Array.from({ length: 60 }, (_, i) =>
      head[i % 3 === 0 ? 'logProbs' : 'argmax'](someHidden(i % 3 === 0 ? most : 1)).then(() =>
        settled.push(i),
      ),
    );
    await Promise.all(calls);
    expect(settled).toEqual(calls.map((_, i) => i));
  });

  it('may be ten thousand at once, with one signal and without a warning', async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => void warnings.push(warning);
    process.on('warning', onWarning);
    const { signal } = new AbortController();
    const wanted = Array.from({ length: 10 }, (_, i) => head.topKSync(someNumbers(D, i + 1), 2));
    const calls = Array.from({ length: 10_000 }, (_, i) =>
      head.topK(someNumbers(D, (i % 10) + 1), 2, i % 2 === 0 ? { signal } : undefined),
    );
    const results = await Promise.all(calls);
    for (let i = 0; i < results.length; i++) expect(results[i].ids[0]).toBe(wanted[i % 10].ids[0]);
    expect(results.at(-1)).toEqual(wanted[9]);
    process.off('warning', onWarning);
    expect(warnings).toEqual([]);
  });

  it.each(methods)('have copied their arguments when they return: %s', async method => {
    const wanted = callSync[method](head, hidden, { targets: [1, 2, 3], temperature: [0.5, 1, 2] });
    for (const place of [(numbers: Float32Array) => numbers.slice(), shared]) {
      for (const spoil of [
        (list: Float32Array | Uint32Array) => void list.fill(0),
        (list: Float32Array | Uint32Array) => {
          if (list.buffer instanceof ArrayBuffer) structuredClone(0, { transfer: [list.buffer] });
          else list.fill(0);
        },
      ]) {
        const own = place(hidden);
        const targets = Uint32Array.of(1, 2, 3);
        const temperature = [0.5, 1, 2];
        const options = method === 'run' || method === 'score' ? { targets, temperature } : { temperature };
        const pending = call[method](head, own, options);
        spoil(own);
        spoil(targets);
        temperature.fill(9);
        Object.assign(options, { ...('targets' in options && { targets: [] }), temperature: 'none' });
        expect(await pending).toEqual(wanted);
      }
    }
  });

  it('use memory again, and see nothing of what was in it before', async () => {
    // Lengths that kernels pad, and so many that a copy of them is kept for the next call.
    const n = 1500;
    const heads = [33, 40, 49].map(hiddenSize =>
      LMHead.from(someNumbers(7 * hiddenSize), { vocabSize: 7, hiddenSize, backend }),
    );
    const calls = heads.map(({ hiddenSize }) => someNumbers(n * hiddenSize, hiddenSize));
    const wanted = heads.map((one, i) => one.logitsSync(calls[i].subarray(0, 20 * one.hiddenSize)));
    const spoil = () =>
      Promise.all(heads.map(one => one.logits(new Float32Array(n * one.hiddenSize).fill(NaN))));
    for (let round = 0; round < 3; round++) {
      await spoil();
      const results = await Promise.all(heads.map((one, i) => one.logits(calls[i])));
      await spoil();
      results.push(...heads.map((one, i) => one.logitsSync(calls[i])));
      for (const [i, logits] of results.entries())
        expect(logits.slice(0, 20 * 7)).toEqual(wanted[i % heads.length]);
    }
  });

  describe('and an AbortSignal', () => {
    const reason = new Error('the client went away');

    it('that has fired: nothing is started', async () => {
      const error = await rejectsKind(
        () => head.logits(hidden, { signal: AbortSignal.abort(reason) }),
        'ABORTED',
      );
      expect(error.cause).toBe(reason);
    });

    it('that fires meanwhile: running and waiting calls reject, others go on', async () => {
      const controller = new AbortController();
      const { signal } = controller;
      const canceled = Array.from({ length: 20 }, () => head.logProbs(someHidden(300), { signal }));
      const others = Array.from({ length: 3 }, () => head.logits(hidden));
      controller.abort(reason);
      for (const { status, reason: error } of (await Promise.allSettled(
        canceled,
      )) as PromiseRejectedResult[]) {
        expect(status).toBe('rejected');
        expect(error).toMatchObject({ code: 'ERR_LMHEAD_ABORTED', cause: reason });
      }
      for (const logits of await Promise.all(others)) expect(logits).toEqual(head.logitsSync(hidden));
    });

    it('that fires at any time later', async () => {
      for (let ms = 0; ms < 10; ms++) {
        const controller = new AbortController();
        const calls = Array.from({ length: 4 }, () =>
          head.logProbs(someHidden(400), { signal: controller.signal }),
        );
        await new Promise(resolve => setTimeout(resolve, ms));
        controller.abort();
        for (const result of await Promise.allSettled(calls)) {
          if (result.status === 'rejected')
            expect(result.reason).toMatchObject({ code: 'ERR_LMHEAD_ABORTED' });
          else expect(result.value.length).toBe(400 * V);
        }
      }
      expect(await head.logits(hidden)).toEqual(head.logitsSync(hidden));
    });

    it('that fires when all is done: nothing happens', async () => {
      const controller = new AbortController();
      const logits = await head.logits(hidden, { signal: controller.signal });
      controller.abort();
      await new Promise(resolve => setImmediate(resolve));
      expect(logits).toEqual(head.logitsSync(hidden));
    });

    it('is let go of afterward', async () => {
      const { signal } = new AbortController();
      let listeners = 0;
      const { addEventListener, removeEventListener } = signal;
      signal.addEventListener = (...args: unknown[]) => {
        listeners++;
        addEventListener.apply(signal, args as never);
      };
      signal.removeEventListener = (...args: unknown[]) => {
        listeners--;
        removeEventListener.apply(signal, args as never);
      };
      await Promise.all(Array.from({ length: 20 }, () => head.argmax(hidden, { signal })));
      await head.argmax(hidden, { signal });
      await new Promise(resolve => setImmediate(resolve));
      expect(listeners).toBe(0);
    });

    const unused = () => undefined;
    const throwing = () => {
      throw new Error('mine');
    };
    const plain = { aborted: false, addEventListener: unused, removeEventListener: unused };
    const throwingGetter = (name: string) => Object.defineProperty({ ...plain }, name, { get: throwing });

    it.each([
      ['without removeEventListener', { ...plain, removeEventListener: undefined }],
      ['without addEventListener', { ...plain, addEventListener: 1 }],
      ['whose state is no boolean', { ...plain, aborted: 0 }],
      ['whose state throws', throwingGetter('aborted')],
      ['whose methods throw to be read', throwingGetter('removeEventListener')],
      ['that takes no listener', { ...plain, addEventListener: throwing }],
      ['that is a function', Object.assign(() => undefined, plain)],
      ['that is a string', 'aborted'],
      ['null', null],
    ])('that is none is refused: one %s', async (_, signal) => {
      await rejectsKind(() => head.topK(hidden, 1, { signal } as never), 'ARGUMENT', 'signal', 'AbortSignal');
    });

    it('may be anything that does as one does', async () => {
      const wanted = head.argmaxSync(hidden);
      const target = Object.assign(new EventTarget(), { aborted: false, reason });
      for (const signal of [plain, { ...plain, removeEventListener: throwing }, target])
        expect(await head.argmax(hidden, { signal } as never)).toEqual(wanted);
      const call = head.logProbs(someHidden(400), { signal: target as never });
      target.dispatchEvent(new Event('abort'));
      expect((await rejectsKind(() => call, 'ABORTED')).cause).toBe(reason);
    });

    it('may fire at once, twice, and without an event or a reason', async () => {
      const signal = {
        ...plain,
        addEventListener: (_: string, listener: () => void) => {
          listener();
          listener();
        },
      };
      await rejectsKind(() => head.argmax(hidden, { signal } as never), 'ABORTED');
      Object.defineProperty(signal, 'reason', { get: throwing });
      await rejectsKind(() => head.argmax(hidden, { signal } as never), 'ABORTED');
      const fired = Object.assign(throwingGetter('reason'), { aborted: true });
      await rejectsKind(() => head.argmax(hidden, { signal: fired } as never), 'ABORTED');
    });
  });

  describe('of a head that is closed meanwhile', () => {
    it('finish if they run, and reject if they wait', async () => {
      const { head: closing, long, short, rows } = busyHead(backend);
      const running = long();
      await new Promise(resolve => setImmediate(resolve));
      const waiting = Array.from({ length: 20 }, () => short());
      closing.close();
      closing.close();
      // All are looked at from now on: one that nobody looks at when it rejects is an error of the process.
      await Promise.all([
        ...waiting.map(call => rejectsKind(() => call, 'CLOSED')),
        // Whether it had begun is a matter of time.
        running.then(
          ({ logSumExp }) => expect(logSumExp.length).toBe(rows),
          error => expect(error).toMatchObject({ code: 'ERR_LMHEAD_CLOSED' }),
        ),
      ]);
      await rejectsKind(() => short(), 'CLOSED');
    });

    it('have all settled when asyncDispose resolves', async () => {
      const closing = makeHead(backend);
      let settled = 0;
      const calls = Array.from({ length: 20 }, () =>
        closing.logProbs(someHidden(100)).then(
          () => settled++,
          () => settled++,
        ),
      );
      await closing[Symbol.asyncDispose]();
      await new Promise(resolve => setImmediate(resolve));
      expect(settled).toBe(20);
      await Promise.all(calls);
    });
  });

  it('leave borrowed weights alone until the last of them has ended, though the head be closed', async () => {
    const pending = (() => {
      const borrowed = makeHead(backend, { copy: false }, shared(someNumbers(V * D, 3)));
      const calls = [borrowed.logProbs(someHidden(500)), borrowed.logProbs(someHidden(500))];
      borrowed.close();
      return calls;
    })();
    const wanted = head.logProbsSync(someHidden(500));
    for (const result of await Promise.allSettled(pending))
      if (result.status === 'fulfilled') expect(result.value).toEqual(wanted);
  });
});

describe.skipIf(!backends.includes('native'))('heads side by side', () => {
  it('a long pass on one does not hold up the other', async () => {
    const [vocabSize, hiddenSize] = [30_000, 128];
    const weight = someNumbers(vocabSize * hiddenSize);
    const busy = LMHead.from(weight, { vocabSize, hiddenSize, backend: 'native' });
    const small = makeHead('native');
    let done = false;
    const long = busy.score(someNumbers(6000 * hiddenSize), new Uint32Array(6000)).then(() => (done = true));
    let answered = 0;
    while (!done && answered < 3) {
      await small.argmax(someHidden(1));
      if (!done) answered++;
    }
    await long;
    // One after another, the first would have come after the long one.
    expect(answered).toBe(3);
  });
});
