/** A million cases of sampling against the naive chain. LMHEAD_SAMPLING_CASES says how many, for a trial. */
import { afterAll, expect, it } from 'vitest';
import { checkDraft, checkSampler } from '../support/sampler-check';
import { checkCase } from '../support/sampling-check';
import { noCounts } from '../support/sampling-counts';

const CASES = Number(process.env.LMHEAD_SAMPLING_CASES ?? 1_000_000);
const AT_ONCE = 10_000;
/** The short test has the seeds below. */
const FIRST_SEED = 0x1000000;

const counts = noCounts();
afterAll(() => console.log('cases of sampling, samplers and drafts:', JSON.stringify(counts)));

it.each(Array.from({ length: Math.ceil(CASES / AT_ONCE) }, (_, i) => FIRST_SEED + i * AT_ONCE))(
  `${AT_ONCE} cases, from seed %i`,
  first => {
    for (let seed = first; seed < first + AT_ONCE; seed++) {
      checkCase(seed, counts);
      if (seed % 10 === 0) checkSampler(seed, counts);
      if (seed % 10 === 1) checkDraft(seed, counts);
    }
    expect(counts.otherwise).toBeLessThan(Math.max(5, counts.rows / 1000));
  },
);
