/** Heads that screen answer as those that do not, thousands of times with every instruction set that there is here. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nativeUnavailable } from '../../lib/backend/addon';
import { capabilities } from '../../lib/backend/choose';
import { searchedAtRandom } from '../support/searches';

describe.skipIf(nativeUnavailable())('searches at random', () => {
  const tables = nativeUnavailable() ? [] : capabilities().available;
  it.each(tables)(
    '%s',
    isa => {
      const counts = searchedAtRandom(join(__dirname, 'random-searches.mjs'), 11, 3000, isa);
      expect(counts).toMatchObject({ isa, calls: 3000 });
      expect(counts.searches).toBeGreaterThan(500);
    },
    600_000,
  );
});
