/** Whole runs, with real workers and real (small) models. */

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stopAtSuccess } from '../../examples/stop-at-success.ts';
import type { ConfigInput } from '../../src/config/schema.ts';
import { startRun } from '../../src/run/run.ts';
import { readCheckpoint } from '../../src/run-folder/checkpoint.ts';
import type { RunEvent } from '../../src/run-folder/events.ts';
import { readMetrics, readTrajectories } from '../../src/run-folder/read.ts';
import { startWorkers, type WorkerGroup } from '../../src/workers/local.ts';
import { undocumented } from '../fixtures/documented-metrics.ts';

const root = new URL('../..', import.meta.url).pathname;
let workers: WorkerGroup;
let scratch: string;

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'genac-runs-'));
  workers = await startWorkers({
    workers: [
      { name: 'actor', threads: 1 },
      { name: 'critic', threads: 1 },
    ],
  });
  // A critic that can write scores, and an actor that is paid half of the time: else nothing would
  // be learned, and equal numbers would prove nothing.
  await run({
    ...small('speaking'),
    stages: ['critic-sft'],
    actor: null,
    joint: {},
    critic_sft: {
      steps: 40,
      cooldown: 0,
      warmup: 5,
      batch: 32,
      evaluate_every: 100,
      learning_rate: 5e-3,
    },
  });
}, 120_000);
afterAll(() => workers?.close());

const critic = {
  use: 'generative',
  model: 'task:blank',
  thinking: false,
  max_new_tokens: 6,
  completions_per_state: 2,
  baseline: 'leave-one-out',
};
const parity = join(root, 'test/fixtures/parity-task.ts');
const speaking = () => join(scratch, 'speaking', 'checkpoints', 'critic-sft', 'critic');

/** Small in everything but in what it goes through. */
function small(name: string, changes: Partial<ConfigInput> = {}): ConfigInput {
  return {
    folder: join(scratch, name),
    stages: ['joint'],
    task: { use: 'miniature', actors: 4 },
    critic,
    actor: { model: 'task:blank', learning_rate: 1e-3, epochs: 2, minibatches: 2 },
    sampling: { batch_size: 2, num_generations: 3, max_new_tokens: 20 },
    credit: { lambda: 0.5 },
    icc: { warm_rollouts: 4 },
    joint: { steps: 3, learning_rate: 1e-3 },
    gates: { joint: null, explained_variance: false },
    evaluation: { every: 0, prompts: 4, states: 8 },
    ...changes,
  };
}

async function run(input: ConfigInput, base = root): Promise<RunEvent[]> {
  const events: RunEvent[] = [];
  for await (const event of startRun(input, { workers, base })) events.push(event);
  return events;
}

const digest = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
const weights = (name: string, model: string) =>
  digest(join(scratch, name, 'checkpoints', 'joint', model, 'model.safetensors'));

/** `small`, with a critic and a reward that leave something to learn. */
const learning = (name: string, changes: Partial<ConfigInput> = {}) =>
  small(name, { task: { use: parity }, critic: { ...critic, model: speaking() }, ...changes });

/** Metrics without what a clock says. */
const timeless = (name: string) =>
  readMetrics(join(scratch, name)).map((line) =>
    Object.fromEntries(Object.entries(line).filter(([key]) => !key.startsWith('seconds'))),
  );

