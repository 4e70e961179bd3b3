/** The verbs of parts: make a model, train, measure. Each goes on with what a stopped try left. */
import { existsSync, readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { EvaluationInput } from '../comparison/config.ts';
import { evaluate } from '../comparison/evaluate.ts';
import type { EvaluationResult } from '../comparison/result.ts';
import type { ConfigInput } from '../config/schema.ts';
import { bareEnvironment, loadTask, type PluginChoice } from '../extensions/find-plugin.ts';
import { isFinished, resumeRun, startRun } from '../run/run.ts';
import { type MetricsLine, metric, readMetrics } from '../run-folder/read.ts';
import { readStatus } from '../run-folder/status.ts';
import type { Work } from './parts.ts';
import { PhaseClock } from './phase-clock.ts';

/** Held-out success of the actor during joint training. */
export interface CurvePoint {
  readonly iteration: number;
  /** Tokens that were sampled so far: by the actor for training, and by all models together. */
  readonly actor_tokens: number;
  readonly all_tokens: number;
  /** Seconds since the start of the run. */
  readonly seconds: number;
  readonly success: number;
}

/** What a run leaves for tables. */
export interface RunFigures {
  readonly curve: readonly CurvePoint[];
  /** Means over the iterations of joint training, by metric. */
  readonly means: Readonly<Record<string, number>>;
  /** Seconds of an iteration, by phase. */
  readonly phases: Readonly<Record<string, number>>;
}

/** Of a run in a part's folder. */
export const weightsOf = (folder: string, stage: string, model: 'actor' | 'critic'): string =>
  join(checkpointOf(folder, stage), model);
export const checkpointOf = (folder: string, stage: string): string =>
  join(folder, 'run', 'checkpoints', stage);

/**
 * Trains in the part's `run/`. A run that was stopped goes on exactly.
 *
 * @param keep what a lean part keeps of the run's checkpoints
 * @returns its figures; null: its critic did not pass the gate of joint training
 */
export async function train(
  { folder, workers, base, lean, signal, log }: Work,
  config: Omit<ConfigInput, 'folder'>,
  keep: Keep = 'ends',
): Promise<RunFigures | null> {
  signal.throwIfAborted();
  const path = join(folder, 'run');
  const status = readStatus(path);
  const clock = new PhaseClock(join(folder, 'phases.json'));
  // A process that was killed behind the last checkpoint left a status that says `running`.
  const isDone = status !== null && (status.state === 'done' || (await isFinished(path)));
  if (!isDone) {
    if (status === null) {
      await rm(path, { recursive: true, force: true });
      clock.clear();
    }
    const input = { ...config, folder: path } as ConfigInput;
    const run = status === null ? startRun(input, { base, workers }) : resumeRun(path, { workers });
    const stop = () => void run.stop();
    signal.addEventListener('abort', stop);
    try {
      for await (const event of run) {
        clock.note(event);
        if (event.type === 'evaluation') log(evaluated(event));
      }
      await run.finished;
    } catch (error) {
      if (!/joint training does not start/.test((error as Error).message)) throw error;
      log((error as Error).message);
      return null;
    } finally {
      signal.removeEventListener('abort', stop);
    }
    signal.throwIfAborted();
  }
  if (lean) await keepOnly(path, keep);
  const lines = readMetrics(path);
  return { curve: curveOf(lines), means: meansOf(lines), phases: clock.perIteration() };
}

/** The models at the ends of stages, those of every checkpoint, or none. */
export type Keep = 'ends' | 'all' | 'none';

/** A checkpoint within a stage serves a run that goes on; this one is done. */
export async function keepOnly(run: string, keep: Keep): Promise<void> {
  if (keep === 'all') return;
  const folder = join(run, 'checkpoints');
  const names = existsSync(folder) ? readdirSync(folder) : [];
  for (const name of names.filter((one) => keep === 'none' || /-\d{6,}$/.test(one)))
    await rm(join(folder, name), { recursive: true });
}

/** Metrics of an iteration that count tokens which a critic wrote, or let the actor write. */
const written = ['critic/tokens_written', 'critic/actor_tokens'];

/** @param lines of one run */
export function curveOf(lines: readonly MetricsLine[]): CurvePoint[] {
  let [actor, others] = [0, 0];
  const points: CurvePoint[] = [];
  for (const line of lines.filter(({ stage }) => stage === 'joint')) {
    if (line.type === 'iteration') {
      actor += metric(line, 'actor/tokens') ?? 0;
      for (const name of written) others += metric(line, name) ?? 0;
    }
    const success = metric(line, 'evaluation/success');
    if (line.type !== 'evaluation' || success === null) continue;
    const { iteration, seconds } = line;
    points.push({ iteration, actor_tokens: actor, all_tokens: actor + others, seconds, success });
  }
  return points;
}

function meansOf(lines: readonly MetricsLine[]): Record<string, number> {
  const own = lines.filter(({ stage, type }) => stage === 'joint' && type === 'iteration');
  const names = new Set(own.flatMap((line) => Object.keys(line)));
  const means = [...names].flatMap((name) => {
    const known = own.map((line) => metric(line, name)).filter((value) => value !== null);
    const sum = known.reduce((all, value) => all + value, 0);
    return known.length === 0 ? [] : [[name, sum / own.length] as const];
  });
  return Object.fromEntries(means);
}

function evaluated({
  stage,
  iteration,
  metrics,
}: {
  readonly stage: string;
  readonly iteration: number;
  readonly metrics: Readonly<Record<string, number>>;
}): string {
  const shown = ['evaluation/success', 'critic/heldout_mse', 'critic/heldout_mse_of_constant'];
  const figures = shown.flatMap((name) =>
    metrics[name] === undefined ? [] : [`${name.replace(/^.*\//, '')} ${metrics[name].toFixed(3)}`],
  );
  return [`${stage} ${iteration}`, ...figures].join(', ');
}

/** Evaluates in the part's `evaluation/`; what was valued before is kept. */
export const measure = (
  { folder, workers, base, signal, log }: Work,
  input: Omit<EvaluationInput, 'folder'>,
): Promise<EvaluationResult> =>
  evaluate(
    { ...input, folder: join(folder, 'evaluation') },
    { base, workers, signal, log: (text) => /sampling|anew/.test(text) && log(text) },
  );

/** Makes a model of the task, anew if an earlier try was interrupted. @returns its folder */
export async function makeModel(
  { folder, workers, signal, log }: Work,
  task: PluginChoice,
  name: string,
  seed: number,
  effort: number,
): Promise<string> {
  const path = join(folder, name);
  if (existsSync(path)) await rm(path, { recursive: true });
  const { task: loaded } = await loadTask(task, bareEnvironment('.'));
  const worker = workers.get('worker');
  let last = 0;
  const progress = (share: number, words: string) => {
    if (share >= last + 0.25) log(`${Math.round(100 * share)}%, ${words}`);
    if (share >= last + 0.25) last = share;
  };
  await loaded.makeModel!(name, path, { worker, seed, progress, signal, effort });
  return path;
}
