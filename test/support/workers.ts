import { expect } from 'vitest';
import { type Ended, PREAMBLE, runNode } from './processes';

/**
 * To begin code that starts worker threads with. `start(body, data)` runs a function's text in a worker that has the package's
 * exports in scope; `result(worker)` is what it returned.
 */
const WORKERS = `
const { Worker } = require('node:worker_threads');
const { once } = require('node:events');
const start = (body, data, options) => new Worker(
  \`const { parentPort, workerData } = require('node:worker_threads');
   const { LMHead, LMHeadError, capabilities } = require(workerData.entry);
   Promise.resolve((\${body})(workerData.data)).then(value => parentPort.postMessage(value));\`,
  { eval: true, workerData: { entry, data }, ...options },
);
const result = async worker => (await once(worker, 'message'))[0];
const numbers = (n, seed = 1) => {
  const list = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    list[i] = seed / 2 ** 31 - 1;
  }
  return list;
};
const megabytes = () => process.memoryUsage.rss() / 2 ** 20;
`;

/** Runs the code in a process of its own, with worker threads at hand; top-level await works. */
export function runWorkers(code: string, options: Parameters<typeof runNode>[1] = {}): Ended {
  return runNode(`${PREAMBLE}${WORKERS}(async () => {${code}\n})();`, options);
}

/** What it printed, where it ended by itself and without a complaint. */
export function endedWell({ status, signal, stderr, stdout }: Ended): string {
  expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
  return stdout.trim();
}
