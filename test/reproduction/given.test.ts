/** Tables of a config with models of its own: what they are made with, and what is refused. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { checkConfig } from '../../src/config/load.ts';
import { workersOf } from '../../src/reproduction/configs.ts';
import { checkLargeModel, checkParts } from '../../src/reproduction/early-checks.ts';
import { familiesOf } from '../../src/reproduction/families.ts';
import { pretraining, scorer } from '../../src/reproduction/foundation.ts';
import { filesOf } from '../../src/reproduction/given.ts';
import {
  jointConfig,
  type MethodKey,
  methodKeys,
  settingsOf,
} from '../../src/reproduction/methods.ts';
import { inOrder, keyOf, type Results } from '../../src/reproduction/parts.ts';
import { setupOf } from '../../src/reproduction/read-setup.ts';
import { reproduce, tables } from '../../src/reproduction/reproduce.ts';
import type { Named, Setup } from '../../src/reproduction/setup.ts';
import { rises, strengthsIn } from '../../src/reproduction/strong-actors.ts';
import { settingOf } from '../../src/reproduction/sweep.ts';

let folder = '';
const write = (name: string, content: object) => {
  const path = join(folder, name);
  writeFileSync(path, JSON.stringify(content));
  return path;
};
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'genac-given-'));
});

const config = {
  folder: 'runs/x',
  task: { use: './task.ts', family: 'sums' },
  rewards: [{ use: './reward.ts' }],
  actor: { model: '/models/small', worker: 'gpu', learning_rate: 2e-5 },
  critic: { use: 'generative', model: '/models/small', worker: 'second', icc: true },
  workers: { gpu: { devices: '0' }, second: { devices: '1' } },
  sampling: { top_p: 0.9 },
  critic_sft: { traces: '/traces.jsonl' },
  critic_rl: { steps: 30, states: 96 },
  joint: { steps: 50 },
  evaluation: { prompts: 256, continuations: 16 },
};

describe('a config with models of its own', () => {
  it('says how large the tables are, and `full` adds a sweep on one seed', () => {
    const path = write('config.yaml', config);
    const { size, recipe, given } = setupOf(path, 'hour');
    expect(size).toMatchObject({
      ...{ joint: 50, icc: 50, every: 5, prompts: 128, continuations: 16, tuning: 0 },
      ...{ head: { steps: 30, responses: 96 }, families: [] },
    });
    // In-Context Conditioning names the actor as the config does, whatever it learned.
    expect(recipe.actor).toMatchObject({ name: '/models/small' });
    expect(given).toEqual({ base: folder, shifts: {} });
    expect(setupOf(path, 'full').size).toMatchObject({ tuning: 1, sweep: 20 });
    expect(familiesOf(setupOf(path, 'full')).map(({ title }) => title)).toEqual(['task']);
  });

  it('has every method but exact values, by its own learning rate and its own workers', () => {
    const setup = setupOf(write('config.yaml', config), 'hour');
    const keys = methodKeys(setup);
    expect(keys).toHaveLength(7);
    expect(keys).not.toContain('exact');
    expect(settingsOf(setup, 'grpo').map(({ learning_rate }) => learning_rate)).toEqual([
      ...[2e-5, 1e-5, 4e-5, 8e-5],
    ]);
    for (const key of keys) {
      const [setting] = settingsOf(setup, key);
      const run = jointConfig(setup, 0, 0, key, setting!, { iterations: 1 });
      const { critic } = checkConfig({ ...run, folder: 'runs/none' });
      expect(run.task).toEqual({ use: './task.ts', family: 'sums' });
      // A worker that is named for no model is refused.
      const own = ['python', 'gpu', ...('model' in (critic as object) ? ['second'] : [])];
      expect([key, Object.keys(run.workers!)]).toEqual([key, own]);
      if (key === 'ppo')
        expect([critic, run.joint]).toMatchObject([{ worker: 'second' }, { learning_rate: 4e-5 }]);
    }
    const { actor, critic, ...named } = setup.recipe.workers;
    expect(workersOf(setup)).toEqual(named);
    expect(scorer(setup, 'language-model')).toMatchObject({
      ...{ use: 'language-model', model: '/models/small', worker: 'second', max_new_tokens: 16 },
    });
  });

  it('has no part of the embedded tasks', () => {
    const setup = setupOf(write('config.yaml', config), 'full');
    const own = tables.filter(({ ofMiniature }) => !ofMiniature);
    expect(own.map(({ number }) => number).sort()).toEqual([2, 3, 4, 5, 6]);
    const text = JSON.stringify(inOrder(own.flatMap((table) => table.parts(setup, 0))));
    expect(text).not.toMatch(/"steps":8,|"use":"oracle"|miniature|\[a-l\]/);
    expect(text).toContain('"references":"continuations"');
    expect(text).toContain('"top_p":0.9');
  });

  it('takes the task of a file beside it as a shift', () => {
    const path = write('config.yaml', config);
    const other = write('other.yaml', { task: { use: './task.ts', family: 'mixed' } });
    const { given } = setupOf(path, 'hour', { mixed: other });
    expect(given!.shifts).toEqual({ mixed: { use: './task.ts', family: 'mixed' } });
    const shift = tables.find(({ number }) => number === 3)!;
    expect(shift.notes(setupOf(path, 'hour', { mixed: other }))).toContain(
      '`mixed`: another task.',
    );
  });
});

describe('a part of such a config', () => {
  const keysOf = (setup: Setup) =>
    inOrder(tables.filter((table) => !table.ofMiniature).flatMap((one) => one.parts(setup, 0))).map(
      (part) => `${part.name} ${keyOf(part)}`,
    );
  it('depends on the shifts, and on what their files hold, in table 3 alone', () => {
    const path = write('config.yaml', config);
    writeFileSync(join(folder, 'data.jsonl'), '{}\n');
    const task = (template: string) => ({ use: 'jsonl', file: 'data.jsonl', template });
    const shifted = (template: string) =>
      keysOf(setupOf(path, 'hour', { other: write('other.yaml', { task: task(template) }) }));
    const [none, first, second] = [keysOf(setupOf(path, 'hour')), shifted('{a}'), shifted('{b}')];
    writeFileSync(join(folder, 'data.jsonl'), '{}\n{}\n');
    const third = shifted('{b}');
    const differing = (one: readonly string[], other: readonly string[]) =>
      one.filter((key) => !other.includes(key)).map((key) => key.replace(/ .*/, ''));
    for (const [one, other] of [
      [none, first],
      [first, second],
      [second, third],
    ] as const)
      expect(differing(one, other)).toEqual(['critics']);
  });
  it('stands apart from those of other files and of another folder', () => {
    const named = { ...config, task: { use: 'jsonl', file: 'data.jsonl' } };
    const filesIn = () => filesOf(setupOf(write('config.yaml', named), 'hour'));
    writeFileSync(join(folder, 'data.jsonl'), '{}\n');
    const first = filesIn();
    expect(filesIn()).toBe(first);
    writeFileSync(join(folder, 'data.jsonl'), '{}\n{}\n');
    const second = filesIn();
    folder = mkdtempSync(join(tmpdir(), 'genac-given-'));
    expect(new Set([first, second, filesIn()]).size).toBe(3);
    expect(filesOf(setupOf(undefined, 'hour'))).toBeNull();
  });
  it('keeps the last critic: held-out problems of a data set are the tables’ own', () => {
    const setup = setupOf(write('config.yaml', { ...config, critic_rl: { keep: 'best' } }), 'hour');
    const { options } = pretraining(setup, 0, 0, 'generative');
    expect(options).toMatchObject({ critic_rl: { keep: 'last' } });
  });
  it('has the config’s lambda where the critic learns from traces', () => {
    const lambda = { length_adaptive: 0.05 };
    const setup = setupOf(write('config.yaml', { ...config, credit: { lambda } }), 'hour');
    const first = (key: MethodKey) => settingOf(setup, key, {} as Results).lambda;
    expect([first('genac'), first('silent'), first('ppo'), first('vineppo')]).toEqual([
      ...[lambda, lambda, 0.95, 0],
    ]);
  });
});

