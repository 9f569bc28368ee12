/** A million searches, none of them wrong. LMHEAD_SEARCHES says how many, for a trial. */
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { nativeUnavailable } from '../../lib/backend/addon';
import { capabilities } from '../../lib/backend/choose';
import { searchedAtRandom } from '../support/searches';

const SEARCHES = Number(process.env.LMHEAD_SEARCHES ?? 1_000_000);
const CALLS = 20_000;
/** The short test has the seeds below. */
const FIRST_SEED = 1000;

let [searches, seed] = [0, FIRST_SEED];
afterAll(() => console.log(`${searches} searches, as the full pass`));

it.skipIf(nativeUnavailable())(
  `${SEARCHES} searches give what the full pass gives`,
  () => {
    const tables = capabilities().available;
    while (searches < SEARCHES) {
      const isa = tables[seed % tables.length];
      const calls = Math.min(CALLS, 4 * SEARCHES);
      searches += searchedAtRandom(
        join(__dirname, '../screening/random-searches.mjs'),
        seed++,
        calls,
        isa,
      ).searches;
    }
    expect(searches).toBeGreaterThanOrEqual(SEARCHES);
  },
  24 * 3600 * 1000,
);
