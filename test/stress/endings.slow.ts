/** Some of what npm run test:long does with hundreds of threads and processes. */
import { describe, expect, it } from 'vitest';
import { backends } from '../support/backends';
import { endProcesses, terminateWorkers } from './endings';

describe.skipIf(!backends.includes('native'))('endings', () => {
  it('of worker threads, terminated at any moment: the process lives', async () => {
    const counts = await terminateWorkers(50, 1);
    console.log('workers:', JSON.stringify(counts));
    expect(counts.methods).toBeGreaterThan(40);
  }, 240_000);

  it('of processes with jobs pending, in every way: no crash, and the status that is due', async () => {
    console.log('processes:', JSON.stringify(await endProcesses(24, 1)));
  }, 240_000);
});
