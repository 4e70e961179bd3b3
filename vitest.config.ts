import { defineConfig } from 'vitest/config';

// `forks`: zeromq's native sockets must never live in worker_threads.
export default defineConfig({
  test: {
    pool: 'forks',
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    globalSetup: 'test/scratch.ts',
  },
});