describe('all parts of a recipe', () => {
  const own = tables.filter(({ ofMiniature }) => !ofMiniature);
  const check = (changes: object, size: 'hour' | 'tiny' = 'hour') => {
    const setup = setupOf(write('config.yaml', { ...config, ...changes }), size);
    return checkParts(
      own.flatMap((table) => table.parts(setup, 0)),
      folder,
    );
  };
  it.each([
    {},
    { critic: { ...config.critic, completions_per_state: 4, agree_within: 1 } },
    { critic: { ...config.critic, answer: 'forced', importance_sampling: {} } },
    { critic: { ...config.critic, carry_until: 'left', share_of_states: 0.5 } },
    { evaluation: { continuations: 1 } },
    { actor: { ...config.actor, minibatches: 32 } },
    { actor: { ...config.actor, kl: 0.01 }, joint: { steps: 2, warmup: 1 } },
    { credit: { lambda: { length_adaptive: 0.05 } }, critic_rl: { steps: 1, warmup: 0 } },
    { log: ['tensorboard'] },
  ])('are such that their runs begin: %j', async (changes) => {
    await check(changes);
    if ('actor' in changes) await check(changes, 'tiny');
  });
  it.each([
    [{ sampling: { num_generations: 1 } }, 'num_generations'],
    [{ credit: { gamma: 0.9 } }, 'gamma'],
  ])('are refused before the first one, with its name: %j', async (changes, words) => {
    await expect(check(changes)).rejects.toThrow(words);
    await expect(check(changes)).rejects.toThrow(/\(in "[a-z-]+"\)/);
  });
});

