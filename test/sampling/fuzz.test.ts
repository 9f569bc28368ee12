/** Some of what npm run test:slow does with tens of thousands: every option of sampling at random, against the naive chain. */
import { expect, it } from 'vitest';
import { checkDraft, checkSampler } from '../support/sampler-check';
import { checkCase } from '../support/sampling-check';
import { noCounts } from '../support/sampling-counts';

it('random options draw what the naive chain draws: cases, samplers, drafts', () => {
  const counts = noCounts();
  for (let seed = 0; seed < 1500; seed++) checkCase(seed, counts);
  for (let seed = 0; seed < 60; seed++) checkSampler(seed, counts);
  for (let seed = 0; seed < 100; seed++) checkDraft(seed, counts);
  expect(counts.rows).toBeGreaterThan(0);
  expect(counts.otherwise).toBeLessThan(counts.rows / 1000);
});
