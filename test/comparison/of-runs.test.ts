/** The options that an evaluation has of runs, without running anything. */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { checkEvaluation } from '../../src/comparison/config.ts';
import { evaluationOfRuns } from '../../src/comparison/of-runs.ts';

const scratch = mkdtempSync(join(tmpdir(), 'genac-of-runs-'));

function runIn(name: string, changes: object = {}): string {
  const folder = join(scratch, name);
  const weights = join(folder, 'checkpoints', 'joint-000001', 'critic');
  mkdirSync(weights, { recursive: true });
  writeFileSync(join(weights, 'config.json'), '{}');
  writeFileSync(join(folder, 'run.json'), JSON.stringify({ genac: '0.1.0', base: folder }));
  const config = {
    ...{ folder, task: 'miniature', critic: { use: 'generative', model: 'task:blank' } },
    ...{ actor: { model: 'task:base-actor' }, ...changes },
  };
  writeFileSync(join(folder, 'config.yaml'), stringify(config));
  return folder;
}

const namesOf = async (folders: readonly string[]) =>
  Object.keys((await evaluationOfRuns(folders)).input.critics);

describe('critics of runs', () => {
  test('are named after their folders, in the order of the command', async () => {
    const [mine, seven, odd] = ['mine', '7', 'my run'].map((name) => runIn(name));
    const parent = scratch.slice(scratch.lastIndexOf('/') + 1);
    expect(await namesOf([mine!, seven!, odd!])).toEqual(['mine', `${parent}-7`, 'my-run']);
  });

  test('of one name are told apart', async () => {
    const [one, two] = ['a/same', 'b/same'].map((name) => runIn(name));
    expect(await namesOf([one!, two!])).toEqual(['1-a-same', '2-b-same']);
  });
});

test('a run that has workers of other names keeps them', async () => {
  const folder = runIn('elsewhere', {
    actor: { model: 'task:base-actor', worker: 'first' },
    workers: { first: { threads: 3 } },
  });
  const { input } = await evaluationOfRuns([folder]);
  const { actor, workers } = checkEvaluation({ ...input, folder: 'x' });
  expect(actor!.worker).toBe('first');
  expect(workers.first).toMatchObject({ threads: 3 });
  expect(Object.keys(workers).sort()).toEqual(['actor', 'critic', 'first', 'python']);
});
