/** Calls that wait for the same weights share a pass. Nobody can tell but by the clock, and by what diagnostics say. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import type { HeadOptions, PassTiming } from '../../lib/types';
import { backends } from '../support/backends';
import { throwsKind } from '../support/errors';
import { makeHead, someHidden } from '../support/heads';
import { someNumbers } from '../support/numbers';
import { endedWell, runWorkers } from '../support/workers';
import { randomMixes } from './mixes-by-isa';

const native = backends.includes('native');
const [vocabSize, hiddenSize] = [3000, 24];
const weight = someNumbers(vocabSize * hiddenSize);
const made = (options: Partial<HeadOptions> = {}) =>
  LMHead.from(weight, { vocabSize, hiddenSize, backend: 'native', ...options });
const hidden = (n: number, seed = 3) => someNumbers(n * hiddenSize, seed);

/**
 * Keeps the queue busy with another head's pass, of about a second on one thread, while `calls` are made: they all wait then.
 * It gives way to them soon.
 */
async function whileBusy<T>(calls: () => Promise<T>[]): Promise<T[]> {
  const [V, d, n] = [50_000, 64, 150];
  const busy = LMHead.from(new Float32Array(V * d), {
    vocabSize: V,
    hiddenSize: d,
    backend: 'native',
    threads: 1,
  });
  const stop = new AbortController();
  const long = busy.score(new Float32Array(n * d), new Uint32Array(n), { signal: stop.signal });
  await new Promise(resolve => setImmediate(resolve));
  const results = await Promise.all(calls());
  stop.abort();
  await long.catch(() => undefined);
  busy.close();
  return results;
}

/** Repeats it, as the machine may be too busy for all calls to wait at once. */
async function untilOneIsFull(attempt: () => Promise<boolean>): Promise<void> {
  while (!(await attempt()));
}