describe('joint training', () => {
  it('gives the same numbers and weights with either schedule, and again on the same seed', async () => {
    await run(learning('synchronous'));
    const joint = { steps: 3, learning_rate: 1e-3, schedule: 'pipelined' } as const;
    await run(learning('pipelined', { joint }));
    await run(learning('again'));
    await run(learning('other-seed', { seed: 1 }));
    expect(timeless('pipelined')).toEqual(timeless('synchronous'));
    expect(timeless('again')).toEqual(timeless('synchronous'));
    for (const model of ['actor', 'critic']) {
      expect(weights('pipelined', model)).toBe(weights('synchronous', model));
      expect(weights('other-seed', model)).not.toBe(weights('synchronous', model));
    }
  }, 120_000);

  it('moves the weights in every iteration, and says by how much', async () => {
    const lines = readMetrics(join(scratch, 'synchronous')).filter(
      (line) => line.type === 'iteration',
    );
    expect(lines).toHaveLength(3);
    for (const line of lines) {
      expect(line['critic/update_norm']).toBeGreaterThan(0);
      expect(line['actor/steps']).toBe(4);
      expect(line.update_norm).toBeGreaterThan(0);
    }
  });

  it('keeps trajectories with every valuation and the credit of each segment', () => {
    const trajectories = readTrajectories(join(scratch, 'synchronous'));
    expect(trajectories).toHaveLength(3 * 4);
    expect(
      trajectories.some(
        ({ segments }) => segments.length > 1 && segments.some((s) => s.parsed === 'ok'),
      ),
    ).toBe(true);
    for (const { segments, response, reward } of trajectories) {
      expect(segments.map((s) => s.text).join('')).toBe(response);
      expect([0, 1]).toContain(reward);
      for (const s of segments) {
        expect(s.value).toBeGreaterThanOrEqual(0);
        expect(s.value).toBeLessThanOrEqual(1);
      }
    }
  });

  it('leaves a frozen critic’s weights as they are', async () => {
    await run(learning('frozen', { joint: { steps: 2, critic: 'frozen' } }));
    expect(weights('frozen', 'critic')).toBe(digest(join(speaking(), 'model.safetensors')));
    expect(weights('frozen', 'actor')).not.toBe(
      digest(join(scratch, 'frozen', 'models', 'blank', 'model.safetensors')),
    );
  });

  it('does not start with a critic that fails the gate', async () => {
    const gates = { joint: { parse_rate: 0.9, mse_against_mean: 1 } };
    await expect(
      run(small('gated', { gates, critic: { ...critic, model: 'task:blank' } })),
    ).rejects.toThrow(/joint training does not start: .*\(gate: 90%\)/);
  });
});

