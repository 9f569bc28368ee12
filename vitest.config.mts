import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/installed/**'], // npm run test:package
    pool: 'forks',
    maxWorkers: '100%', // by default one CPU stays free
    testTimeout: 60000,
  },
});
