/** Configs of parts: the recipe's, with the workers and the sizes of a reproduction. */
import type { ConfigInput } from '../config/schema.ts';
import { loadingFields } from '../workers/loading.ts';
import type { Setup } from './setup.ts';

/**
 * Every model of a part is held by its lane's one worker; tasks in Python have another. Models that
 * are given stay with the workers that their config names.
 *
 * @param learns whether the critic has a model
 */
export function workersOf(setup: Setup, learns = true): NonNullable<ConfigInput['workers']> {
  const { usesPython, given, recipe } = setup;
  if (!given) return { worker: { threads: 1 }, ...(usesPython && { python: { threads: 1 } }) };
  const { actor, critic } = workerNames(setup);
  const own = ['python', actor, ...(learns ? [critic] : [])];
  return Object.fromEntries(Object.entries(recipe.workers).filter(([name]) => own.includes(name)));
}

/** Of the models. */
export function workerNames({ given, recipe }: Setup): { actor: string; critic: string } {
  if (!given) return { actor: 'worker', critic: 'worker' };
  const { worker = 'critic' } = recipe.critic as { readonly worker?: string };
  return { actor: recipe.actor!.worker, critic: worker };
}

/** Of a run or an evaluation: chains of K steps. */
export const taskOf = ({ recipe, given }: Setup, steps: number) => ({
  ...(recipe.task as { readonly use: string }),
  ...(!given && { steps }),
});

/** A run's config without its folder, as a part's options have it: no path is of another part. */
export function runOf(
  setup: Setup,
  steps: number,
  seed: number,
  changes: Partial<ConfigInput>,
): Omit<ConfigInput, 'folder'> {
  const { folder: _, stages: __, critic_sft, critic_rl, joint, actor: ___, ...rest } = setup.recipe;
  const { every, prompts, states = 2 * prompts } = setup.size;
  const learns = typeof changes.critic !== 'object' || 'model' in changes.critic;
  return {
    ...rest,
    ...(setup.given && { log: [] }), // a logger's server would get every part as a run
    ...{ seed, workers: workersOf(setup, learns), task: taskOf(setup, steps) },
    // The embedded tasks bring rollouts of their own to stage 1.
    actor: setup.given ? actorOf(setup, setup.recipe.actor!.model) : null,
    sampling: { ...rest.sampling, ...setup.size.sampling },
    icc: { ...rest.icc, warm_rollouts: 2 * prompts },
    // Critics are measured by evaluations; within a run they need only be watched.
    evaluation: { ...rest.evaluation, every, prompts: 2 * prompts, states },
    ...changes,
  } as Omit<ConfigInput, 'folder'>;
}

/** The recipe's actor, with other weights. */
export const actorOf = (setup: Setup, model: string): NonNullable<ConfigInput['actor']> => ({
  ...setup.recipe.actor!,
  ...{ model, worker: workerNames(setup).actor },
});

/** A run's config as a part's options, which depend on how the recipe's actor learns. */
export const withActor = (setup: Setup, config: object): object => ({
  ...config,
  actor: actorOf(setup, 'task:base-actor'),
});

/** How the recipe's actor is loaded. */
export const loadingIn = ({ recipe }: Setup) =>
  Object.fromEntries(
    Object.entries(recipe.actor!).filter(([name]) => Object.hasOwn(loadingFields, name)),
  );
