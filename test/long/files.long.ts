/**
 * Ten million changes of good files: none crashes a reader, hangs it, or makes it read or hold more than there is.
 * LMHEAD_FUZZ_RUNS says how many, for a trial.
 */
import { afterAll, beforeAll, expect, it, type MockInstance, vi } from 'vitest';
import { goodMaterial, openChanged } from '../support/file-fuzz';

const RUNS = Number(process.env.LMHEAD_FUZZ_RUNS ?? 10_000_000);
const AT_ONCE = 50_000;
/** The short test has the seeds below. */
const FIRST_SEED = 0x10000000;

const material = goodMaterial();
const before = process.memoryUsage().rss;

let warnings: MockInstance;
beforeAll(() => {
  warnings = vi.spyOn(process, 'emitWarning').mockReturnValue(undefined);
});
afterAll(() => warnings.mockRestore());

it.each(Array.from({ length: Math.ceil(RUNS / AT_ONCE) }, (_, i) => FIRST_SEED + i * AT_ONCE))(
  `${AT_ONCE} changed files, from seed %i`,
  first => {
    const opened = openChanged(material, first, AT_ONCE);
    warnings.mockClear(); // it keeps what it was called with
    expect(opened).toBeGreaterThan(AT_ONCE / 100);
    expect(process.memoryUsage().rss - before).toBeLessThan(500e6);
  },
);
