import { execFile } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeEach, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { evaluationOfRuns } from '../../src/comparison/of-runs.ts';
import { checkConfig } from '../../src/config/load.ts';
import {
  linksIn,
  namedBy,
  namedByCritic,
  refuseForeign,
  rememberOwnRun,
} from '../../src/extensions/consent.ts';
import { loadHostConfig } from '../../src/host/config.ts';
import { resumeRun } from '../../src/run/run.ts';
import { openCritic } from '../../src/standalone/open-critic.ts';

const genac = fileURLToPath(new URL('../../src/cli/genac.mjs', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'genac-consent-'));
let count = 0;
beforeEach(() => {
  process.env.XDG_CONFIG_HOME = join(scratch, `config-${count++}`);
});

describe('the code that a config names', () => {
  test('a task, a critic, rewards, and what lies beside weights', () => {
    const config = {
      task: { use: './task.ts', rows: 3 },
      critic: { use: '../critic.ts', model: 'm', trust_remote_code: true },
      actor: {
        model: 'm',
        trust_remote_code: false,
        attn_implementation: 'kernels-community/flash',
        engine: 'mine:Engine',
      },
      rewards: ['math-verify', './r.ts', './r.py:f', 'package.module:f'].map((use) => ({
        use,
      })) as never,
    };
    expect(namedBy(config, '/home/me/x')).toEqual([
      'task: /home/me/x/task.ts',
      'critic: /home/me/critic.ts',
      'rewards.1: /home/me/x/r.ts',
      'rewards.2: /home/me/x/r.py:f',
      'rewards.3: package.module:f',
      'actor: the kernel kernels-community/flash',
      'actor: the engine mine:Engine',
      'critic: what lies beside its weights (trust_remote_code)',
    ]);
  });

  test('engines, with options that can name code', () => {
    const engine = { use: 'vllm', logits_processors: ['mine.Processor'] };
    expect(namedBy({ actor: { model: 'm', engine: 'vllm' } }, '.')).toEqual([
      'actor: the engine vllm',
    ]);
    expect(namedBy({ critic: { use: 'generative', model: 'm', engine } }, '.')).toEqual([
      `critic: the engine ${JSON.stringify(engine)}`,
    ]);
    expect(namedBy({ actor: { model: 'm', engine: { use: 'transformers' } } }, '.')).toEqual([]);
  });

  test('a key that is sent, a place that is written, and metrics that leave the machine', () => {
    const { critic_sft, log } = checkConfig({
      ...{
        folder: 'f',
        task: 'miniature',
        critic: 'generative',
        actor: null,
        stages: ['critic-sft'],
      },
      critic_sft: {
        traces: {
          api: {
            ...{ model: 'm', base_url: 'http://attacker/v1', api_key_env: 'AWS_SECRET', count: 2 },
            ...{ cache: '/home/me/.bash_aliases' },
          },
        },
      },
      log: [{ use: 'tensorboard', folder: '/elsewhere' }],
    } as never);
    expect(namedBy({ critic_sft, log }, '.')).toEqual([
      'critic_sft.traces.api: the key in AWS_SECRET is sent to http://attacker/v1',
      'critic_sft.traces.api.cache: /home/me/.bash_aliases is written',
      expect.stringMatching(/^log\.0: metrics are sent by .*"folder":"\/elsewhere"/),
    ]);
  });

  test('folders of a run that are links', () => {
    const folder = mkdtempSync(join(scratch, 'links-'));
    mkdirSync(join(folder, 'models'));
    symlinkSync('/home/me/logs', join(folder, 'logs'));
    expect(linksIn(folder)).toEqual(['logs: a link to /home/me/logs']);
  });

  test('none, where all of it is built in; what a built-in critic sends is named', async () => {
    const actor = {
      model: 'm',
      trust_remote_code: false,
      attn_implementation: 'sdpa',
      engine: 'transformers',
    };
    expect(namedBy({ task: 'miniature', critic: { use: 'generative' }, actor }, '.')).toEqual([]);
    expect(await namedByCritic({ use: 'generative', model: 'm' }, '.')).toEqual([]);
    expect(await namedByCritic({ use: 'api', model: 'm' }, '.')).toEqual([
      'critic: the key in OPENAI_API_KEY is sent to https://api.openai.com/v1',
    ]);
    const critics = [{ use: 'api', model: 'm', api_key_env: null }, { use: './mine.ts' }];
    expect(await namedByCritic({ use: 'ensemble', critics }, '/home/me')).toEqual([
      'critic: prompts are sent to https://api.openai.com/v1',
      'critic: /home/me/mine.ts',
    ]);
  });

  test('runs for the run and the code that were one’s own, and no other', () => {
    rememberOwnRun('/runs/mine', ['task: /a.ts', 'critic: /b.ts']);
    const refuse = (folder: string, code: string[]) => () =>
      refuseForeign(folder, code, false, 'so');
    expect(refuse('/runs/mine', ['task: /a.ts'])).not.toThrow();
    expect(refuse('/runs/mine', ['task: /c.ts'])).toThrow(
      'task: /c.ts. Read it first; to allow it: so',
    );
    expect(refuse('/runs/other', ['task: /a.ts'])).toThrow(
      'is no run that you began on this machine',
    );
    expect(refuse('/runs/other', [])).not.toThrow();
    refuseForeign('/runs/other', ['task: /a.ts'], true, 'so');
  });

  test('a record that is damaged, or not there, allows nothing', () => {
    const refuse = () => refuseForeign('/runs/mine', ['task: /a.ts'], false, 'so');
    expect(refuse).toThrow();
    mkdirSync(join(process.env.XDG_CONFIG_HOME!, 'genac'), { recursive: true });
    writeFileSync(
      join(process.env.XDG_CONFIG_HOME!, 'genac', 'own-runs.jsonl'),
      'x\n{"folder":"/runs/mine"}\n{"fol',
    );
    expect(refuse).toThrow();
  });
});

