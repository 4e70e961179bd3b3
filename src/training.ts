/** What the three stages share: the models, the task, the critic, and where they stand. Made once for a run. */
import { join } from 'node:path';
import type { Config, StageName } from './config.ts';
import type { Critic } from './critic.ts';
import type { Judge } from './rewards.ts';
import { pruneCheckpoints, writeCheckpoint } from './runs/checkpoint.ts';
import type { Metrics, RunEvent } from './runs/events.ts';
import type { RunFolder } from './runs/folder.ts';
import type { Task } from './task.ts';
import type { ActorProfile } from './types.ts';
import type { Model } from './workers/model.ts';

/** Where a run stands between two iterations: all that a checkpoint holds beside the weights. */
export interface Standing {
  readonly stage: StageName;
  /** Iterations of the stage that are done. */
  readonly iteration: number;
  /** Smoothed success rate of the actor. */
  readonly successRate: number | null;
}

/** The actor, with its part of the config. */
export interface Actor {
  readonly model: Model;
  readonly options: NonNullable<Config['actor']>;
}

export interface Training {
  readonly config: Config;
  readonly task: Task;
  /** Rewards responses. */
  readonly judge: Judge;
  readonly critic: Critic;
  /** null: the run has no actor (`actor: null`). */
  readonly actor: Actor | null;
  /** The initial actor, if the actor's KL to it counts. */
  readonly reference: Model | null;
  readonly folder: RunFolder;
  emit(event: RunEvent): void;
  /** True after `stop()`: the stage ends after the iteration in hand, with a checkpoint. */
  stopping(): boolean;
}

export function actorOf({ actor }: Training): Actor {
  if (actor) return actor;
  throw new Error('this stage needs an actor: name its model in `actor` of the config');
}

export function profileOf(training: Training, successRate: number | null): ActorProfile {
  const { model, options } = actorOf(training);
  return { name: options.name ?? options.model, parameters: model.loaded.parameters, successRate };
}

export function phase(training: Training, stage: StageName, iteration: number, name: string): void {
  training.emit({ type: 'phase', stage, iteration, phase: name });
}

/** Metrics under a prefix: `{mse: 1}` -> `{'critic/mse': 1}`. */
export function prefixed(prefix: string, metrics: Metrics): Record<string, number> {
  return Object.fromEntries(Object.entries(metrics).map(([name, value]) => [`${prefix}/${name}`, value]));
}

/** The run's checkpoint after `iteration` iterations of a stage. */
export async function checkpoint(training: Training, standing: Standing, complete: boolean): Promise<string> {
  const { stage, iteration, successRate } = standing;
  const { critic, actor, folder, config, emit } = training;
  const name = complete ? stage : `${stage}-${String(iteration).padStart(6, '0')}`;
  const path = await writeCheckpoint(
    folder.checkpoints,
    name,
    { stage, iteration, complete, success_rate: successRate },
    {
      actor: actor?.model ?? null,
      critic: critic.save ? { save: (to, optimizer) => critic.save!(to, optimizer) } : null,
    },
  );
  await pruneCheckpoints(folder.checkpoints, `${stage}-0`, config.checkpoints.keep);
  emit({ type: 'checkpoint', stage, iteration, path });
  return path;
}

export const bestCriticFolder = (folder: RunFolder) => join(folder.path, 'best-critic');
