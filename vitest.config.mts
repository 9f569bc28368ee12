import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** What takes longest begins first, so that no CPU waits for it at the end. */
const LONGEST = [
  'test/memory/',
  'test/addon/',
  'test/sampling/',
  'test/async/',
  'test/cli/',
  'test/kernels/',
  'test/stress/',
  'test/api/verify-draft.',
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

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/installed/**'], // npm run test:package
    pool: 'forks',
    maxWorkers: '100%', // by default one CPU stays free
    sequence: { sequencer: LongestFirst },
    testTimeout: 60000,
  },
});