/** A run folder as it came by mail: its task says when it is run. */
function foreignRun(critic: object = { use: 'generative', model: 'm' }): {
  folder: string;
  ran: () => boolean;
} {
  const folder = join(scratch, `foreign-${count++}`);
  const mark = join(folder, 'ran');
  const weights = join(folder, 'checkpoints', 'joint-000001', 'critic');
  mkdirSync(weights, { recursive: true });
  writeFileSync(join(weights, 'config.json'), '{}');
  writeFileSync(join(folder, 'checkpoints', 'joint-000001', 'controller.json'), '{}');
  writeFileSync(join(folder, 'run.json'), JSON.stringify({ genac: '0.1.0', base: folder }));
  writeFileSync(
    join(folder, 'task.ts'),
    `import { writeFileSync } from 'node:fs';\nwriteFileSync(${JSON.stringify(mark)}, '');\n`,
  );
  const config = { folder, stages: ['critic-rl'], task: './task.ts', critic, actor: null };
  writeFileSync(join(folder, 'config.yaml'), stringify(config));
  return { folder, ran: () => existsSync(mark) };
}

const open = {
  options: {},
  base: '.',
  logs: '.',
  actor: null,
  max_new_tokens: null,
  config_file: null,
  critic_default: {},
};

describe("somebody else's run runs no code without consent", () => {
  test.each([
    ['resumeRun', (folder: string) => resumeRun(folder).finished],
    ['openCritic', (folder: string) => openCritic(folder)],
    ['evaluationOfRuns', (folder: string) => evaluationOfRuns([folder])],
    [
      'genac evaluate',
      (folder: string) =>
        promisify(execFile)(process.execPath, [
          ...[genac, 'evaluate', folder, '--folder', join(folder, 'evaluation')],
        ]),
    ],
    [
      'critic_model',
      (folder: string) =>
        loadHostConfig({
          ...open,
          options: { critic: { use: 'generative', model: folder } },
          trust_code: false,
          continues: false,
          critic_default: {},
        }),
    ],
    [
      'genac resume',
      (folder: string) => promisify(execFile)(process.execPath, [genac, 'resume', folder]),
    ],
    [
      'genac value',
      (folder: string) =>
        promisify(execFile)(process.execPath, [
          genac,
          'value',
          folder,
          '--prompt',
          'p',
          '--response',
          'r',
        ]),
    ],
  ])('%s', async (_, use) => {
    const { folder, ran } = foreignRun();
    await expect(Promise.resolve(use(folder))).rejects.toThrow(
      /is no run that you began .* with your rights: task: .*task\.ts/,
    );
    expect(ran()).toBe(false);
  });

  test('with consent it runs', async () => {
    const { folder, ran } = foreignRun();
    await expect(openCritic(folder, { trustCode: true })).rejects.toThrow('no default export');
    expect(ran()).toBe(true);
  });

  test('a task of one’s own goes before the run’s, and needs none', async () => {
    const { folder, ran } = foreignRun({ use: 'generative', model: 'm', trust_remote_code: true });
    await expect(openCritic(folder, { task: 'nothing' })).rejects.toThrow(
      'critic: what lies beside',
    );
    const options = {
      task: './mine.ts',
      critic: { use: 'generative', model: folder, trust_remote_code: false },
    };
    const { config } = await loadHostConfig({
      ...{ ...open, options, trust_code: false, continues: false, critic_default: {} },
    });
    expect(config.task).toBe('./mine.ts');
    expect(ran()).toBe(false);
  });
});

test('a run that one began oneself is gone on with; its copy elsewhere is not', async () => {
  const task = fileURLToPath(new URL('../fixtures/length-task.ts', import.meta.url));
  const folder = join(scratch, 'own');
  const file = join(scratch, 'own.yaml');
  const config = {
    ...{ folder, stages: ['joint'], task, critic: 'group-mean', joint: { steps: 2 } },
    actor: { model: 'task:blank' },
    sampling: { batch_size: 1, num_generations: 2, max_new_tokens: 4 },
    ...{ icc: { warm_rollouts: 0 }, evaluation: { every: 0, prompts: 1, states: 1 } },
    checkpoints: { every: 1 },
  };
  writeFileSync(file, stringify(config));
  await promisify(execFile)(process.execPath, [genac, 'train', file]);
  expect(readFileSync(join(folder, 'run.json'), 'utf8')).toContain(file);
  const copy = join(scratch, 'copy');
  cpSync(folder, copy, { recursive: true });
  await expect(resumeRun(copy).finished).rejects.toThrow('is no run that you began');
  writeFileSync(file, '# another one\n', { flag: 'a' });
  const again = await promisify(execFile)(process.execPath, [
    genac,
    'resume',
    folder,
    '--from',
    'joint-000001',
  ]);
  expect(again.stderr).toContain(`${file} was changed since the run began, and is not read`);
}, 120_000);
