import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { PerformanceObserver, performance } from 'node:perf_hooks';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import type { PassTiming } from '../../lib/types';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { busyHead, call, callSync, D, makeHead, methods, someHidden, V } from '../support/heads';

const hidden = someHidden(3);

describe.each(backends)('timings on the channel lmhead:pass, %s', backend => {
  const head = makeHead(backend);
  let seen: PassTiming[];
  const onPass = (message: unknown) => void seen.push(message as PassTiming);
  beforeEach(() => {
    seen = [];
    subscribe('lmhead:pass', onPass);
  });
  afterEach(() => void unsubscribe('lmhead:pass', onPass));

  it.each(methods)('tell of every pass, once: %s', async method => {
    const before = performance.now();
    callSync[method](head, hidden);
    await call[method](head, hidden);
    const common = {
      n: 3,
      vocabSize: V,
      hiddenSize: D,
      backend,
      method: method === 'run' ? 'argmax' : method,
    };
    expect(seen).toMatchObject([
      { ...common, async: false },
      { ...common, async: true },
    ]);
    for (const { startTime, duration, queueTime, passTime, error } of seen) {
      expect(startTime).toBeGreaterThanOrEqual(before);
      expect(startTime + duration).toBeLessThanOrEqual(performance.now());
      expect(passTime).toBeGreaterThan(0);
      expect(queueTime).toBeGreaterThanOrEqual(0);
      expect(queueTime + passTime).toBeLessThanOrEqual(duration + 1e-6);
      expect(error).toBeUndefined();
    }
  });

  it('call several results run', async () => {
    head.runSync(hidden, { top: 2, sample: true, seed: 1 });
    await head.run(hidden, {});
    expect(seen.map(({ method }) => method)).toEqual(['run', 'run']);
  });

  it('name the other methods too', async () => {
    head.candidatesSync(hidden, { topP: 0.9 });
    await head.verifyDraft(hidden, [1, 2], { seed: 1 });
    head.sampler({ seed: 1 }).nextSync(someHidden(1));
    head.nearestSync(1, 2);
    expect(seen.map(({ method }) => method)).toEqual(['candidates', 'verifyDraft', 'sample', 'nearest']);
  });

  it('tell of calls that fail, and of no call that is refused', async () => {
    const nan = hidden.slice();
    nan[0] = NaN;
    throwsKind(() => head.argmaxSync(nan), 'NAN');
    await rejectsKind(() => head.argmax(nan), 'NAN');
    throwsKind(() => head.argmaxSync(new Float32Array(1)), 'SHAPE');
    await head.argmax(new Float32Array(0)); // no pass either
    expect(seen.map(({ error }) => error)).toEqual(['ERR_LMHEAD_NAN', 'ERR_LMHEAD_NAN']);
  });

  it('tell how long a call waited', async () => {
    const { long, short } = busyHead(backend, { coalesce: false });
    await Promise.all([long(), short()]);
    const [, second] = seen;
    expect(second.n).toBe(1);
    expect(second.queueTime).toBeGreaterThan(second.passTime);
  });

  it('come in the context of the call', async () => {
    const context = new AsyncLocalStorage<string>();
    const contexts: (string | undefined)[] = [];
    const listener = () => void contexts.push(context.getStore());
    subscribe('lmhead:pass', listener);
    await Promise.all(['a', 'b'].map(name => context.run(name, () => head.argmax(hidden))));
    unsubscribe('lmhead:pass', listener);
    expect(contexts).toEqual(['a', 'b']);
  });
});

describe.each(backends)('the option performanceMarks, %s', backend => {
  it('leaves an entry per pass on the performance timeline, and nothing where it is not set', async () => {
    performance.clearMeasures();
    const plain = makeHead(backend);
    plain.argmaxSync(hidden);
    await plain.argmax(hidden);
    expect(performance.getEntriesByType('measure')).toEqual([]);

    const observed: string[] = [];
    const observer = new PerformanceObserver(list => {
      for (const { name } of list.getEntries()) observed.push(name);
    });
    observer.observe({ entryTypes: ['measure'] });
    const head = makeHead(backend, { performanceMarks: true });
    head.topKSync(hidden, 2);
    await LMHead.attach(structuredClone(head.handle)).score(hidden, [0, 1, 2]);
    await new Promise(resolve => setTimeout(resolve, 10));
    observer.disconnect();
    expect(observed).toEqual(['lmhead topK', 'lmhead score']);
    const entries = performance.getEntriesByType('measure') as unknown as {
      duration: number;
      detail: unknown;
    }[];
    expect(entries[1].duration).toBeGreaterThan(0);
    expect(entries[1].detail).toMatchObject({ method: 'score', n: 3, async: true });
    performance.clearMeasures();
  });

  it('is true or false', () => {
    throwsKind(() => makeHead(backend, { performanceMarks: 1 as never }), 'ARGUMENT', 'performanceMarks');
  });
});
