/** Threads and processes that end while passes run or wait: no crash, no hang. */
import { describe, expect, it } from 'vitest';
import { nativeUnavailable } from '../../lib/backend/addon';
import { endedWell, runWorkers } from '../support/workers';

/** A head whose passes over `long` take tens of milliseconds. */
const BUSY = `
  const V = 20000, d = 128;
  const busyHead = () => LMHead.from(numbers(V * d), { vocabSize: V, hiddenSize: d, backend: 'native' });
  const long = numbers(200 * d, 2), short = numbers(d, 3);
  const pause = ms => new Promise(resolve => setTimeout(resolve, ms));
`;

/** A worker's body: many passes, of which one runs and the others wait, when it says so. */
const CALLS = `
  const calls = ({ handle, long }) => {
    const head = LMHead.attach(handle);
    const { signal } = new AbortController();
    const few = long.subarray(0, 5 * head.hiddenSize);
    for (let i = 0; i < 15; i++) {
      head.score(long, new Uint32Array(200), { signal }).catch(() => {});
      head.logProbs(few).catch(() => {});
      head.sample(few, { topP: 0.9 }).catch(() => {});
    }
    return 'busy';
  };
`;

describe.skipIf(nativeUnavailable())('ends', () => {
  it('a worker that is terminated in the middle of its passes; everyone else goes on', () => {
    const ended = runWorkers(`${BUSY}${CALLS}
      const head = busyHead();
      const wanted = head.argmaxSync(short)[0];
      for (let round = 0; round < 6; round++) {
        const workers = [0, 1, 2].map(() => start(calls, { handle: head.handle, long }));
        await Promise.all(workers.map(result));
        const own = head.argmax(short);
        await pause(5 * round);
        await Promise.all(workers.map(worker => worker.terminate()));
        if ((await own)[0] !== wanted || head.argmaxSync(short)[0] !== wanted) console.log('wrong');
      }
      console.log('done');
    `);
    expect(endedWell(ended)).toBe('done');
  });

  it('a worker that is terminated before it is ready', () => {
    const ended = runWorkers(`${BUSY}${CALLS}
      const head = busyHead();
      for (let round = 0; round < 20; round++) {
        const worker = start(calls, { handle: head.handle, long });
        await pause(2 * round);
        await worker.terminate();
      }
      console.log(head.argmaxSync(short).length);
    `);
    expect(endedWell(ended)).toBe('1');
  });

  it('the thread that loaded the weights, while others compute with them', () => {
    const ended = runWorkers(`${BUSY}
      const loader = start(weight => {
        const head = LMHead.from(weight, { vocabSize: 20000, hiddenSize: 128, backend: 'native' });
        parentPort.on('message', () => head); // stay, and keep the head
        return head.handle;
      }, numbers(V * d));
      const head = LMHead.attach(await result(loader));
      const running = [1, 2, 3].map(() => head.score(long, new Uint32Array(200)));
      await loader.terminate();
      const scores = await Promise.all(running);
      console.log(scores.every(({ nll }) => nll === busyHead().scoreSync(long, new Uint32Array(200)).nll));
    `);
    expect(endedWell(ended)).toBe('true');
  });

  it('a worker in the middle of a synchronous pass, when that is over', () => {
    const ended = runWorkers(`${BUSY}
      const head = busyHead();
      const worker = start(({ handle, long }) => {
        const head = LMHead.attach(handle);
        parentPort.postMessage('busy');
        for (;;) head.scoreSync(long, new Uint32Array(200));
      }, { handle: head.handle, long });
      await result(worker);
      await pause(30);
      console.log(await worker.terminate(), head.argmaxSync(short).length);
    `);
    expect(endedWell(ended)).toBe('1 1');
  });

  it.each([
    ['process.exit()', 'process.exit(0)'],
    ['an error that nobody catches', 'setImmediate(() => { throw new Error("on purpose"); })'],
  ])('a worker with passes pending, by %s', (_, end) => {
    const ended = runWorkers(`${BUSY}
      const head = busyHead();
      for (let round = 0; round < 5; round++) {
        const worker = start(({ handle, long }) => {
          const head = LMHead.attach(handle);
          for (let i = 0; i < 10; i++) head.logProbs(long).catch(() => {});
          ${end};
        }, { handle: head.handle, long });
        worker.on('error', () => {});
        await new Promise(resolve => worker.on('exit', resolve));
      }
      console.log((await head.argmax(short)).length);
    `);
    expect(endedWell(ended)).toBe('1');
  });

  it('a worker whose passes are all that keeps it, after the last of them', () => {
    const ended = runWorkers(`${BUSY}
      const head = busyHead();
      const worker = start(({ handle, long }) => {
        const head = LMHead.attach(handle);
        let ended = 0;
        for (let i = 0; i < 5; i++) head.argmax(long).then(() => parentPort.postMessage(++ended));
      }, { handle: head.handle, long });
      let last;
      worker.on('message', count => (last = count ?? last));
      await once(worker, 'exit');
      console.log(last);
    `);
    expect(endedWell(ended)).toBe('5');
  });

  it.each([
    ['process.exit()', 'process.exit(3)', 3],
    ['an error that nobody catches', 'throw new Error("on purpose")', 1],
    ['a rejection that nobody handles', 'Promise.reject(new Error("on purpose"))', 1],
  ])('a process with passes pending in four threads, by %s', (_, end, code) => {
    for (const wait of [0, 10, 40]) {
      const { status, signal } = runWorkers(`${BUSY}${CALLS}
        const head = busyHead();
        const workers = [0, 1, 2].map(() => start(calls, { handle: head.handle, long }));
        await Promise.all(workers.map(result));
        for (let i = 0; i < 10; i++) head.logProbs(long).catch(() => {});
        setTimeout(() => { ${end} }, ${wait});
        await new Promise(() => {});
      `);
      expect({ status, signal }).toEqual({ status: code, signal: null });
    }
  });

  it('a process with passes pending, after the last of them', () => {
    const ended = runWorkers(`${BUSY}
      const head = busyHead();
      for (let i = 0; i < 5; i++) head.argmax(long).then(() => console.log(i));
    `);
    expect(endedWell(ended)).toBe('0\n1\n2\n3\n4');
  });

  it('a process, at once, when nothing is pending', () => {
    const ended = runWorkers(`${BUSY}
      const head = busyHead();
      await head.argmax(short);
      const worker = start(handle => LMHead.attach(handle).argmax(new Float32Array(128)).then(() => 1), head.handle);
      await once(worker, 'exit');
      console.log('open still');
    `);
    expect(endedWell(ended)).toBe('open still');
  });
});
