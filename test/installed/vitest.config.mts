import { defineConfig } from 'vitest/config';

/** The package as users get it: packed, installed elsewhere, run by other runtimes. `npm run test:package`, after a build. */
export default defineConfig({
  test: {
    include: ['test/installed/**/*.test.ts'],
    globalSetup: 'test/installed/setup.ts',
    pool: 'forks',
    testTimeout: 120_000,
  },
});
