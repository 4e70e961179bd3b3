/**
 * The methods of table 4, each by the literature's own recipe. What a recipe leaves to its user,
 * lambda and the learning rate, is chosen by a sweep of as many settings for each method.
 */
import type { Config, ConfigInput } from '../config/schema.ts';
import { actorOf, runOf } from './configs.ts';
import {
  baseActor,
  baseActorIn,
  type Head,
  headOn,
  headPretraining,
  headRate,
  pretraining,
  scorer,
} from './foundation.ts';
import type { Part, Work } from './parts.ts';
import { seedsOf } from './seeds.ts';
import type { Setup } from './setup.ts';
import { checkpointOf, type Keep, type RunFigures, train, weightsOf } from './work.ts';

export interface Setting {
  readonly lambda: Config['credit']['lambda'];
  /** The actor's. */
  readonly learning_rate: number;
}

export interface Method {
  readonly name: string;
  /** Which recipe, and from where; a sentence or two. */
  readonly recipe: string;
  /** The recipe's own first. */
  readonly settings: readonly Setting[];
  /** The one of them that the sweep of docs/results.md chose, for a size without a sweep. */
  readonly chosen: number;
  /** Without its weights, where it was trained before. */
  critic(setup: Setup): ConfigInput['critic'];
  /** What its critic is before joint training: a value head, a scorer, or nothing that learns. */
  readonly pretrained: 'head' | 'scorer' | null;
  /** The part that trained the critic before; null: it has nothing to learn. */
  before(setup: Setup, seed: number, steps: number): Part | null;
  /** Of the recipe's run. */
  readonly scale: 'batch-std' | 'group-std' | 'none';
  /** Does the group mean replace values that explain nothing of a batch? */
  readonly fallback: boolean;
  /** A config's own lambda takes the place of the first one: it is for critics of this kind. */
  readonly takesLambda?: true;
  /** The critic's learning rate in joint training; absent: the recipe's. */
  criticRate?(setup: Setup): number;
}

const grid = (lambdas: readonly number[], rates: readonly number[]): Setting[] =>
  lambdas.flatMap((lambda) => rates.map((learning_rate) => ({ lambda, learning_rate })));
const rates = [5e-4, 1e-3];

const learned = { scale: 'batch-std', fallback: false } as const;

/**
 * GenAC (arXiv 2604.10701): a generative critic with In-Context Conditioning after SFT and RL
 * pretraining, which learns on during joint training; lambda for whole segments.
 */
const genac: Method = {
  ...{ name: 'GenAC', settings: grid([0.5, 0.9], rates), chosen: 0 },
  recipe:
    'the recipe’s critic after stages 1 and 2, learning jointly; ' +
    'the group mean replaces values that explain nothing of a batch (one of our departures)',
  critic: (setup) => scorer(setup, 'generative'),
  pretrained: 'scorer',
  before: (setup, seed, steps) => pretraining(setup, seed, steps, 'generative'),
  ...{ scale: 'batch-std', fallback: true, takesLambda: true },
};

/**
 * PPO (arXiv 1707.06347) with its value clipping, and with what VC-PPO (arXiv 2503.01491) adds for
 * language models: the value head is pretrained on the frozen actor's responses, and learns returns
 * of lambda 1 whatever the actor's lambda is (decoupled GAE).
 */
const ppo: Method = {
  ...{ name: 'PPO (value head)', settings: grid([0.95, 1], rates), chosen: 2 },
  recipe:
    'clipped PPO with value clipping .2 (Schulman 2017); the head starts from the actor, is ' +
    'pretrained on the frozen actor and learns returns of lambda 1 (VC-PPO, arXiv 2503.01491)',
  critic: (setup) => headIn(setup, 'value-head'),
  pretrained: 'head',
  before: (setup, seed, steps) => headPretraining(setup, seed, steps, 'value-head'),
  ...{ ...learned, criticRate: headRate },
};

/**
 * SP3O (arXiv 2609.18708): the same head, trained and read at three places of a response, in its
 * pretraining too.
 */
const sparse: Method = {
  ...{ name: 'SP3O (sparse positions)', settings: grid([0.95, 1], rates), chosen: 2 },
  recipe: 'PPO’s recipe with values at 30, 60 and 90% of a response alone (arXiv 2609.18708)',
  critic: (setup) => headIn(setup, 'value-head-sparse'),
  pretrained: 'head',
  before: (setup, seed, steps) => headPretraining(setup, seed, steps, 'value-head-sparse'),
  ...{ ...learned, criticRate: headRate },
};

const headIn = (setup: Setup, kind: Head) => ({
  ...headOn(setup, kind, 'task:base-actor'),
  clip: 0.2,
});

/**
 * VinePPO (arXiv 2410.01679): 9 continuations of each state. Its advantage is the change of value
 * in one step, which is lambda 0; 1 is in its sweep as well, where the first value is a baseline.
 */
const vineppo: Method = {
  ...{ name: 'VinePPO', settings: grid([0, 1], rates), chosen: 0 },
  recipe: 'nine continuations of each state (arXiv 2410.01679, its own K), advantages of lambda 0',
  critic: () => ({ use: 'monte-carlo', continuations: 9 }),
  ...{ pretrained: null, before: () => null },
  ...learned,
};

/** GRPO (arXiv 2402.03300): the group's mean and deviation. Lambda is 1: rates alone are swept. */
const grpo: Method = {
  ...{ name: 'GRPO', settings: grid([1], [5e-4, 2.5e-4, 1e-3, 2e-3]), chosen: 0 },
  recipe: '(reward - mean) / deviation of the group for every token (arXiv 2402.03300)',
  critic: () => ({ use: 'group-mean' }),
  ...{ pretrained: null, before: () => null },
  ...{ scale: 'group-std', fallback: false },
};

