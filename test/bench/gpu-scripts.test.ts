/** bench/gpu.sh `--tiny`: what would run on a GPU runs, and a part that fails is told. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { findPython } from '../../src/workers/python.ts';

const root = new URL('../..', import.meta.url).pathname;

function script(python: string) {
  const out = mkdtempSync(join(tmpdir(), 'genac-gpu-'));
  const ended = spawnSync('bash', ['bench/gpu.sh', '--tiny', '--rounds', '1', out], {
    cwd: root,
    env: { ...process.env, PYTHON: python },
    encoding: 'utf8',
    timeout: 400_000,
  });
  return { out, ...ended };
}

it('measures every part that a CPU has', () => {
  const { out, status, stdout } = script(findPython());
  expect([status, stdout]).toEqual([0, expect.stringContaining('| sample, tiny, ')]);
  const reports = readdirSync(out).filter((name) => name.endsWith('.json'));
  expect(reports.sort()).toEqual(['sampling-tiny.json', 'sharing.json', 'training.json']);
  for (const name of reports) {
    const entries = Object.entries(JSON.parse(readFileSync(join(out, name), 'utf8')));
    expect(entries.length).toBeGreaterThan(1);
    for (const [, values] of entries) expect(values).not.toHaveProperty('error');
  }
}, 420_000);

it('fails where a part does', () => {
  expect(script('false').status).toBe(1);
});