describe('the stages', () => {
  const stages = {
    critic_sft: {
      steps: 4,
      cooldown: 2,
      warmup: 1,
      batch: 8,
      evaluate_every: 3,
      learning_rate: 3e-3,
    },
    critic_rl: { steps: 3, states: 8, evaluate_every: 2 },
  };

  it('run one after the other, and each alone from the checkpoint before it, with the same weights', async () => {
    const joint = { steps: 2, learning_rate: 1e-3 };
    const events = await run(
      small('all', { ...stages, joint, stages: ['critic-sft', 'critic-rl', 'joint'] }),
    );
    expect(events.filter((e) => e.type === 'stage').map((e) => e.stage)).toEqual([
      'critic-sft',
      'critic-rl',
      'joint',
    ]);
    expect(events.at(-1)).toEqual({ type: 'end', reason: 'done' });
    const from = (stage: string) => join(scratch, 'all', 'checkpoints', stage);
    await run(
      small('rl-alone', {
        critic_rl: stages.critic_rl,
        joint: {},
        stages: ['critic-rl'],
        start_from: from('critic-sft'),
      }),
    );
    const criticOf = (name: string) =>
      digest(join(scratch, name, 'checkpoints', 'critic-rl', 'critic', 'model.safetensors'));
    expect(criticOf('rl-alone')).toBe(criticOf('all'));
    await run(small('joint-alone', { joint, start_from: from('critic-rl') }));
    expect(weights('joint-alone', 'critic')).toBe(weights('all', 'critic'));
    expect(weights('joint-alone', 'actor')).toBe(weights('all', 'actor'));
  }, 120_000);

  it('write metrics that docs/metrics.md has, under its names', () => {
    expect(undocumented(readMetrics(join(scratch, 'all')).flatMap(Object.keys))).toEqual([]);
  });

  it('report what stage 1 dropped, by cause', () => {
    const last = readMetrics(join(scratch, 'all'))
      .filter((l) => l.stage === 'critic-sft' && l.type === 'iteration')
      .at(-1)!;
    expect(last['traces/kept']).toBe(6 * 8);
    expect(last['traces/disagrees']).toBeGreaterThan(0);
    expect(last['traces/unparsable']).toBe(0);
  });

  it('end stage 2 with the critic of the least held-out error', async () => {
    const events = await run(
      small('worse', {
        stages: ['critic-rl'],
        actor: null,
        joint: {},
        critic_rl: { steps: 2, states: 8, evaluate_every: 1, learning_rate: 1e-9, warmup: 0 },
      }),
    );
    const errors = events.flatMap((e) =>
      e.type === 'evaluation' ? [e.metrics['critic/heldout_mse']!] : [],
    );
    expect(errors).toHaveLength(3);
    const best = digest(join(scratch, 'worse', 'best-critic', 'model.safetensors'));
    expect(
      digest(join(scratch, 'worse', 'checkpoints', 'critic-rl', 'critic', 'model.safetensors')),
    ).toBe(best);
  });

  it('take traces from a JSONL file, and name the line that is wrong', async () => {
    const path = join(scratch, 'traces.jsonl');
    const trace = {
      prompt: '4 | a -2 | b +1 | >',
      partial_response: 'a 2',
      rationale: 'a -2 2 2 Y left 1',
      score: 9,
      observed_outcome: 1,
    };
    const lines = Array.from({ length: 20 }, (_, i) =>
      JSON.stringify(
        i % 4 === 0 ? { ...trace, score: 1 } : i % 5 === 0 ? { ...trace, score: 4.5 } : trace,
      ),
    );
    writeFileSync(path, `${lines.join('\n')}\n`);
    const config = (name: string) =>
      small(name, {
        stages: ['critic-sft'],
        actor: null,
        joint: {},
        critic_sft: { ...stages.critic_sft, traces: path },
      });
    const events = await run(config('from-file'));
    const last = events.flatMap((e) => (e.type === 'iteration' ? [e.metrics] : [])).at(-1)!;
    expect(last['traces/disagrees']).toBeGreaterThan(0);
    expect(last['traces/unparsable']).toBeGreaterThan(0);
    writeFileSync(path, `${lines[1]}\n{"prompt": 3}\n`);
    await expect(run(config('bad-file'))).rejects.toThrow(
      /traces\.jsonl, line 2 is no trace:\n {2}prompt: 3: [\s\S]*rationale: missing/,
    );
  });
});

