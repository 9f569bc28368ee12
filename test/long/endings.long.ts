/** Hundreds of worker threads terminated in all methods, and of processes that end with jobs pending. */
import { describe, expect, it } from 'vitest';
import { endProcesses, type Terminated, terminateWorkers } from '../stress/endings';
import { backends } from '../support/backends';

const WORKERS = 500;
const PROCESSES = 300;
/** In one process. */
const AT_ONCE = 100;

describe.skipIf(!backends.includes('native'))('endings', () => {
  it(`${WORKERS} worker threads, terminated at any moment: the process lives`, async () => {
    const sum: Terminated = { terminated: 0, methods: 0, early: 0 };
    for (let seed = 0; seed < WORKERS; seed += AT_ONCE) {
      const { terminated, methods, early } = await terminateWorkers(AT_ONCE, 1000 + seed);
      sum.terminated += terminated;
      sum.methods = Math.max(sum.methods, methods);
      sum.early += early;
    }
    console.log('workers:', JSON.stringify(sum));
    expect(sum.terminated).toBe(WORKERS);
  });

  it(`${PROCESSES} processes with jobs pending, ended in every way: no crash, and the status that is due`, async () => {
    console.log('processes:', JSON.stringify(await endProcesses(PROCESSES, 1000)));
  });
});
