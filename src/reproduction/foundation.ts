/** Models that several tables need: base actors, critics after stages 1 and 2. */
import { join } from 'node:path';
import type { ConfigInput } from '../config/schema.ts';
import { actorOf, loadingIn, runOf, taskOf, withActor, workerNames } from './configs.ts';
import type { Part, Results, Work } from './parts.ts';
import { seedsOf } from './seeds.ts';
import type { Named, Setup } from './setup.ts';
import { checkpointOf, makeModel, train } from './work.ts';

type Critic = ConfigInput['critic'];

/** Its result is where its weights are; null: in its own folder. */
export function baseActor(setup: Setup, seed: number, steps: number): Part<string | null> {
  const task = taskOf(setup, steps);
  const { effort } = setup.size;
  if (setup.given) {
    const { model } = setup.recipe.actor!;
    return {
      ...{ name: 'base-actor', seed, version: 1, after: [], options: { model } },
      run: async () => model,
    };
  }
  return {
    ...{ name: 'base-actor', seed, version: 1, after: [] },
    options: { task, ...(effort < 1 && { effort }) },
    async run(work) {
      await makeModel(work, task, 'base-actor', seedsOf(seed).training, effort);
      return null;
    },
  };
}
export const baseActorIn = (results: Results, part: Part<string | null>) =>
  results.resultOf(part) ?? join(results.folderOf(part), 'base-actor');

/** Critics that SFT and REINFORCE train, as changes of the recipe's own. */
const scorers = {
  generative: { icc: true },
  'generative-without-icc': { icc: false },
  'language-model': { use: 'language-model', max_new_tokens: 6 },
} as const;
export type Scorer = keyof typeof scorers;

/** A generative critic's options for the same critic without words. */
export function withoutThinking(options: Named): Named {
  const { thinking, carry_until, sure_within, look_every, ...rest } = options;
  return rest;
}

/** Enough for a score in its tags by any tokenizer. */
const SCORE_TOKENS = 16;

/**
 * The recipe's critic: the same model, with the words or without.
 *
 * @param model another one that it begins with; absent: the recipe's
 */
export function scorer(setup: Setup, kind: Scorer, model?: string): Critic {
  const own = setup.recipe.critic as Named;
  const changes = scorers[kind];
  return {
    ...('use' in changes ? withoutThinking(own) : own),
    // A forced score without words is drawn by the trained weights.
    ...('use' in changes &&
      own.answer === 'forced' &&
      own.importance_sampling != null && { importance_sampling: null }),
    ...{ worker: workerNames(setup).critic, ...changes, ...(model !== undefined && { model }) },
    ...(setup.given && 'use' in changes && { max_new_tokens: SCORE_TOKENS }),
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
    critic_rl: {
      ...{ ...setup.recipe.critic_rl, ...setup.size.pretraining },
      // Held-out problems of a data set are those that tables report.
      ...(setup.given && { keep: 'last' as const }),
    },
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

/** Twice the actor's learning rate, as in VC-PPO (arXiv 2503.01491). */
export const headRate = ({ recipe }: Setup): number => 2 * recipe.actor!.learning_rate;

/** A head on a model, which is loaded as the actor is. */
export function headOn(setup: Setup, kind: Head, model: string): Named {
  const { dtype, lora } = setup.recipe.actor!;
  const { engine: _, ...how } = loadingIn(setup);
  const { memory_share = null } = setup.recipe.critic as Partial<Named>;
  return {
    ...{ use: 'value-head', worker: workerNames(setup).critic, model },
    ...(setup.given && { ...how, dtype, lora, memory_share }),
    ...heads[kind],
  };
}

/**
 * Pretraining on the states of the base actor's own responses (VC-PPO, arXiv 2503.01491): on all
 * of them, or on those at the head's positions.
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
      ...{ learning_rate: headRate(setup), decay: 'linear', warmup: Math.min(10, updates - 1) },
      ...{ evaluate_every: updates, keep: 'last' },
    },
  });
  const run = (work: Work) => {
    const actor = baseActorIn(work, base);
    const critic = headOn(setup, kind, model ?? actor);
    return train(work, { ...config, critic, actor: actorOf(setup, actor) });
  };
  const options = [withActor(setup, config), heads[kind], model ?? null];
  return { ...{ name: kind, seed, version: 3, after: [base], options }, run };
}
