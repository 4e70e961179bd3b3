/**
 * The main job on the embedded default. Three runs of `examples/miniature.yaml`, on two workers of one thread each:
 * the critic's stages 1 and 2; meanwhile the base actor and, from it, the group mean (GRPO); then joint training from both.
 */
import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ConfigInput } from '../config.ts';
import { demoTable, summarizeDemo } from '../evaluation/demo-summary.ts';
import { writeReport } from '../evaluation/report.ts';
import { loadConfigFile } from '../load-config.ts';
import { loadTask, type PluginChoice } from '../plugins.ts';
import { type Run, startRun } from '../run.ts';
import type { RunEvent } from '../runs/events.ts';
import { startWorkers } from '../workers/local.ts';
import { stopOnInterrupt } from './interrupt.ts';
import { showProgress } from './progress.ts';

const recipe = fileURLToPath(new URL('../../examples/miniature.yaml', import.meta.url));

export interface DemoOptions {
  readonly folder: string;
  readonly seed: number;
  /** Changes to the recipe, for tests and measurements. */
  readonly changes?: Partial<ConfigInput>;
  /** Leave the group mean out. */
  readonly withoutGroupMean?: boolean;
}

export async function demoCommand(options: DemoOptions): Promise<void> {
  const folder = await runDemo(options);
  if (folder === null) return;
  const summary = await summarizeDemo(folder);
  console.log(demoTable(summary));
  console.log(`\nPage with plots: ${await writeReport(folder)}`);
}

/** @returns the folder; null: it was stopped */
export async function runDemo({
  folder: given,
  seed,
  changes = {},
  withoutGroupMean = false,
}: DemoOptions): Promise<string | null> {
  const began = performance.now();
  const folder = resolve(given);
  await refuseForeign(folder);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'demo.json'), `${JSON.stringify({ seed })}\n`);
  const { config: base } = loadConfigFile(recipe);
  const config = { ...base, seed, ...changes } as ConfigInput;
  const log = (text: string) =>
    console.error(`${((performance.now() - began) / 1000).toFixed(0).padStart(4)} s  ${text}`);

  const running = new Set<Run>();
  let stopped = false;
  const release = stopOnInterrupt(
    [{ stop: async () => void (await Promise.all([...running].map((run) => run.stop()))) }],
    () => {
      stopped = true;
    },
  );
  const workers = await startWorkers({
    workers: [
      { name: 'actor', threads: 1 },
      { name: 'critic', threads: 1 },
    ],
    logDirectory: join(folder, 'logs'),
  });
  /** Runs to the end; true unless it was stopped. */
  const go = async (name: string, input: ConfigInput, live: boolean): Promise<boolean> => {
    if (stopped) return false;
    const run = startRun({ ...input, folder: join(folder, name) }, { workers });
    running.add(run);
    const events: AsyncIterable<RunEvent> = live ? showProgress(run, name) : run;
    for await (const event of events)
      if (!live && event.type === 'evaluation') log(evaluationLine(name, event));
    running.delete(run);
    return (await run.finished) === 'done';
  };
  try {
    const actorFolder = join(folder, 'base-actor');
    const actor = { ...config.actor!, model: actorFolder };
    log(
      'the critic: stage 1 (imitation of an oracle) and stage 2 (REINFORCE on frozen actors); meanwhile the base actor and the group mean',
    );
    const critic = go('critic', { ...config, stages: ['critic-sft', 'critic-rl'], actor: null }, true);
    const actorSide = (async () => {
      await makeBaseActor(config, actorFolder, workers.get('actor'), log);
      if (withoutGroupMean) return true;
      const credit = { ...config.credit, lambda: 1, gamma: 1, scale: 'group-std' as const };
      return go(
        'group-mean',
        {
          ...only(config, 'joint'),
          actor,
          credit,
          critic: 'group-mean',
          joint: { iterations: base.joint.iterations },
        },
        false,
      );
    })();
    const [first, second] = await Promise.all([critic, actorSide]);
    if (!first || !second) return null;
    log('stage 3: the actor by PPO with the critic’s credit, the critic by REINFORCE, together');
    const from = join(folder, 'critic', 'checkpoints', 'critic-rl');
    const done = await go('genac', { ...only(config, 'joint'), actor, start_from: from }, true);
    if (!done) return null;
    const seconds = (performance.now() - began) / 1000;
    await writeFile(join(folder, 'demo.json'), `${JSON.stringify({ seed, seconds })}\n`);
    return folder;
  } finally {
    release();
    await workers.close();
  }
}

/** The config with one stage, without the others' sections: they would have no effect. */
function only(config: ConfigInput, stage: 'joint'): ConfigInput {
  const { critic_sft: _sft, critic_rl: _rl, ...rest } = config;
  return { ...rest, stages: [stage] };
}

/** A folder with something in it that no demo wrote is left alone. */
async function refuseForeign(folder: string): Promise<void> {
  if (!existsSync(folder) || existsSync(join(folder, 'demo.json'))) return;
  throw new Error(`${folder} exists and is no demo's: name another with --folder`);
}

async function makeBaseActor(
  config: ConfigInput,
  folder: string,
  worker: Parameters<NonNullable<Awaited<ReturnType<typeof loadTask>>['makeModel']>>[2]['worker'],
  log: (text: string) => void,
): Promise<void> {
  const task = await loadTask(config.task as PluginChoice, '.');
  const progress = (share: number, words: string) => {
    if (Math.round(100 * share) % 20 === 0) log(`base actor: ${Math.round(100 * share)}%, ${words}`);
  };
  await task.makeModel!('base-actor', folder, {
    worker,
    seed: config.seed ?? 0,
    progress,
    signal: new AbortController().signal,
  });
}

function evaluationLine(
  name: string,
  { iteration, metrics }: Extract<RunEvent, { type: 'evaluation' }>,
): string {
  return `${name}: iteration ${iteration}, success ${metrics['evaluation/success']?.toFixed(3)}`;
}
