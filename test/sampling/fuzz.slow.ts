/** Every option of sampling at random, against the naive chain: given logits and heads, natively and by the reference. */
import { expect, it } from 'vitest';
import { checkDraft, checkSampler } from '../support/sampler-check';
import { checkCase } from '../support/sampling-check';
import { noCounts } from '../support/sampling-counts';

const CASES = 10_000;
const AT_ONCE = 1000;

const counts = noCounts();
const ofSamplers = noCounts();
const ofDrafts = noCounts();

it.each(Array.from({ length: CASES / AT_ONCE }, (_, i) => i * AT_ONCE))(
  `${AT_ONCE} cases of sampling, from seed %i`,
  first => {
    for (let seed = first; seed < first + AT_ONCE; seed++) checkCase(seed, counts);
  },
);

it('300 samplers, of eight tokens each', () => {
  for (let seed = 0; seed < 300; seed++) checkSampler(seed, ofSamplers);
});

it('500 drafts', () => {
  for (let seed = 0; seed < 500; seed++) checkDraft(seed, ofDrafts);
});

it('few decisions were so near a boundary that rounding may have made them', () => {
  console.log('cases of sampling:', JSON.stringify(counts));
  console.log('samplers:', JSON.stringify(ofSamplers));
  console.log('drafts:', JSON.stringify(ofDrafts));
  for (const { rows, close, otherwise } of [counts, ofSamplers, ofDrafts]) {
    expect(rows).toBeGreaterThan(0);
    expect(close).toBeLessThan(rows / 20);
    expect(otherwise).toBeLessThan(rows / 1000);
  }
});