describe.skipIf(!native)('calls that wait for the same weights', () => {
  let seen: PassTiming[];
  const onPass = (message: unknown) => {
    const timing = message as PassTiming;
    if (timing.vocabSize === vocabSize) seen.push(timing);
  };
  beforeEach(() => {
    seen = [];
    subscribe('lmhead:pass', onPass);
  });
  afterEach(() => void unsubscribe('lmhead:pass', onPass));

  randomMixes(6_000);

  it('go together, as many as a pass takes: 64 hidden states', async () => {
    const head = made();
    // 40 · 2.5 hidden states: whether all wait when the first pass begins is a matter of time.
    await untilOneIsFull(async () => {
      seen = [];
      await whileBusy(() => Array.from({ length: 40 }, (_, i) => head.topK(hidden(1 + (i % 4), i), 3)));
      expect(seen.length).toBe(40);
      for (const { rows, apart } of seen) {
        expect(rows).toBeLessThanOrEqual(64);
        expect(apart).toBeUndefined();
      }
      const first = seen.filter(({ rows }) => rows > 60);
      return first.length > 10 && first.every(({ calls }) => calls > 20);
    });
  });

  it('go alone where they cannot share a pass, and say why', async () => {
    const head = made({ norm: { type: 'rmsnorm', weight: new Float32Array(hiddenSize).fill(1), eps: 1e-6 } });
    const strict = made({ coalesce: false });
    const one = hidden(1);
    const calls: [() => Promise<unknown>, PassTiming['apart']][] = [
      [() => head.argmax(hidden(16)), undefined],
      [() => head.argmax(hidden(17)), 'long'],
      [() => head.logits(one, { rows: [1, 2] }), 'rows'],
      [() => head.logProbs(one, { rows: [1, 2], over: 'vocabulary' }), 'over'],
      [() => head.nearest(7, 2), 'nearest'],
      [() => head.sample(one, { allowedIds: [5, 6] }), 'allowed'],
      [() => strict.argmax(one), 'coalesce'],
      [() => made({ backend: 'reference' }).argmax(one), 'backend'],
    ];
    for (const [call] of calls) await call();
    expect(seen.map(({ apart }) => apart)).toEqual(calls.map(([, apart]) => apart));
    for (const { n, rows, calls } of seen) expect([calls, rows]).toEqual([1, n]);
    seen = [];
    head.argmaxSync(hidden(3));
    expect(seen).toMatchObject([{ calls: 1, rows: 3 }]);
    expect(seen[0]).not.toHaveProperty('apart');
  });

  it('hold no more logits together than one may: 32 MB', async () => {
    const V = 400_000;
    const wide = LMHead.from(new Float32Array(V * 4), { vocabSize: V, hiddenSize: 4, backend: 'native' });
    // 1.6 MB each: 20 of them are in 32 MB.
    await untilOneIsFull(async () => {
      const served: number[] = [];
      const listener = (timing: unknown) => {
        const { vocabSize, calls } = timing as PassTiming;
        if (vocabSize === V) served.push(calls);
      };
      subscribe('lmhead:pass', listener);
      await whileBusy(() =>
        Array.from({ length: 30 }, (_, i) => wide.sample(new Float32Array(4), { topP: 0.5, seed: i })),
      );
      unsubscribe('lmhead:pass', listener);
      expect(served.length).toBe(30);
      expect(Math.max(...served)).toBeLessThanOrEqual(20);
      return served.includes(20);
    });
  });

  it('share passes with heads in other threads that are attached', () => {
    const ended = runWorkers(`
      const V = 20000, d = 64;
      const head = LMHead.from(numbers(V * d), { vocabSize: V, hiddenSize: d, backend: 'native' });
      const body = ({ handle, flags, name }) => {
        const { subscribe } = require('node:diagnostics_channel');
        const head = LMHead.attach(handle);
        let shared = 0;
        subscribe('lmhead:pass', ({ calls }) => (shared += calls > 1));
        const meet = new Int32Array(flags);
        const one = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i + name));
        const right = head.argmaxSync(one)[0];
        Atomics.add(meet, 0, 1);
        return (async () => {
          while (Atomics.load(meet, 0) < 3) await null;
          let wrong = 0;
          for (let i = 0; i < 300; i++) wrong += (await head.argmax(one))[0] !== right;
          return { shared, wrong };
        })();
      };
      const flags = new SharedArrayBuffer(4);
      const workers = [1, 2, 3].map(name => start(body, { handle: head.handle, flags, name }));
      const counts = await Promise.all(workers.map(result));
      console.log(counts.every(({ shared, wrong }) => shared > 0 && wrong === 0) || JSON.stringify(counts));
    `);
    expect(endedWell(ended)).toBe('true');
  });

  it('are not kept waiting by a long one, nor keep it waiting', async () => {
    const head = made();
    let longEnded = false;
    // About as much work as ten thousand of the short ones.
    const long = head.score(hidden(20_000), new Uint32Array(20_000)).then(() => (longEnded = true));
    let answered = 0;
    while (!longEnded && answered < 3) {
      await head.argmax(hidden(1));
      if (!longEnded) answered++;
    }
    expect(answered).toBe(3);
    // And it ends while others come without end.
    const others = Array.from({ length: 4 }, async () => {
      while (!longEnded) await head.argmax(hidden(1));
    });
    await Promise.all([long, ...others]);
  });

  it('are each aborted for itself', async () => {
    const head = made();
    const right = head.topKSync(hidden(1), 4);
    const controllers = Array.from({ length: 30 }, () => new AbortController());
    const settled = await whileBusy(() => {
      const calls = controllers.map(({ signal }) => head.topK(hidden(1), 4, { signal }));
      controllers.forEach((controller, i) => {
        if (i % 3 === 0) controller.abort();
      });
      return [Promise.allSettled(calls)];
    });
    settled[0].forEach((result, i) => {
      if (i % 3 === 0) expect(result).toMatchObject({ reason: { code: 'ERR_LMHEAD_ABORTED' } });
      else expect(result).toEqual({ status: 'fulfilled', value: right });
    });
  });
});

describe.each(backends)('the option coalesce, %s', backend => {
  it('is true or false', () => {
    throwsKind(() => makeHead(backend, { coalesce: 1 as never }), 'ARGUMENT', 'coalesce', 'true or false');
  });

  it('changes no result', async () => {
    const states = someHidden(5);
    const [a, b] = [makeHead(backend), makeHead(backend, { coalesce: false })];
    const ask = (head: LMHead) =>
      Promise.all(Array.from({ length: 20 }, (_, i) => head.run(states, { top: 3, sample: true, seed: i })));
    expect(await ask(a)).toEqual(await ask(b));
  });

  it('goes with a handle', () => {
    for (const coalesce of [true, false]) {
      const { handle } = makeHead(backend, { coalesce });
      expect(LMHead.attach(structuredClone(handle)).handle).toMatchObject({ settings: { coalesce } });
    }
  });
});
