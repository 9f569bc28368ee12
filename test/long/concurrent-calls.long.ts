/** Tens of thousands of calls at once. */
import { expect, it } from 'vitest';
import { callAtOnce } from '../stress/concurrent-calls';
import { backends } from '../support/backends';

it.each(backends)('20,000 calls at once: %s', async backend => {
  const counts = await callAtOnce(backend, 20_000, 1000);
  console.log(`calls at once, ${backend}:`, JSON.stringify(counts));
  expect(counts.same).toBeGreaterThan(10_000);
});
