import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.{ts,tsx}'],
          exclude: ['test/e2e/**'],
          globalSetup: ['test/helpers/build.ts', 'test/pam/build.ts', 'test/helpers/grep.ts'],
          setupFiles: ['test/helpers/overhear.ts', 'test/helpers/seed.ts'],
          // Longer than the tests' own patience with what they wait for, which says what was there instead.
          testTimeout: 60_000,
          // They wait for processes and for time-outs; more at a time than there are cores are quicker, on two shared ones as well.
          maxWorkers: Math.max(3, availableParallelism()),
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          globalSetup: ['test/e2e/lab/install.ts', 'test/helpers/grep.ts'],
          setupFiles: ['test/helpers/overhear.ts'],
          testTimeout: 120_000,
          hookTimeout: 600_000,
          // Four pools at a time: they wait more than they work.
          maxWorkers: 4,
        },
      },
    ],
  },
});
