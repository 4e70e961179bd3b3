/**
 * The demo's runs: `examples/miniature.yaml` in parts, so that the actor and the critic can be made
 * in parallel, and the group mean for comparison.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkConfig, loadConfigFile } from '../config/load.ts';
import type { Config } from '../config/schema.ts';

export const recipe = fileURLToPath(new URL('../../examples/miniature.yaml', import.meta.url));

export interface DemoPlan {
  readonly seed: number;
  readonly task: Config['task'];
  /** Folder of the base actor. */
  readonly baseActor: string;
  /** Stage 1, which needs no actor. */
  readonly imitation: Config;
  /** Stage 2, on rollouts of the task's frozen actors and of the base actor. */
  readonly pretraining: Config;
  /**
   * GRPO from the base actor: the same problems, responses, iterations and optimizer; lambda = 1
   * and the group's deviation, as in GRPO.
   */
  readonly groupMean: Config;
  /** Stage 3 from the base actor and the critic's checkpoint. */
  readonly genac: Config;
}

/** Throws a `ConfigError` before it changes anything. */
export function planDemo(folder: string, seed: number): DemoPlan {
  const { config } = loadConfigFile(recipe);
  const { critic_sft, critic_rl, joint, stages: _stages, ...rest } = config;
  const baseActor = join(folder, 'base-actor');
  const actor = { ...config.actor!, model: baseActor };
  const part = (name: string, changes: object) =>
    checkConfig({ ...rest, seed, ...changes, folder: join(folder, name) } as Parameters<
      typeof checkConfig
    >[0]);
  return {
    seed,
    task: config.task,
    baseActor,
    imitation: part('critic-sft', { stages: ['critic-sft'], actor: null, critic_sft }),
    pretraining: part('critic-rl', {
      stages: ['critic-rl'],
      actor,
      critic_rl,
      start_from: join(folder, 'critic-sft', 'checkpoints', 'critic-sft'),
    }),
    groupMean: part('group-mean', {
      stages: ['joint'],
      actor,
      critic: 'group-mean',
      credit: { ...config.credit, gamma: 1, lambda: 1, scale: 'group-std' },
      joint: { steps: joint.steps, schedule: joint.schedule },
    }),
    genac: part('genac', {
      stages: ['joint'],
      actor,
      joint,
      start_from: join(folder, 'critic-rl', 'checkpoints', 'critic-rl'),
    }),
  };
}
