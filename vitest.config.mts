import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** What takes longest begins first, so that no CPU waits for it at the end. */
const LONGEST = [
  'test/examples/bulk-scoring.',
  'test/memory/',
  'test/sampling/',
  'test/async/',
  'test/cli/',
  'test/kernels/',
  'test/api/verify-draft.',
  'test/api/activations.',
  'test/workers/',
  'test/package/',
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]) {
    const place = ({ moduleId }: TestSpecification) => {
      const found = LONGEST.findIndex(folder => moduleId.includes(`/${folder}`));
      return found < 0 ? LONGEST.length : found;
    };
    return (await super.sort(files)).sort((a, b) => place(a) - place(b));
  }
}

/** `npm run test:slow` is of mode slow: what measures, draws or damages many thousands of times. `npm test` has a little of each. */
export default defineConfig(({ mode }) => ({
  test: {
    include: [mode === 'slow' ? 'test/**/*.slow.ts' : 'test/**/*.test.ts'],
    exclude: ['test/installed/**'], // npm run test:package
    setupFiles: ['test/support/setup.ts'],
    pool: 'forks',
    // By default one CPU stays free; and programs that tests wait for leave another.
    maxWorkers: availableParallelism() + 1,
    sequence: { sequencer: LongestFirst },
    testTimeout: 60000,
  },
}));
