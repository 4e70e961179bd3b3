/** What all tests have: a folder for temporary files, which goes at their end, and threads. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'genac-tests-'));
  process.env.TMPDIR = folder;
  // What a user's runs were is remembered there; not of those that tests begin.
  process.env.XDG_CONFIG_HOME = join(folder, 'config');
  // Two files run at once: processes that do not choose would each take both cores.
  process.env.OMP_NUM_THREADS ??= '1';
  return () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
}
