/** Runs from any folder: own files without a package, paths, and a terminal that closes. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { checkpointNames } from '../../src/run-folder/checkpoint.ts';
import { readMetrics, readTrajectories } from '../../src/run-folder/read.ts';

const genac = new URL('../../src/cli/genac.mjs', import.meta.url).pathname;
// Outside of every npm package.
const folder = mkdtempSync(join(tmpdir(), 'genac-anywhere-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const own: Readonly<Record<string, string>> = {
  'plain.ts': 'export default ({ text }: { text: string }): number => (text.length % 2 ? 1 : 0);',
  'typed.ts': `import { defineReward, type Score } from 'genac';
    import { odd } from './odd.ts';
    const score: Score = ({ text }) => odd(text);
    export default defineReward({ name: 'typed', score });`,
  'odd.ts': 'export const odd = (text: string): number => (text.length % 2 ? 1 : 0);',
  'module.js': `import { defineReward } from 'genac';
    import { z } from 'zod';
    export default defineReward({ name: 'module', score: ({ text }) => (z.string().parse(text).length % 2 ? 1 : 0) });`,
  'common.js': 'module.exports = ({ text }) => (text.length % 2 ? 1 : 0);',
};
for (const [name, text] of Object.entries(own)) writeFileSync(join(folder, name), text);

function config(name: string, changes: object = {}): string {
  writeFileSync(
    join(folder, `${name}.yaml`),
    JSON.stringify({
      folder: `out/${name}`,
      stages: ['joint'],
      task: { use: 'miniature', actors: 4 },
      critic: 'group-mean',
      actor: { model: 'task:blank', learning_rate: 1e-3 },
      workers: { actor: { threads: 1 }, python: {} },
      sampling: { batch_size: 2, num_generations: 3, max_new_tokens: 8, record: 6 },
      icc: { warm_rollouts: 0 },
      joint: { steps: 1 },
      evaluation: { every: 0, prompts: 1, states: 1 },
      ...changes,
    }),
  );
  return `${name}.yaml`;
}

function start(cwd: string, ...command: string[]) {
  const child = spawn(process.execPath, [genac, ...command], {
    cwd,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let text = '';
  child.stderr.on('data', (data: Buffer) => {
    text += data;
  });
  const ended = new Promise<number | null>((resolve) => child.on('exit', resolve));
  return { child, ended, text: () => text };
}

describe('a run whose config lies outside of every package', () => {
  it('imports own files in TypeScript and JavaScript, which import genac and zod by name', async () => {
    const uses = ['plain.ts', 'typed.ts', 'module.js', 'common.js'];
    const run = start(
      folder,
      'train',
      config('own', { rewards: uses.map((use) => ({ use: `./${use}` })) }),
    );
    expect(await run.ended, run.text()).toBe(0);
    for (const { response, rewards } of readTrajectories(join(folder, 'out/own'))) {
      const odd = response.length % 2;
      expect(rewards).toEqual({ plain: odd, typed: odd, module: odd, common: odd });
    }
  }, 120_000);

  it('ends with a checkpoint when its terminal closes, and goes on from another directory', async () => {
    const long = { joint: { steps: 3000 }, start_from: null };
    const run = start(folder, 'train', config('closed', long));
    const path = join(folder, 'out/closed');
    const begun = () =>
      existsSync(join(path, 'metrics.jsonl')) &&
      readMetrics(path).some((l) => l.type === 'iteration');
    while (run.child.exitCode === null && !begun())
      await new Promise((resolve) => setTimeout(resolve, 50));
    run.child.stderr.destroy(); // as a terminal that is gone
    run.child.kill('SIGHUP');
    expect(await run.ended).toBe(129);
    expect(await checkpointNames(join(path, 'checkpoints'))).toHaveLength(1);
    const elsewhere = join(folder, 'elsewhere');
    mkdirSync(elsewhere);
    const again = start(elsewhere, 'resume', '../out/closed');
    const before = readMetrics(path).length;
    while (again.child.exitCode === null && readMetrics(path).length <= before + 1)
      await new Promise((resolve) => setTimeout(resolve, 50));
    expect(again.child.exitCode, again.text()).toBeNull();
    again.child.kill('SIGTERM');
    expect(await again.ended).toBe(143);
  }, 120_000);
});

describe('what needs no model is said before models are loaded', () => {
  it.each([
    [
      'column',
      { rewards: [{ use: 'math-verify', column: 'anser' }] },
      'rewards.0.column: problem train-0 has no column "anser"',
    ],
    [
      'signature',
      { rewards: [{ use: './needs.py:needs' }] },
      'needs.py:needs needs solution, which the problems have no column for',
    ],
    [
      'actor',
      {
        ...{ stages: ['critic-rl'], actor: null, joint: {}, sampling: {}, workers: { critic: {} } },
        ...{ task: { use: './bare.ts' }, critic: { use: 'generative', model: '/nowhere' } },
      },
      'actor: critic-rl needs one, for the task "bare" brings no rollouts of its own',
    ],
  ])(
    '%s',
    async (name, changes, expected) => {
      writeFileSync(
        join(folder, 'needs.py'),
        'def needs(completions, solution, **kwargs): return [1.0] * len(completions)\n',
      );
      writeFileSync(
        join(folder, 'bare.ts'),
        `import { defineTask } from 'genac';
       import { z } from 'zod';
       export default defineTask({ name: 'bare', options: z.strictObject({}), create: () => ({ name: 'bare', problems: () => [] }) });`,
      );
      // A model that is not there: who looks for it first says so.
      const actor = name === 'actor' ? {} : { actor: { model: '/nowhere/model' } };
      const run = start(folder, 'train', config(name, { ...actor, ...changes }));
      expect(await run.ended).toBe(1);
      expect(run.text()).toContain(expected);
      expect(run.text()).not.toContain('nowhere');
    },
    60_000,
  );
});
