/** What the evaluations of tables have in common. */
import type { EvaluationInput } from '../comparison/config.ts';
import { loadingIn, taskOf, workerNames, workersOf } from './configs.ts';
import { seedsOf } from './seeds.ts';
import type { Setup } from './setup.ts';

/** An actor whose weights a part knows. */
export function actorFrom(setup: Setup, model: string): NonNullable<EvaluationInput['actor']> {
  const worker = workerNames(setup).actor;
  const { name, dtype } = setup.recipe.actor!;
  return { model, worker, ...(setup.given && { ...loadingIn(setup), name, dtype }) };
}

/** @param learns whether one of its critics has a model */
export function measuringOf(setup: Setup, steps: number, seed: number, learns = true) {
  return {
    seed: seedsOf(seed).measuring,
    task: taskOf(setup, steps),
    workers: workersOf(setup, learns),
  };
}

/** Responses to a problem that joint training has at once. */
export const groupOf = ({ recipe, size }: Setup): number =>
  size.sampling.num_generations ?? recipe.sampling.num_generations;

/** The temperature of an actor that is further from its best. */
export const hotter = ({ recipe, given }: Setup): number =>
  given ? Number((1.3 * recipe.sampling.temperature).toFixed(3)) : 1.3;

type Judging = Pick<
  EvaluationInput,
  'sampling' | 'rewards' | 'segmentation' | 'references' | 'continuations'
>;

/** How responses are sampled, cut and judged, and what values are measured against. */
export function judgingOf({ recipe, size, given }: Setup): Judging {
  const { max_new_tokens, temperature, ...others } = recipe.sampling;
  if (!given) return { sampling: { max_new_tokens, temperature } };
  const { top_p, top_k, stop_strings, max_prompt_tokens, overlong_prompts } = others;
  return {
    sampling: {
      ...{ max_new_tokens, temperature, top_p, top_k, stop_strings },
      ...{ max_prompt_tokens, overlong_prompts },
    },
    ...{ rewards: recipe.rewards, segmentation: recipe.credit.segmentation },
    ...{ references: 'continuations', continuations: size.continuations },
  };
}
