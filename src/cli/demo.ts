/**
 * Runs the demo on two workers of one thread each: stage 1, and in parallel the base actor and the
 * group mean (GRPO) from it; then stage 2 and joint training.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Worker } from '../bridge/worker.ts';
import type { Config } from '../config/schema.ts';
import { bareEnvironment, loadTask, type PluginChoice } from '../extensions/find-plugin.ts';
import { demoTable, summarizeDemo } from '../reports/demo-summary.ts';
import { writeReport } from '../reports/report.ts';
import { type Run, startRun } from '../run/run.ts';
import type { RunEvent } from '../run-folder/events.ts';
import { UserError } from '../user-error.ts';
import { startWorkers } from '../workers/local.ts';
import { type DemoPlan, planDemo } from './demo-plan.ts';
import { stopOnInterrupt } from './interrupt.ts';
import { showProgress } from './progress.ts';

export interface DemoOptions {
  readonly folder: string;
  readonly seed: number;
}

export async function demoCommand(options: DemoOptions): Promise<void> {
  const folder = await runDemo(options);
  if (folder === null) {
    console.error(
      'stopped: the demo is not finished. What it wrote so far is in ' +
        `${resolve(options.folder)}; the next one begins anew there`,
    );
    return;
  }
  console.log(demoTable(await summarizeDemo(folder)));
  console.log(`\nPage with plots: ${await writeReport(folder)}`);
}

/** @returns the folder; null: it was stopped */
export async function runDemo({ folder: given, seed }: DemoOptions): Promise<string | null> {
  const began = performance.now();
  const elapsed = () => (performance.now() - began) / 1000;
  const log = (text: string) => console.error(`${elapsed().toFixed(0).padStart(4)} s  ${text}`);
  const folder = resolve(given);
  const plan = planDemo(folder, seed);
  await clear(folder);
  const note = (figures: object) =>
    writeFile(join(folder, 'demo.json'), `${JSON.stringify(figures)}\n`);
  await note({ seed });

  const running = new Set<Run>();
  const stopping = new AbortController();
  const stop = async () => {
    stopping.abort();
    await Promise.all([...running].map((run) => run.stop()));
  };
  const release = stopOnInterrupt([{ stop }]);
  const workers = await startWorkers({
    workers: [
      { name: 'actor', threads: 1 },
      { name: 'critic', threads: 1 },
    ],
    logDirectory: join(folder, 'logs'),
  });
  /** Runs to the end; returns true unless it was stopped. */
  const go = async (name: string, config: Config, live: boolean): Promise<boolean> => {
    if (stopping.signal.aborted) return false;
    const run = startRun(config, { workers });
    running.add(run);
    const events: AsyncIterable<RunEvent> = live ? showProgress(run, name) : run;
    for await (const event of events) {
      if (!live && event.type === 'evaluation') log(evaluationLine(name, event));
    }
    running.delete(run);
    return (await run.finished) === 'done';
  };
  try {
    log(
      'stage 1: the critic imitates an oracle; meanwhile the base actor is made, and from it ' +
        'the group mean (GRPO) trained',
    );
    const actorSide = async () => {
      await makeBaseActor(plan, workers.get('actor'), stopping.signal, log);
      return go('group-mean', plan.groupMean, false);
    };
    const ready = await Promise.all([go('critic-sft', plan.imitation, true), actorSide()]);
    if (ready.includes(false)) return null;
    log('stage 2: the critic learns by REINFORCE from what frozen actors achieved');
    if (!(await go('critic-rl', plan.pretraining, true))) return null;
    log('stage 3: the actor by PPO with the critic’s credit, the critic by REINFORCE, together');
    if (!(await go('genac', plan.genac, true))) return null;
    await note({ seed, seconds: elapsed() });
    return folder;
  } catch (error) {
    if (stopping.signal.aborted) return null;
    throw error;
  } finally {
    release();
    await workers.close();
  }
}

/** All files of a demo. */
const ofDemo = [
  ...['demo.json', 'report.html', 'logs', 'base-actor', 'base-actor.unfinished'],
  ...['critic-sft', 'critic-rl', 'group-mean', 'genac'],
];

/**
 * Empties the folder of an earlier demo, finished or not. Refuses a folder with other files in it.
 */
async function clear(folder: string): Promise<void> {
  const found = existsSync(folder) ? await readdir(folder) : [];
  const foreign = found.filter((name) => !ofDemo.includes(name));
  if (foreign.length > 0 || (found.length > 0 && !found.includes('demo.json'))) {
    const why =
      foreign.length > 0 ? `it holds ${foreign.slice(0, 4).join(', ')}` : 'it has no demo.json';
    throw new UserError(`${folder} exists and is no demo's (${why}): name another with --folder`);
  }
  for (const name of found) await rm(join(folder, name), { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
}

async function makeBaseActor(
  plan: DemoPlan,
  worker: Worker,
  signal: AbortSignal,
  log: (text: string) => void,
): Promise<void> {
  const { task } = await loadTask(plan.task as PluginChoice, bareEnvironment('.'));
  const progress = (share: number, words: string) => {
    if (Math.round(100 * share) % 20 === 0)
      log(`base actor: ${Math.round(100 * share)}%, ${words}`);
  };
  await task.makeModel!('base-actor', plan.baseActor, {
    worker,
    seed: plan.seed,
    progress,
    signal,
  });
}

function evaluationLine(
  name: string,
  { iteration, metrics }: Extract<RunEvent, { type: 'evaluation' }>,
): string {
  return `${name}: iteration ${iteration}, success ${metrics['evaluation/success']?.toFixed(3)}`;
}
