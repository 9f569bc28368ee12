/** Some of what npm run test:long does with tens of thousands of calls. */
import { expect, it } from 'vitest';
import { backends } from '../support/backends';
import { callAtOnce } from './concurrent-calls';

it.each(backends)(
  'calls at once have the bits of synchronous ones, whatever becomes of others: %s',
  async backend => {
    const counts = await callAtOnce(backend, 4000, 1);
    console.log(`calls at once, ${backend}:`, JSON.stringify(counts));
    expect(counts.same).toBeGreaterThan(2000);
    expect(counts.aborted).toBeGreaterThan(100);
  },
);
