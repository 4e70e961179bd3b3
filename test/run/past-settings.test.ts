/**
 * Values that are set pass the checks that a config passes, and a run that one of them ended can go
 * on.
 */
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import generative from '../../plugins/critics/generative.ts';
import { checkConfig } from '../../src/config/load.ts';
import type { Config, ConfigInput } from '../../src/config/schema.ts';
import { changedConfig, type Settings } from '../../src/config/settings.ts';
import { checkPast, setBetweenLives } from '../../src/run/past-settings.ts';
import {
  type ControllerState,
  checkpointName,
  writeCheckpoint,
} from '../../src/run-folder/checkpoint.ts';
import { RunFolder } from '../../src/run-folder/folder.ts';
import { readSettings } from '../../src/run-folder/read.ts';

const scratch = mkdtempSync(join(tmpdir(), 'genac-past-settings-'));
afterAll(() => rmSync(scratch, { recursive: true }));

const input = (name: string): ConfigInput => ({
  folder: join(scratch, name),
  task: 'miniature',
  critic: { use: 'generative', model: 'task:blank' },
  actor: { model: 'task:blank' },
});

const names = [
  ...[
    'actor.learning_rate',
    'critic_sft.learning_rate',
    'critic_rl.learning_rate',
    'joint.learning_rate',
  ],
  ...[
    'sampling.temperature',
    'critic.temperature',
    'credit.lambda',
    'critic.completions_per_state',
  ],
  ...['critic.icc', 'joint.schedule', 'evaluation.every', 'checkpoints.every'],
];
const values: unknown[] = [
  ...[
    1e-320,
    1e-30,
    1e-5,
    0.5,
    1,
    2,
    150,
    1e12,
    1e308,
    Number.POSITIVE_INFINITY,
    -1,
    0,
    -0,
    Number.NaN,
    2 ** 53,
  ],
  ...[null, true, '', '1', 'pipelined', 'a\0b', [], {}, [[1]]],
];

/** Is the value refused where the config holds it from the beginning? */
function isRefusedInConfig(name: string, value: unknown): boolean {
  const [section, option] = name.split('.') as [keyof ConfigInput, string];
  const given = input('x');
  try {
    const config = checkConfig({
      ...given,
      [section]: { ...(given[section] as object), [option]: value },
    });
    const { use: _, ...options } = config.critic as { use: string };
    return !generative.options.safeParse(options).success;
  } catch {
    return true;
  }
}

it.each(names)(
  '%s: what is refused in a config is refused while the run goes on, and nothing else',
  (name) => {
    const config = checkConfig(input('x'));
    const refused = values.filter((value) => {
      try {
        changedConfig(config, { [name]: value } as Settings, generative);
        return false;
      } catch {
        return true;
      }
    });
    expect(refused).toEqual(values.filter((value) => isRefusedInConfig(name, value)));
    expect(refused).toContain(1e-320);
    expect(refused).toContain(1e308);
  },
);

describe('a run that a setting ended', () => {
  const state = (
    stage: ControllerState['stage'],
    iteration: number,
    complete: boolean,
  ): ControllerState => ({
    ...{ stage, iteration, complete, success_rate: null, progress: {}, seconds: 1 },
    written: { metrics: 0, trajectories: 0 },
  });
  async function runWith(name: string, at: ControllerState | null, settings: readonly object[]) {
    const config: Config = checkConfig(input(name));
    const folder = await RunFolder.create(config, scratch);
    if (at)
      await writeCheckpoint(folder.checkpoints, checkpointName(at), at, {
        ...{ actor: null, critic: null, 'best-critic': null },
      });
    for (const line of settings) appendFileSync(folder.settings, `${JSON.stringify(line)}\n`);
    return { config, folder };
  }
  const bad = { stage: 'joint', iteration: 12, values: { 'sampling.temperature': 1e-320 } };
  const good = { stage: 'joint', iteration: 3, values: { 'credit.lambda': 0.5 } };

  it('says which setting, and how to replace it; replaced, it goes on', async () => {
    const { config, folder } = await runWith('ended', state('joint', 10, false), [good, bad]);
    expect(() => checkPast(readSettings(folder.path), config, generative)).toThrow(
      `${folder.settings}: what was set at joint, iteration 12 can't be used\n  sampling.temperature: 1e-320: is ` +
        'beyond what models compute with (1e-37 to 3e38, or 0)\n  Replace what was set: ' +
        `genac set ${folder.path} sampling.temperature=VALUE; then resume`,
    );
    expect(await setBetweenLives(folder.path, { 'sampling.temperature': 0.9 }, false)).toBe(
      'when it is resumed, from joint, iteration 10 on: sampling.temperature = 0.9 (instead ' +
        'of sampling.temperature = 1e-320)',
    );
    const settings = readSettings(folder.path);
    expect(settings).toEqual([
      good,
      { stage: 'joint', iteration: 10, values: { 'sampling.temperature': 0.9 } },
    ]);
    expect(() => checkPast(settings, config, generative)).not.toThrow();
  });

  it('what is refused changes nothing', async () => {
    const { folder } = await runWith('refused', null, [good]);
    const before = readFileSync(folder.settings, 'utf8');
    const set = (changes: object) => setBetweenLives(folder.path, changes as Settings, false);
    await expect(set({ 'credit.lambda': 2 })).rejects.toThrow('credit.lambda: 2');
    await expect(set({ 'credit.lamda': 1 })).rejects.toThrow('did you mean "credit.lambda"');
    expect(readFileSync(folder.settings, 'utf8')).toBe(before);
  });

  it.each([
    ['none', null, 'critic-sft, iteration 0'],
    ['within', state('critic-rl', 7, false), 'critic-rl, iteration 7'],
    ['end', state('critic-sft', 7, true), 'critic-rl, iteration 0'],
  ])('the place is that of the newest checkpoint: %s', async (name, at, words) => {
    const { folder } = await runWith(`place-${name}`, at, []);
    expect(await setBetweenLives(folder.path, { 'credit.lambda': 0.5 }, false)).toContain(
      `from ${words} on`,
    );
  });

  it('other values than those that are set stay, and what was in effect before the checkpoint', async () => {
    const both = { ...bad, values: { ...bad.values, 'credit.lambda': 0.7 } };
    const old = { stage: 'joint', iteration: 1, values: { 'actor.learning_rate': 5 } };
    const { folder } = await runWith('others', state('joint', 10, false), [old, good, both]);
    // Valid once, and in effect before the checkpoint: it is named, and can be replaced as well.
    await expect(
      setBetweenLives(folder.path, { 'sampling.temperature': 1 }, false),
    ).rejects.toThrow('actor.learning_rate: 5');
    await setBetweenLives(
      folder.path,
      { 'sampling.temperature': 1, 'actor.learning_rate': 1e-3 },
      false,
    );
    expect(readSettings(folder.path)).toEqual([
      good,
      {
        stage: 'joint',
        iteration: 10,
        values: { 'sampling.temperature': 1, 'actor.learning_rate': 1e-3 },
      },
      { ...both, values: { 'credit.lambda': 0.7 } },
    ]);
  });
});
