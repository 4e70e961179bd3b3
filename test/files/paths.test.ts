import { mkdirSync, mkdtempSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { withAbsolutePaths } from '../../src/config/absolute-paths.ts';
import { checkConfig } from '../../src/config/load.ts';
import type { ConfigInput } from '../../src/config/schema.ts';
import { withAbsoluteCritic } from '../../src/extensions/absolute-critic.ts';
import { expandHome, isWrittenAsPath, pathFrom } from '../../src/files/paths.ts';

it('~ is the home folder, at the beginning alone', () => {
  expect(['~', '~/a b', '~x', 'a/~', './~/a'].map(expandHome)).toEqual([
    homedir(),
    join(homedir(), 'a b'),
    '~x',
    'a/~',
    './~/a',
  ]);
  expect(pathFrom('/base', '~/a')).toBe(join(homedir(), 'a'));
  expect(pathFrom('/base', 'a')).toBe('/base/a');
});

it('a path is written as one', () => {
  expect(['./a', '../a', '/a', '~/a'].every(isWrittenAsPath)).toBe(true);
  expect(['a', 'org/model', '~a', 'task:x'].some(isWrittenAsPath)).toBe(false);
});

it('what is relative to the working directory is resolved once; names stay', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'genac-paths-'));
  const before = process.cwd();
  process.chdir(folder);
  mkdirSync('models/tiny', { recursive: true });
  try {
    const here = process.cwd();
    const config = withAbsolutePaths(
      checkConfig({
        folder: 'out',
        start_from: '~/old/checkpoints/joint',
        task: 'miniature',
        actor: { model: 'models/tiny' },
        critic: { use: 'generative', model: 'org/critic' },
        critic_sft: { traces: 'traces.jsonl' },
      } as ConfigInput),
    );
    expect(config).toMatchObject({
      folder: join(here, 'out'),
      start_from: join(homedir(), 'old/checkpoints/joint'),
      // ICC goes on saying what the config says.
      actor: { model: join(here, 'models/tiny'), name: 'models/tiny' },
      critic: { model: 'org/critic' },
      critic_sft: { traces: join(here, 'traces.jsonl') },
    });
    expect(withAbsolutePaths(config)).toEqual(config);
    const more = checkConfig({
      ...{ folder: 'out', task: 'miniature', critic: 'c' },
      actor: { model: 'task:a', tokenizer: 'models/tiny' },
      log: [{ use: 'tensorboard', folder: 'tb' }, 'wandb'],
    } as ConfigInput);
    expect(withAbsolutePaths(more)).toMatchObject({
      actor: { tokenizer: join(here, 'models/tiny') },
      log: [{ folder: join(here, 'tb') }, { use: 'wandb' }],
    });
    const api = {
      use: 'api',
      base_url: 'http://x',
      model: 'm',
      cache: 'a.jsonl',
      shots: 's.jsonl',
    };
    const critics = [
      { use: 'value-head', model: 'models/tiny', tokenizer: 'org/words' },
      'oracle',
      api,
    ];
    expect(await withAbsoluteCritic({ use: 'ensemble', critics }, '.')).toEqual({
      use: 'ensemble',
      critics: [
        { use: 'value-head', model: join(here, 'models/tiny'), tokenizer: 'org/words' },
        'oracle',
        { ...api, cache: join(here, 'a.jsonl'), shots: join(here, 's.jsonl') },
      ],
    });
    const engine = { use: 'vllm', enforce_eager: true };
    const given = { use: 'generative', model: 'models/tiny', engine };
    expect(await withAbsoluteCritic(given, '.')).toEqual({
      ...given,
      model: join(here, 'models/tiny'),
    });
    const own = checkConfig({
      folder: '/x',
      task: 'miniature',
      actor: { model: 'task:a' },
      critic: 'c',
    } as ConfigInput);
    expect(withAbsolutePaths(own)).toMatchObject({ actor: { model: 'task:a' }, critic: 'c' });
    expect(withAbsolutePaths(own).critic_sft.traces).toBe('oracle');
  } finally {
    process.chdir(before);
  }
  expect(resolve('.')).toBe(before);
});
