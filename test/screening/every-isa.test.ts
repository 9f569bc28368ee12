/** Heads that screen answer as those that do not, with every instruction set that there is here: random calls of random heads. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nativeUnavailable } from '../../lib/backend/addon';
import { capabilities } from '../../lib/backend/choose';
import { searchedAtRandom } from '../support/searches';

describe.skipIf(nativeUnavailable())('searches at random', () => {
  const tables = nativeUnavailable() ? [] : capabilities().available;
  it.each(tables)('%s', isa => {
    const counts = searchedAtRandom(join(__dirname, 'random-searches.mjs'), 7, 400, isa);
    expect(counts).toMatchObject({ isa, calls: 400 });
    expect(counts.searches).toBeGreaterThan(50);
  });
});
