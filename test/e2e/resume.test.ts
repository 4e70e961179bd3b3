/**
 * Exact resume: a run that is killed again and again, in every stage, ends with the same metrics
 * and weights as one that never was.
 *
 * GENAC_KILLS says how many times in each stage (default 3; each costs the start of the workers).
 */
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ConfigInput, StageName } from '../../src/config/schema.ts';
import { readMetrics } from '../../src/run-folder/read.ts';
import { readStatus } from '../../src/run-folder/status.ts';

const root = new URL('../..', import.meta.url).pathname;
const kills = Number(process.env.GENAC_KILLS ?? 3);
/** Stages are as long as the kills need. */
const longer = Math.max(1, kills / 3);
const scratch = mkdtempSync(join(tmpdir(), 'genac-resume-'));
const folderOf = (name: string) => join(scratch, name);

const critic = {
  use: 'generative',
  model: 'task:blank',
  thinking: false,
  max_new_tokens: 6,
  completions_per_state: 2,
  baseline: 'leave-one-out',
  lora: { rank: 2, alpha: 4, dropout: 0.1, target_modules: ['q_proj', 'v_proj'] },
};

/**
 * All three stages, long enough to be killed in each; the critic with LoRA and dropout, the actor
 * whole.
 */
function recipe(name: string, changes: Partial<ConfigInput> = {}): ConfigInput {
  return {
    folder: folderOf(name),
    task: { use: join(root, 'test/fixtures/parity-task.ts') },
    critic,
    actor: { model: 'task:blank', learning_rate: 1e-3, epochs: 2, minibatches: 2, kl: 0.01 },
    workers: { actor: { threads: 1 }, critic: { threads: 1 } },
    sampling: { batch_size: 2, num_generations: 3, max_new_tokens: 12 },
    credit: { lambda: 0.5 },
    icc: { warm_rollouts: 4 },
    critic_sft: {
      steps: Math.round(60 * longer),
      cooldown: 10,
      warmup: 5,
      batch: 16,
      evaluate_every: 10,
      learning_rate: 5e-3,
      stop_at_rationale_loss: longer > 1 ? null : 3.5,
    },
    critic_rl: {
      steps: Math.round(20 * longer),
      states: 8,
      actor_share: 0.5,
      evaluate_every: 4,
      learning_rate: 1e-3,
    },
    joint: { steps: Math.round(20 * longer), learning_rate: 1e-3, schedule: 'pipelined' },
    gates: { joint: null, explained_variance: false },
    evaluation: { every: 4, prompts: 4, states: 8 },
    checkpoints: { every: 2, keep: 2 },
    ...changes,
  };
}

/**
 * Of all tensors and metadata: the order of a safetensors file's metadata is not always the same.
 */
function digest(path: string): string {
  const bytes = readFileSync(path);
  const end = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, end).toString()) as Record<
    string,
    Record<string, unknown>
  >;
  const sorted = Object.entries(header)
    .map(([name, entry]) =>
      JSON.stringify([name, Object.entries(entry).sort(([a], [b]) => (a < b ? -1 : 1))]),
    )
    .sort();
  return createHash('sha256').update(sorted.join()).update(bytes.subarray(end)).digest('hex');
}

/** All that must not depend on how often a run was killed. */
function outcome(name: string) {
  const metrics = readMetrics(folderOf(name)).map((line) =>
    Object.fromEntries(Object.entries(line).filter(([key]) => !key.startsWith('seconds'))),
  );
  const weights = ['joint', 'best', 'critic-rl', 'critic-sft'].flatMap((checkpoint) =>
    [
      ['actor', 'model.safetensors'],
      ['critic', 'adapter_model.safetensors'],
      ['critic', 'genac_state.safetensors'],
    ].map((path) =>
      [checkpoint, ...path, digest(join(folderOf(name), 'checkpoints', checkpoint, ...path))].join(
        ' ',
      ),
    ),
  );
  return {
    metrics,
    weights,
    trajectories: readFileSync(join(folderOf(name), 'trajectories.jsonl'), 'utf8'),
  };
}

/** A life of a run in a process of its own. */
function life(...command: string[]) {
  const child = spawn(process.execPath, [join(root, 'src/cli/genac.mjs'), ...command], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let text = '';
  child.stderr.on('data', (data: Buffer) => {
    text += data;
  });
  const ended = new Promise<number | null>((resolve) => child.on('exit', resolve));
  return { child, ended, text: () => text };
}

/** Process ids of the workers that a process started, by name. */
function workersOf(pid: number): Map<string, number> {
  const lines = execFileSync('ps', ['-eo', 'pid,ppid,args'], { encoding: 'utf8' }).split('\n');
  const found = new Map<string, number>();
  for (const line of lines) {
    const [, child, parent, args] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line) ?? [];
    const name = /--name (\S+)/.exec(args ?? '')?.[1];
    if (Number(parent) === pid && name) found.set(name, Number(child));
  }
  return found;
}

beforeAll(async () => {
  writeFileSync(folderOf('whole.yaml'), JSON.stringify(recipe('whole')));
  writeFileSync(folderOf('killed.yaml'), JSON.stringify(recipe('killed')));
  const whole = life('train', folderOf('whole.yaml'));
  expect(await whole.ended, whole.text()).toBe(0);
}, 180_000);

describe('a run that is killed', () => {
  const targets = ['controller', 'actor', 'critic', 'all'] as const;
  let seed = 12345;
  const random = () => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    return seed / 2 ** 31;
  };

  it(
    `${kills} times in each stage ends as if it never had been`,
    async () => {
      let command = ['train', folderOf('killed.yaml')];
      const killedIn: Record<string, number> = {};
      for (const stage of ['critic-sft', 'critic-rl', 'joint'] as StageName[]) {
        for (let kill = 0; kill < kills; kill++) {
          if (readStatus(folderOf('killed'))?.state === 'done') break;
          const running = life(...command);
          command = ['resume', folderOf('killed')];
          while (
            running.child.exitCode === null &&
            readStatus(folderOf('killed'))?.pid !== running.child.pid
          )
            await sleep(10);
          const here = () => {
            const status = readStatus(folderOf('killed'));
            return status?.state === 'running' && status.stage === stage;
          };
          while (running.child.exitCode === null && !here()) await sleep(10);
          await sleep(random() * (stage === 'joint' ? 400 : 200));
          const where = readStatus(folderOf('killed'))?.stage ?? 'none';
          killedIn[where] = (killedIn[where] ?? 0) + 1;
          const workers = workersOf(running.child.pid!);
          const target = targets[kill % targets.length]!;
          for (const [name, pid] of workers)
            if (target === name || target === 'all') process.kill(pid, 'SIGKILL');
          if (target === 'controller' || target === 'all') running.child.kill('SIGKILL');
          const code = await running.ended;
          if (target === 'actor' || target === 'critic')
            expect([code, running.text()]).toEqual([
              1,
              expect.stringContaining(`worker ${target}`),
            ]);
        }
      }
      console.log(`killed: ${JSON.stringify(killedIn)}`);
      if (readStatus(folderOf('killed'))?.state !== 'done') {
        const last = life('resume', folderOf('killed'));
        expect(await last.ended, last.text()).toBe(0);
      }
      for (const stage of ['critic-sft', 'critic-rl', 'joint'])
        expect(killedIn[stage]).toBeGreaterThanOrEqual(kills / 2);
      expect(outcome('killed')).toEqual(outcome('whole'));
    },
    120_000 + 3 * kills * 30_000,
  );
});
