/** A folder for the temporary files of all tests, which goes when the last has ended. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'genac-tests-'));
  process.env.TMPDIR = folder;
  // What a user's runs were is remembered there; not of those that tests begin.
  process.env.XDG_CONFIG_HOME = join(folder, 'config');
  return () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
}
