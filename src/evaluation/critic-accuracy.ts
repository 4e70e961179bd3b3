/** How far a critic's values are from the true ones, on held-out states. */
import { valuesOf } from '../checked-critic.ts';
import type { Critic, CriticContext } from '../critic.ts';
import { actorOf, type Training } from '../iteration/context.ts';
import { exactValuesOf } from '../iteration/exact-values.ts';
import { statesOfRollouts } from '../iteration/rollout-states.ts';
import { actorRollouts } from '../iteration/rollouts.ts';
import type { LanguageModel } from '../language-model.ts';
import { mean, meanSquaredError, variance } from '../math/statistics.ts';
import type { ReferenceState, Rollout } from '../task.ts';
import { withContinuations } from './monte-carlo.ts';

export interface CriticAccuracy {
  /** Mean squared error against the reference values. */
  readonly mse: number;
  /** The same of the best constant: the values' variance. */
  readonly mse_of_constant: number;
  /** Share of states with a valid score. */
  readonly parse_rate: number;
  /** Mean of value - reference. */
  readonly bias: number;
}

/**
 * Errors of the values that training uses (sampled, as many completions), and of the critic's
 * single best answers.
 */
export interface CriticAccuracies extends CriticAccuracy {
  readonly greedy_mse: number;
  readonly greedy_parse_rate: number;
}

/**
 * Asks as training asks, and once more for the greedy figures. The difference between the two
 * errors is what sampling adds: a gate on the greedy one would let a critic pass that training
 * never sees.
 */
export async function criticErrors(
  critic: Critic,
  references: readonly ReferenceState[],
  context: Omit<CriticContext, 'greedy'>,
): Promise<CriticAccuracies> {
  const sampled = await criticError(critic, references, { ...context, greedy: false });
  const greedy = await criticError(critic, references, { ...context, greedy: true });
  return { ...sampled, greedy_mse: greedy.mse, greedy_parse_rate: greedy.parse_rate };
}

/** With the critic's single best answer (`context.greedy`), or sampled as in training. */
export async function criticError(
  critic: Critic,
  references: readonly ReferenceState[],
  context: CriticContext,
): Promise<CriticAccuracy> {
  const states = references.map(({ state }) => state);
  const valuations = await valuesOf(critic, states, context);
  const values = valuations.map(({ value }) => value);
  const truth = references.map(({ value }) => value);
  return {
    mse: meanSquaredError(values, truth),
    mse_of_constant: variance(truth),
    parse_rate: mean(valuations.map(({ parsed }) => (parsed === 'ok' ? 1 : 0))),
    bias: mean(values) - mean(truth),
  };
}

/**
 * Held-out states of the frozen actor, made once for its weights: their continuations cost
 * far more than the critic's answers.
 */
const ofFrozenActor = new WeakMap<
  LanguageModel,
  { readonly step: number; readonly states: Promise<readonly ReferenceState[]> }
>();

/**
 * Held-out states of many actors, for stages 1 and 2: with known values where the task has them,
 * else exact ones of the actor, else those of continuations, else with outcomes.
 */
export async function heldOutStates(training: Training): Promise<readonly ReferenceState[]> {
  const { task, config } = training;
  const count = config.evaluation.states;
  const known = task.referenceStates?.(config.seed, count);
  if (known) return known;
  const logged = task.frozenRollouts?.('heldout', config.seed, 0, count);
  if (logged) return statesOfRollouts(logged, config.seed, 'heldout', 0);
  const { model } = actorOf(training);
  const made = ofFrozenActor.get(model);
  if (made?.step === model.step) return made.states;
  // Whatever was set since: errors of one stage are compared with each other.
  const states = statesOfActor({ ...training, config: training.begun }, count);
  ofFrozenActor.set(model, { step: model.step, states });
  return states;
}

async function statesOfActor(
  training: Training,
  count: number,
): Promise<readonly ReferenceState[]> {
  const rollouts = await actorRollouts(training, 'heldout', 0, count, 1, 'heldout', null);
  const successRate = mean(rollouts.map(({ reward }) => reward));
  const known = rollouts.map((rollout) => ({
    ...rollout,
    actor: { ...rollout.actor, successRate },
  }));
  const states = statesOfRollouts(known, training.config.seed, 'heldout', 0);
  return referencesOf(training, states, 'heldout', 0);
}

/** With exact values where the task knows them of the actor at hand, else by continuations. */
async function referencesOf(
  training: Training,
  states: readonly ReferenceState[],
  purpose: string,
  iteration: number,
): Promise<readonly ReferenceState[]> {
  const { task, config } = training;
  const exactValues = exactValuesOf(task, actorOf(training).model, () => config);
  if (!exactValues) return withContinuations(training, states, purpose, iteration);
  const values = await exactValues(states.map(({ state }) => state));
  return states.map(({ state }, i) => ({ state, value: values[i]! }));
}

/** Rollouts of the actor as it is now on held-out problems, the same ones each time. */
export function currentRollouts(
  training: Training,
  successRate: number | null,
  iteration: number,
): Promise<Rollout[]> {
  const { prompts, num_generations: responses } = training.config.evaluation;
  const purpose = `evaluation/${iteration}`;
  return actorRollouts(training, 'heldout', 0, prompts, responses, purpose, successRate);
}

/**
 * States of these rollouts: what the critic must be good at in joint training. With exact values
 * where the task can know them, else with outcomes.
 */
export async function currentStates(
  training: Training,
  rollouts: readonly Rollout[],
  iteration: number,
): Promise<readonly ReferenceState[]> {
  const { config } = training;
  const repeated = Array.from(
    { length: config.evaluation.states },
    (_, i) => rollouts[i % rollouts.length]!,
  );
  const references = statesOfRollouts(repeated, config.seed, `evaluation/${iteration}`, 0);
  return referencesOf(training, references, 'evaluation', iteration);
}
