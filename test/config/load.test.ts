import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, test } from 'vitest';
import { ConfigError, nearest } from '../../src/config/error.ts';
import { checkConfig, loadConfigFile } from '../../src/config/load.ts';
import { unusableIn } from '../../src/config/plain-data.ts';
import { type ConfigInput, configSchema } from '../../src/config/schema.ts';
import { bareEnvironment, loadCritic, loadTask } from '../../src/extensions/find-plugin.ts';

const minimal = {
  folder: 'runs/x',
  task: 'miniature',
  critic: { use: 'generative', model: 'm' },
  actor: { model: 'm' },
};

function problemsOf(changes: object): readonly string[] {
  try {
    checkConfig({ ...minimal, ...changes } as ConfigInput);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe('a config', () => {
  it('takes its defaults, the paper’s where they are known', () => {
    const config = checkConfig(minimal);
    expect(config.sampling).toMatchObject({ batch_size: 128, num_generations: 8 });
    expect(config.actor).toMatchObject({
      learning_rate: 1e-6,
      clip_low: 0.2,
      clip_high: 0.2,
      optimizer: { weight_decay: 0.01 },
    });
    expect(config.credit).toMatchObject({ gamma: 1, lambda: 1 });
    expect(config.joint).toMatchObject({ schedule: 'synchronous', critic: 'learn' });
  });

  it('that was resolved is a config again', () => {
    const config = checkConfig({ ...minimal, stages: ['joint'] });
    expect(checkConfig(config)).toEqual(config);
  });

  it.each([
    [{ actr: {} }, 'actr: no such option; did you mean "actor"?'],
    [{ joint: { stepps: 3 } }, 'joint.stepps: no such option; did you mean "steps"?'],
    [
      { joint: { schedule: 'pipelind' } },
      'joint.schedule: "pipelind": Invalid option: expected one of ' +
        '"synchronous"|"pipelined"; did you mean "pipelined"?',
    ],
    [{ credit: { lambda: 1.5 } }, 'credit.lambda: 1.5: Too big: expected number to be <=1'],
    [{ seed: 'one' }, 'seed: "one": Invalid input: expected number, received string'],
    [{ folder: undefined }, 'folder: missing'],
  ])('%j is one clear error', (changes, expected) => {
    expect(problemsOf(changes).join('\n')).toContain(expected);
  });

  it.each([
    [
      { stages: ['joint'], critic_rl: { steps: 3 } },
      'critic_rl: has no effect, for `stages` leaves critic-rl out',
    ],
    [
      { joint: { critic: 'frozen', learning_rate: 1 } },
      'joint.learning_rate: has no effect with joint.critic: frozen',
    ],
    [
      { sampling: { num_generations: 1 }, credit: { scale: 'group-std' } },
      '"group-std" needs at least 2',
    ],
    [
      { actor: { model: 'm', minibatches: 9 }, sampling: { batch_size: 2, num_generations: 4 } },
      'actor.minibatches: 9 steps need at least as many responses, and an iteration has 8',
    ],
    [{ sampling: { top_p: 0 } }, 'sampling.top_p'],
    [{ actor: null }, 'actor: joint training needs one'],
    [
      { actor: { model: 'm', worker: 'gpu' } },
      'workers: has no "gpu" (it has actor, critic, python)',
    ],
  ])('refuses %j: an option without effect is an error', (changes, expected) => {
    expect(problemsOf(changes).join('\n')).toContain(expected);
  });

  it('keeps the usual workers beside those that it names, also where a run recorded fewer', () => {
    const usual = { devices: null, threads: null };
    const workersOf = (workers: object) =>
      checkConfig({ ...minimal, workers } as ConfigInput).workers;
    expect(workersOf({ critic: { devices: '1' }, gpu: {} })).toEqual({
      ...{ actor: usual, critic: { devices: '1', threads: null }, python: usual, gpu: usual },
    });
    expect(workersOf({})).toEqual(checkConfig(minimal).workers);
    expect(problemsOf({ workers: { actor: { thread: 1 } } })).toEqual([
      'workers.actor.thread: no such option; did you mean "threads"?',
    ]);
  });

  it('names every problem at once', () => {
    expect(problemsOf({ seed: -1, credit: { gamma: 2 } })).toHaveLength(2);
  });
});

describe('plugins', () => {
  it('are found by name or by path, and refused in words', async () => {
    await expect(loadTask('minature', bareEnvironment('.'))).rejects.toThrow(
      'task: "minature" is none of "cups", "gym-chains", "huggingface", "jsonl", "logged", ' +
        '"miniature", "reasoning-gym"; did you mean "miniature"?',
    );
    await expect(loadTask('algebra', bareEnvironment('.'))).rejects.toThrow(
      '"reasoning-gym". A task of your own is a path that begins with "./"',
    );
    await expect(loadTask('./nowhere.ts', bareEnvironment('/tmp'))).rejects.toThrow(
      'task: there is no file /tmp/nowhere.ts',
    );
    await expect(loadTask({ use: 'miniature', step: 8 }, bareEnvironment('.'))).rejects.toThrow(
      'task.step: no such option; did you mean "steps"?',
    );
    await expect(
      loadTask({ use: 'miniature', modulus: '11' }, bareEnvironment('.')),
    ).rejects.toThrow(
      'task.modulus: "11": Invalid option: expected one of 7|11; did you mean 11, without quotes?',
    );
    await expect(loadCritic('./my-task.ts', 'test/fixtures')).rejects.toThrow('there is no file');
    await expect(
      loadCritic({ use: 'generative', model: 'm', baseline: 'leave-one-out' }, '.'),
    ).rejects.toThrow('needs at least 2 completions per state');
    await expect(loadTask('./not-a-plugin.ts', bareEnvironment('test/fixtures'))).rejects.toThrow(
      'has no default export made by defineTask',
    );
  });
});

describe('examples', () => {
  const folder = new URL('../../examples', import.meta.url).pathname;
  it('miniature.yaml shows every option there is', () => {
    const text = readFileSync(join(folder, 'miniature.yaml'), 'utf8');
    const shape = (schema: unknown): [string, unknown][] => {
      let current = schema as { shape?: object; def?: { innerType?: unknown; in?: unknown } };
      while (!current.shape && (current.def?.innerType ?? current.def?.in))
        current = (current.def!.innerType ?? current.def!.in) as typeof current;
      return Object.entries(current.shape ?? {});
    };
    for (const [section, inner] of shape(configSchema)) {
      expect(text).toMatch(new RegExp(`^${section}:`, 'm'));
      for (const [option] of shape(inner))
        expect(text, `${section}.${option}`).toMatch(new RegExp(`\\b${option}:`));
    }
  });
});

describe('nearest', () => {
  it('knows a slip of the fingers from another word', () => {
    expect(nearest('lamda', ['gamma', 'lambda'])).toBe('lambda');
    expect(nearest('tokenizer', ['gamma', 'lambda'])).toBeNull();
  });
});

describe('stages and schedules', () => {
  it.each([
    [
      { stages: ['joint', 'joint'] },
      'each stage at most once, in the order critic-sft, critic-rl, joint',
    ],
    [{ stages: ['joint', 'critic-sft'] }, 'each stage at most once'],
    [
      { actor: { model: 'm', min_lr_ratio: 0.5 } },
      'actor.min_lr_ratio: has no effect with actor.decay: constant',
    ],
    [
      { checkpoints: { minutes: null, keep: 5 } },
      'checkpoints.keep: has no effect with checkpoints.every: 0',
    ],
    [
      { stages: ['critic-rl'], actor: null, critic_rl: { actor_share: 0.5 } },
      'critic_rl.actor_share: there is no actor',
    ],
  ])('refuses %j', (changes, expected) => {
    expect(problemsOf(changes).join('\n')).toContain(expected);
  });
});

/** Ten names, each of which stands for nine of the one before. */
const bomb = Array.from({ length: 10 }, (_, i) =>
  i === 0
    ? 'a0: &a0 [x]'
    : `a${i}: &a${i} [${Array(9)
        .fill(`*a${i - 1}`)
        .join(', ')}]`,
).join('\n');

test.each([
  [
    'nowhere.yaml',
    null,
    /nowhere\.yaml: the config is not valid\s+can't be read: there is no such file/,
  ],
  ['empty.yaml', '\n', /empty: options stand as "name: value"$/],
  ['list.yaml', '- a\n', /no mapping: options/],
  ['broken.yaml', 'a: [', /can't be read as YAML/],
  [
    'broken-key.yaml',
    'a: {api_key: hunter22',
    /can't be read as YAML: [^\n]* at line 1, column \d+$/,
  ],
  ['binary.yaml', Buffer.from([0xff, 0xfe, 0x00]), /can't be read: it is not text \(not UTF-8\)$/],
  ['huge.yaml', 'a'.repeat(2 ** 24 + 1), /can't be read: it has more than 16 MiB/],
  [
    'cycle.yaml',
    'workers: &w {a: {b: *w}}',
    /\n {2}workers\.a\.b\.\.\.: values lie more than 64 deep/,
  ],
  ['own-item.yaml', 'stages: &s [*s]', /\n {2}stages\.0\.0\.\.\.: values lie more than 64 deep/],
  ['deep.yaml', `a: ${'['.repeat(5000)}`, /can't be read as YAML: its values lie too deep/],
  [
    'less-deep.yaml',
    `a: ${'['.repeat(70)}${']'.repeat(70)}`,
    /\n {2}a\.0\.0\.\.\.: values lie more than 64/,
  ],
  ['bomb.yaml', bomb, /can't be read as YAML: its aliases \(\*name\) stand for far more values/],
  ['nul.yaml', 'folder: "a\\0b"', /\n {2}folder: holds a NUL character: take it out$/],
  [
    'nul-name.yaml',
    'actor: {"a\\0b": 1}',
    /\n {2}actor: the name "a\\u0000b" holds a NUL character/,
  ],
  ['nul-within.yaml', 'task: {use: x, files: [a, "b\\0"]}', /\n {2}task\.files\.1: holds a NUL/],
  ['tiny.yaml', 'actor: {learning_rate: 1e-320}', /\n {2}actor\.learning_rate: 1e-320: is beyond/],
])('a config file that is none: %s', (name, text, words) => {
  const path = join(mkdtempSync(join(tmpdir(), 'genac-config-')), name);
  if (text !== null) writeFileSync(path, text);
  expect(() => loadConfigFile(path)).toThrow(words);
});

test('an alias that stands for one value many times is fine', () => {
  const shared = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`a${i}`, 1]));
  let value: unknown = shared;
  for (let i = 0; i < 40; i++) value = [value, value];
  expect(unusableIn({ value })).toBeNull();
});