it('stronger actors have half of a run’s rise, and all of it', () => {
  const curve = [0.5, 0.4, 0.6, 0.7, 0.65].map((success, i) => ({
    ...{ success, iteration: 5 * i, actor_tokens: 0, all_tokens: 0, seconds: 0 },
  }));
  const { stronger, strong } = strengthsIn(curve, rises(curve));
  expect([stronger.iteration, strong.iteration]).toEqual([10, 15]);
  // An actor that never rose: the first of its best.
  const falling = curve.map((point, i) => ({ ...point, success: 0.5 - 0.1 * i }));
  expect(strengthsIn(falling, rises(falling)).strong.iteration).toBe(5);
});

describe('what is refused, in words', () => {
  const refused = (changes: object, words: string) =>
    expect(() => setupOf(write('config.yaml', { ...config, ...changes }), 'hour')).toThrow(words);
  it('a critic that does not think in words', async () => {
    for (const changed of [{ use: 'language-model' }, { thinking: false }]) {
      const critic = { ...config.critic, ...changed };
      const path = write('config.yaml', { ...config, critic });
      await expect(reproduce({ config: path, folder: join(folder, 'out') })).rejects.toThrow(
        'one that learns from traces and thinks in words',
      );
    }
  });
  it('models that there are not', () => {
    const first = { stages: ['critic-sft'], critic_rl: undefined, joint: undefined };
    refused({ ...first, actor: null, rewards: [] }, 'actor.model is missing');
    refused(
      { task: 'cups', actor: { ...config.actor, model: 'task:base-actor' }, rewards: [] },
      'by "miniature" alone',
    );
  });
  it('what the runs can’t have in the same sense', () => {
    refused({ start_from: 'runs/y' }, 'start_from: the tables begin with actor.model');
    refused({ joint: { critic: 'frozen' } }, 'joint.critic: the tables train every critic');
    const api = { model: 'large', api_key_env: null };
    refused({ critic_sft: { traces: { api } } }, 'critic_sft.traces.api.cache: name a file');
  });
  it('a large model that could not be asked', async () => {
    const setup = setupOf(undefined, 'tiny');
    const asked = (critic: Named) => expect(checkLargeModel(setup, critic)).rejects;
    await asked({ use: 'monte-carlo' }).toThrow('icc: no such option');
    await asked({ use: 'generative', model: 'm' }).toThrow('no worker "critic" here');
    await asked({ use: 'api', model: 'm', api_key_env: 'NO_SUCH_KEY' }).toThrow('NO_SUCH_KEY');
    await checkLargeModel(setup, { use: 'api', model: 'm', api_key_env: null });
  });
  it('options that no wanted table reads', async () => {
    const options = { config: write('config.yaml', config), folder: join(folder, 'out') };
    const shifts = { other: write('other.yaml', { task: './other.ts' }) };
    await expect(reproduce({ ...options, shifts, tables: [4] })).rejects.toThrow('without table 3');
    const largeModel = { use: 'api' };
    await expect(reproduce({ ...options, largeModel, tables: [3] })).rejects.toThrow(
      'without table 6',
    );
  });
  it('a task that can’t be loaded, before anything is made', async () => {
    const path = write('config.yaml', {
      ...config,
      task: { use: 'jsonl', fyle: 'x' },
      rewards: [],
    });
    await expect(
      reproduce({ config: path, folder: join(folder, 'out'), size: 'tiny', tables: [3] }),
    ).rejects.toThrow('task.fyle: no such option');
  });
  it('a shift without a task, elsewhere, or of the miniature', () => {
    const path = write('config.yaml', config);
    const empty = write('empty.yaml', { folder: 'x' });
    expect(() => setupOf(path, 'hour', { empty })).toThrow('it needs `task`');
    expect(() => setupOf(path, 'hour', { far: 'examples/cups.yaml' })).toThrow('beside the config');
    expect(() => setupOf(path, 'hour', { none: empty })).toThrow('a shift of this name already');
    expect(() => setupOf(undefined, 'hour', { empty })).toThrow(
      'no effect on the task "miniature"',
    );
  });
  it('a table of the miniature alone', async () => {
    const options = { config: write('config.yaml', config), folder: join(folder, 'out') };
    await expect(reproduce({ ...options, tables: [1] })).rejects.toThrow(
      'there is no table 1 of a task that is not "miniature": name some of 2, 3, 4, 5, 6',
    );
  });
});
