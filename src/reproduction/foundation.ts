/** Models that several tables need: base actors, critics after stages 1 and 2. */
import { join } from 'node:path';
import type { ConfigInput } from '../config/schema.ts';
import type { Part, Results, Work } from './parts.ts';
import { seedsOf } from './seeds.ts';
import type { Setup } from './setup.ts';
import { checkpointOf, makeModel, train } from './work.ts';

type Critic = ConfigInput['critic'];

/** Every model of a part is held by its lane's one worker; tasks in Python have another. */
export const workersOf = ({ usesPython }: Setup) => ({
  worker: { threads: 1 },
  ...(usesPython && { python: { threads: 1 } }),
});

/** Of a run or an evaluation: chains of K steps. */
export const taskOf = ({ recipe }: Setup, steps: number) => ({
  ...(recipe.task as { readonly use: string }),
  steps,
});

/** A run's config without its folder; a part's options are this and nothing with a path in it. */
export function runOf(
  setup: Setup,
  steps: number,
  seed: number,
  changes: Partial<ConfigInput>,
): Omit<ConfigInput, 'folder'> {
  const { folder: _, stages: __, critic_sft, critic_rl, joint, actor: ___, ...rest } = setup.recipe;
  const { every, prompts } = setup.size;
  return {
    ...rest,
    ...{ seed, workers: workersOf(setup), task: taskOf(setup, steps), actor: null },
    sampling: { ...rest.sampling, ...setup.size.sampling },
    icc: { ...rest.icc, warm_rollouts: 2 * prompts },
    // Critics are measured by evaluations; within a run they need only be watched.
    evaluation: { ...rest.evaluation, every, prompts: 2 * prompts, states: 2 * prompts },
    ...changes,
  } as Omit<ConfigInput, 'folder'>;
}

/** The recipe's actor, with other weights. */
export const actorOf = ({ recipe }: Setup, model: string): NonNullable<ConfigInput['actor']> => ({
  ...recipe.actor!,
  ...{ model, worker: 'worker' },
});

/** A run's config as a part's options, which depend on how the recipe's actor learns. */
export const withActor = (setup: Setup, config: object): object => ({
  ...config,
  actor: actorOf(setup, 'task:base-actor'),
});

export function baseActor(setup: Setup, seed: number, steps: number): Part {
  const task = taskOf(setup, steps);
  return {
    ...{ name: 'base-actor', seed, version: 1, after: [] },
    options: { task },
    async run(work) {
      await makeModel(work, task, 'base-actor', seedsOf(seed).training);
      return null;
    },
  };
}
export const baseActorIn = (results: Results, part: Part) =>
  join(results.folderOf(part), 'base-actor');

/** Critics that SFT and REINFORCE train, as changes of the recipe's own. */
const scorers = {
  generative: { icc: true },
  'generative-without-icc': { icc: false },
  'language-model': { use: 'language-model', max_new_tokens: 6 },
} as const;
export type Scorer = keyof typeof scorers;

interface Named {
  readonly use: string;
  readonly [option: string]: unknown;
}

/** A generative critic's options for the same critic without words. */
export function withoutThinking(options: Named): Named {
  const { thinking, carry_until, sure_within, look_every, ...rest } = options;
  return rest;
}

/**
 * The recipe's critic: the same model, with the words or without.
 *
 * @param model another one that it begins with; absent: the recipe's
 */
export function scorer({ recipe }: Setup, kind: Scorer, model?: string): Critic {
  const own = recipe.critic as Named;
  const changes = scorers[kind];
  return {
    ...('use' in changes ? withoutThinking(own) : own),
    ...{ worker: 'worker', ...changes, ...(model !== undefined && { model }) },
  };
}

/** Stage 1. */
export function imitation(
  setup: Setup,
  seed: number,
  steps: number,
  kind: Scorer,
  model?: string,
): Part {
  const config = runOf(setup, steps, seedsOf(seed).training, {
    ...{ stages: ['critic-sft'], critic: scorer(setup, kind, model) },
    critic_sft: { ...setup.recipe.critic_sft, ...setup.size.sft },
  });
  return {
    ...{ name: `${kind}-sft`, seed, version: 1, after: [], options: config },
    run: (work) => train(work, config),
  };
}

/** Stage 2. */
export function pretraining(
  setup: Setup,
  seed: number,
  steps: number,
  kind: Scorer,
  model?: string,
): Part {
  const first = imitation(setup, seed, steps, kind, model);
  const base = baseActor(setup, seed, steps);
  const config = runOf(setup, steps, seedsOf(seed).training, {
    ...{ stages: ['critic-rl'], critic: scorer(setup, kind, model) },
    critic_rl: { ...setup.recipe.critic_rl, ...setup.size.pretraining },
  });
  return {
    ...{ name: `${kind}-rl`, seed, version: 2, after: [first, base] },
    options: withActor(setup, config),
    run: (work) =>
      train(work, {
        ...config,
        actor: actorOf(setup, baseActorIn(work, base)),
        start_from: checkpointOf(work.folderOf(first), 'critic-sft'),
      }),
  };
}

/** Value heads on the base actor's own weights, by what they give and where they are read. */
export const heads = {
  'value-head': { bounded: true },
  'value-head-hl-gauss': { categorical: 51 },
  'value-head-sparse': { bounded: true, positions: [0.3, 0.6, 0.9] },
} as const;
export type Head = keyof typeof heads;

/**
 * Pretraining on all states of the base actor's own responses (VC-PPO, arXiv 2503.01491).
 *
 * @param model that it begins with; absent: the base actor's weights
 */
export function headPretraining(
  setup: Setup,
  seed: number,
  steps: number,
  kind: Head,
  model?: string,
): Part {
  const base = baseActor(setup, seed, steps);
  const { steps: updates, responses } = setup.size.head;
  const config = runOf(setup, steps, seedsOf(seed).training, {
    stages: ['critic-rl'],
    critic_rl: {
      ...{ steps: updates, states: responses, states_per_response: 'all', actor_share: 1 },
      ...{ learning_rate: 1e-3, decay: 'linear', warmup: Math.min(10, updates - 1) },
      ...{ evaluate_every: updates, keep: 'last' },
    },
  });
  const run = (work: Work) => {
    const actor = baseActorIn(work, base);
    const own = { worker: 'worker', model: model ?? actor };
    const critic = { use: 'value-head', ...own, ...heads[kind] };
    return train(work, { ...config, critic, actor: actorOf(setup, actor) });
  };
  const options = [withActor(setup, config), heads[kind], model ?? null];
  return { ...{ name: kind, seed, version: 2, after: [base], options }, run };
}
