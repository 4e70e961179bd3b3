/** Arguments that are wrong are an error in words, without a stack. */
import { execFile } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const genac = fileURLToPath(new URL('../../src/cli/genac.mjs', import.meta.url));
const file = join(mkdtempSync(join(tmpdir(), 'genac-yaml-')), 'evaluation.yaml');
writeFileSync(file, 'folder: x\ntask: miniature\nactor: {model: m}\ncritics: {mean: group-mean}\n');
const valued = ['--prompt', 'p', '--response', 'r'];

test.each([
  ['--critic a={use: [', ['evaluate', file, '--critic', 'a={use: [']],
  ['--task', ['value', '.', ...valued, '--task', '{use: [']],
  ['--segmentation', ['value', '.', ...valued, '--segmentation', '{by: [']],
])(
  '%s',
  async (name, given) => {
    const failed = await promisify(execFile)(process.execPath, [genac, ...given]).catch(
      (error: { stderr: string }) => error,
    );
    expect(failed.stderr).toContain(`genac: ${name}: the option is not valid`);
    expect(failed.stderr).toContain("can't be read as YAML");
    expect(failed.stderr).not.toMatch(/^ +at /m);
  },
  60_000,
);

test('two critics of one name are refused, and none replaces the other', async () => {
  const given = ['evaluate', file, '--critic', 'a=oracle', 'a=group-mean'];
  const failed = promisify(execFile)(process.execPath, [genac, ...given]);
  await expect(failed).rejects.toThrow('--critic a is given twice');
}, 60_000);
