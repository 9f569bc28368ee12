import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/installed/**'], // npm run test:package
    pool: 'forks',
    testTimeout: 60000,
  },
});
