import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

// `forks`: zeromq's native sockets must never live in worker_threads.
export default defineConfig({
  test: {
    pool: 'forks',
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    // What a user's runs were is remembered there; not of those that tests begin.
    env: { XDG_CONFIG_HOME: mkdtempSync(join(tmpdir(), 'genac-config-')) },
  },
});