/** RLOO (arXiv 2402.14740): the mean of the others, not divided by anything. */
const rloo: Method = {
  ...{ name: 'RLOO', settings: grid([1], [5e-4, 2.5e-4, 1e-3, 2e-3]), chosen: 0 },
  recipe: 'reward - mean of the other responses, undivided (arXiv 2402.14740), with PPO’s clipping',
  critic: () => ({ use: 'group-mean', leave_one_out: true }),
  ...{ pretrained: null, before: () => null },
  ...{ scale: 'none', fallback: false },
};

/** AC2 (arXiv 2609.39247): the generative critic's model and stages, and the score alone. */
const silent: Method = {
  ...{ name: 'critic without words', settings: grid([0.5, 0.9], rates), chosen: 0 },
  recipe: 'a language model that writes the score alone (arXiv 2609.39247), by GenAC’s own stages',
  critic: (setup) => scorer(setup, 'language-model'),
  pretrained: 'scorer',
  before: (setup, seed, steps) => pretraining(setup, seed, steps, 'language-model'),
  ...{ scale: 'batch-std', fallback: true, takesLambda: true },
};

/** What the task asks the current actor: a critic without any error. */
const exact: Method = {
  ...{ name: '(exact values)', settings: grid([0.5, 0], rates), chosen: 2 },
  recipe: 'the values that the task reads off the current actor’s own probabilities',
  critic: () => ({ use: 'oracle' }),
  ...{ pretrained: null, before: () => null },
  ...learned,
};

export const methods = { genac, ppo, sparse, vineppo, grpo, rloo, silent, exact } as const;
export type MethodKey = keyof typeof methods;

/** The method that costs least also runs for as long as the others. */
export const cheapest: MethodKey = 'grpo';

/** Those that the recipe's task allows, in the tables' order. */
export const methodKeys = ({ given }: Setup): MethodKey[] =>
  (Object.keys(methods) as MethodKey[]).filter((key) => !given || key !== 'exact');

/** Learning rates of `methods` are for an actor whose recipe has this one. */
const RATE = 5e-4;

/** A method's settings, the recipe's own first. */
export function settingsOf({ recipe, given }: Setup, key: MethodKey): Setting[] {
  const { settings, takesLambda }: Method = methods[key];
  const [first] = settings;
  const asConfig = given && takesLambda;
  return settings.map(({ lambda, learning_rate }) => ({
    lambda: asConfig && lambda === first!.lambda ? recipe.credit.lambda : lambda,
    learning_rate: learning_rate * (recipe.actor!.learning_rate / RATE),
  }));
}

/** Joint training by a method, but for what names a folder. */
export function jointConfig(
  setup: Setup,
  seed: number,
  steps: number,
  key: MethodKey,
  { lambda, learning_rate }: Setting,
  changes: Partial<ConfigInput> & { readonly iterations: number },
): Omit<ConfigInput, 'folder'> {
  const { recipe } = setup;
  const { iterations, ...others } = changes;
  const method = methods[key];
  const { learning_rate: ofCritic, decay, min_lr_ratio, warmup, max_grad_norm } = recipe.joint;
  const learns = method.pretrained !== null;
  return runOf(setup, steps, seedsOf(seed).training, {
    ...{ stages: ['joint'], critic: method.critic(setup) },
    actor: { ...actorOf(setup, 'task:base-actor'), learning_rate },
    credit: { ...recipe.credit, lambda, scale: method.scale },
    joint: {
      ...{ steps: iterations, schedule: 'synchronous' },
      ...(learns && {
        ...{ learning_rate: method.criticRate?.(setup) ?? ofCritic, decay, min_lr_ratio },
        ...(setup.given && { warmup, max_grad_norm }),
      }),
    },
    // Every method trains, whatever its critic is worth.
    gates: { joint: null, explained_variance: method.fallback },
    evaluation: {
      ...recipe.evaluation,
      ...{ every: setup.size.every, prompts: 2 * setup.size.prompts, states: 8 },
    },
    checkpoints: { ...recipe.checkpoints, best: false },
    ...others,
  });
}

/** The base actor and the trained critic that joint training starts from. */
export function startOf(setup: Setup, seed: number, steps: number, key: MethodKey) {
  const base = baseActor(setup, seed, steps);
  const before = methods[key].before(setup, seed, steps);
  const after: Part[] = before ? [base, before] : [base];
  return { base, before, after, given: setup.given !== undefined };
}

/** Trains a config of `jointConfig` from where `startOf` says. */
export function trainBy(
  work: Work,
  { base, before, given }: ReturnType<typeof startOf>,
  config: Omit<ConfigInput, 'folder'>,
  keep?: Keep,
): Promise<RunFigures | null> {
  const model = baseActorIn(work, base);
  const actor = { ...config.actor!, model };
  if (given) {
    // An adapter goes on only from a checkpoint.
    const start_from = before && checkpointOf(work.folderOf(before), 'critic-rl');
    return train(work, { ...config, actor, start_from }, keep);
  }
  const learned = before && weightsOf(work.folderOf(before), 'critic-rl', 'critic');
  const critic = learned ? { ...(config.critic as object), model: learned } : config.critic;
  return train(work, { ...config, critic: critic as ConfigInput['critic'], actor }, keep);
}