describe('a run', () => {
  it('stops after the iteration in hand, with a checkpoint', async () => {
    const stopping = startRun(small('stopped', { joint: { steps: 500 } }), {
      workers,
      base: root,
    });
    for await (const event of stopping)
      if (event.type === 'iteration' && event.iteration === 1) void stopping.stop();
    expect(await stopping.finished).toBe('stopped');
    const [name] = readdirSync(join(scratch, 'stopped', 'checkpoints'));
    expect(await readCheckpoint(join(scratch, 'stopped', 'checkpoints', name!))).toMatchObject({
      stage: 'joint',
      complete: false,
    });
    expect(
      readMetrics(join(scratch, 'stopped')).filter((l) => l.type === 'iteration').length,
    ).toBeLessThan(20);
  }, 60_000);

  it('can be steered by a script (examples/stop-at-success.ts)', async () => {
    const own = small('steered', {
      workers: { actor: { threads: 1 }, critic: { threads: 1 } },
      joint: { steps: 50 },
    });
    expect(await stopAtSuccess(0, own)).toMatchObject({ reason: 'stopped' });
  }, 120_000);

  it('starts from README’s script (examples/watch.ts)', async () => {
    const cwd = mkdtempSync(join(tmpdir(), 'genac-watch-'));
    symlinkSync(join(root, 'examples'), join(cwd, 'examples'));
    symlinkSync(join(root, 'node_modules'), join(cwd, 'node_modules'));
    const script = join(root, 'examples/watch.ts');
    const child = spawn(process.execPath, ['--import', 'tsx', script], {
      cwd,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let text = '';
    child.stderr.on('data', (data: Buffer) => {
      text += data;
    });
    const ended = new Promise((resolve) => child.on('exit', resolve));
    const log = join(cwd, 'runs/watched/logs/actor.log');
    while (!existsSync(log) && child.exitCode === null)
      await new Promise((resolve) => setTimeout(resolve, 50));
    expect(text).toBe('');
    child.kill('SIGKILL');
    await ended;
  }, 60_000);

  it('uses a task and a critic of one’s own (examples/my-task.ts, my-critic.ts)', async () => {
    const config = small('own', {
      task: { use: './my-task.ts', largest: 3 },
      critic: { use: './my-critic.ts' },
      actor: { model: join(scratch, 'synchronous', 'models', 'blank') },
      joint: { steps: 2 },
    });
    const events = await run(config, join(root, 'examples'));
    expect(events.at(-1)).toEqual({ type: 'end', reason: 'done' });
    const lines = readMetrics(join(scratch, 'own'));
    expect(lines.some((line) => line['critic/depths'] === 1)).toBe(true);
  });

  it('ends loudly when a reward leaves [0, 1], naming task, problem and value; nothing is left half done', async () => {
    const file = join(scratch, 'bad-task.ts');
    const source = readFileSync(join(root, 'examples/my-task.ts'), 'utf8')
      .replace(/\(text ===.*/, '7,')
      .replace("'../src/index.ts'", JSON.stringify(join(root, 'src/index.ts')));
    writeFileSync(
      file,
      source.replace("'zod'", JSON.stringify(join(root, 'node_modules/zod/index.js'))),
    );
    const config = small('bad-reward', {
      task: { use: file },
      critic: 'group-mean',
      credit: {},
      actor: { model: join(scratch, 'synchronous', 'models', 'blank') },
      joint: { steps: 1 },
    });
    await expect(run(config)).rejects.toThrow(
      /task "last-register" returned 7 for problem train-\d+: a reward is a number in \[0, 1\]/,
    );
    expect(readdirSync(join(scratch, 'bad-reward', 'checkpoints'))).toEqual([]);
  });

  it('refuses a folder that holds a run, a checkpoint that is none, and a model that is none', async () => {
    await expect(run(small('synchronous'))).rejects.toThrow('holds a run already');
    await expect(run(small('no-checkpoint', { start_from: scratch }))).rejects.toThrow(
      'it has no controller.json that can be read',
    );
    await expect(run(small('no-model', { actor: { model: scratch } }))).rejects.toThrow(scratch);
    // A start that failed is no run: the next one is not refused.
    expect(existsSync(join(scratch, 'no-model', 'config.yaml'))).toBe(false);
    await expect(run(small('no-model', { actor: { model: scratch } }))).rejects.toThrow(
      'config.json',
    );
  });

  it('ends loudly when a worker dies, naming it; the last checkpoint stays whole', async () => {
    const own = await startWorkers({
      workers: [
        { name: 'actor', threads: 1 },
        { name: 'critic', threads: 1 },
      ],
    });
    try {
      const config = learning('killed', {
        joint: { steps: 500, learning_rate: 1e-3 },
        checkpoints: { every: 1 },
      });
      const dying = startRun(config, { workers: own, base: root });
      const watch = async () => {
        for await (const event of dying) {
          if (event.type === 'checkpoint') process.kill(own.pid('critic')!, 'SIGKILL');
        }
      };
      await expect(watch()).rejects.toThrow(/worker critic/);
      await expect(dying.finished).rejects.toMatchObject({ code: 'worker_lost' });
      const folder = join(scratch, 'killed', 'checkpoints');
      const whole = readdirSync(folder).filter((name) => !name.endsWith('.unfinished'));
      expect(whole.length).toBeGreaterThan(0);
      for (const name of whole)
        expect(await readCheckpoint(join(folder, name))).toMatchObject({ stage: 'joint' });
    } finally {
      await own.close();
    }
  }, 60_000);
});
