/**
 * What the three stages share: the models, the task, the critic, and where they stand. Made once
 * for a run.
 */
import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config, StageName } from '../config/schema.ts';
import type { Critic } from '../critic.ts';
import { linkFolder } from '../files/file-list.ts';
import type { LanguageModel } from '../language-model.ts';
import type { RewardOf } from '../rewards/reward.ts';
import { checkpointName, pruneCheckpoints, writeCheckpoint } from '../run-folder/checkpoint.ts';
import type { RunEvent, StagePosition } from '../run-folder/events.ts';
import type { RunFolder } from '../run-folder/folder.ts';
import type { Task } from '../task.ts';
import type { ActorProfile } from '../types.ts';
import { UserError } from '../user-error.ts';

/** The state of a run between two iterations: a checkpoint without the weights. */
export interface StageState {
  readonly stage: StageName;
  /** Iterations of the stage that are done. */
  readonly iteration: number;
  /** Smoothed success rate of the actor. */
  readonly successRate: number | null;
  /** The stage's own state; empty at its start. */
  readonly progress: Readonly<Record<string, number>>;
}

/** The actor, with its part of the config as it is in this iteration. */
export interface Actor {
  readonly model: LanguageModel;
  readonly options: NonNullable<Config['actor']>;
}

export interface Training {
  /** The config of this iteration; some values may change between two iterations. */
  readonly config: Config;
  /** As the run began. */
  readonly begun: Config;
  readonly task: Task;
  /** Rewards responses. */
  readonly rewardOf: RewardOf;
  readonly critic: Critic;
  /** null: the run has no actor (`actor: null`). */
  readonly actor: LanguageModel | null;
  /** The initial actor, if the actor's KL to it counts. */
  readonly reference: LanguageModel | null;
  readonly folder: RunFolder;
  emit(event: RunEvent): void;
  readonly steering: {
    /**
     * Between two iterations: values change, a paused run waits. False: the stage should end here.
     */
    boundary(place: StagePosition): Promise<boolean>;
    /** Applies what an earlier life of the run changed before this place. */
    catchUp(place: StagePosition): void;
  };
  /** True after `stop()`: the stage ends after the iteration in hand, with a checkpoint. */
  stopping(): boolean;
}

export function actorOf({ actor, config }: Training): Actor {
  if (actor && config.actor) return { model: actor, options: config.actor };
  throw new UserError('this stage needs an actor: name its model in `actor` of the config');
}

export function profileOf(training: Training, successRate: number | null): ActorProfile {
  const { model, options } = actorOf(training);
  return { name: options.name ?? options.model, parameters: model.loaded.parameters, successRate };
}

export function phase(training: Training, stage: StageName, iteration: number, name: string): void {
  training.emit({ type: 'phase', stage, iteration, phase: name });
}

/**
 * The stage goes on with this iteration; false: it was stopped. Between iterations, values may
 * change and a paused run waits.
 */
export function boundary({ steering }: Training, place: StagePosition): Promise<boolean> {
  return steering.boundary(place);
}

/** A checkpoint where one is due: after so many iterations, or minutes. */
export async function checkpointIfDue(training: Training, stageState: StageState): Promise<void> {
  const { every, minutes } = training.config.checkpoints;
  const { folder } = training;
  const byCount = every > 0 && stageState.iteration % every === 0;
  const byTime = minutes !== null && folder.secondsSinceCheckpoint() >= 60 * minutes;
  if (byCount || byTime) await checkpoint(training, stageState, false);
}

/** Writes a checkpoint of the current state. */
export async function checkpoint(
  training: Training,
  stageState: StageState,
  complete: boolean,
  as?: string,
): Promise<string> {
  const { stage, iteration, successRate, progress } = stageState;
  const { critic, actor, folder, config, emit } = training;
  const state = {
    stage,
    iteration,
    complete,
    success_rate: successRate,
    progress: { ...progress },
    ...folder.position(),
  };
  const best = bestCriticFolder(folder);
  const keepsBest = stage === 'critic-rl' && !complete && existsSync(best);
  const path = await writeCheckpoint(folder.checkpoints, as ?? checkpointName(state), state, {
    actor: actor && ((to) => actor.save(to, true)),
    critic: critic.save ? (to) => critic.save!(to, true) : null,
    'best-critic': keepsBest ? (to) => linkFolder(best, to) : null,
  });
  if (as === undefined) {
    await pruneCheckpoints(folder.checkpoints, stage, config.checkpoints.keep);
    folder.checkpointed();
  }
  emit({ type: 'checkpoint', stage, iteration, path });
  return path;
}

/**
 * The stage's checkpoint. The next stage goes on from it, with fresh optimizers, as it would in a
 * run of its own.
 */
export async function endStage(training: Training, stageState: StageState): Promise<StageState> {
  const complete = !training.stopping();
  const path = await checkpoint(training, stageState, complete);
  if (complete && training.critic.save) await training.critic.load?.(join(path, 'critic'));
  return stageState;
}

/**
 * Stage 2 ends with this critic. Written beside its place, so that links to the one before stay
 * whole.
 *
 * @returns whether it could be kept: a critic without `save` can't
 */
export async function keepBestCritic({ critic, folder }: Training): Promise<boolean> {
  if (!critic.save) return false;
  const best = bestCriticFolder(folder);
  const unfinished = `${best}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  await critic.save(unfinished, true);
  await rm(best, { recursive: true, force: true });
  await rename(unfinished, best);
  return true;
}

export const bestCriticFolder = (folder: RunFolder) => join(folder.path, 'best-critic');
