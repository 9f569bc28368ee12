/** `npm run test:long`: what takes minutes, or hours. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/long/**/*.long.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 24 * 3600 * 1000,
  },
});
