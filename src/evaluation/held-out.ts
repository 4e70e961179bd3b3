/** Held-out figures between iterations, and the gate before joint training. */

import type { StageState, Training } from '../iteration/context.ts';
import { phase } from '../iteration/context.ts';
import { prefixed, Spending } from '../iteration/metrics.ts';
import { fittingProblems } from '../iteration/prompt-limit.ts';
import { actorRollouts, sampleTrajectories } from '../iteration/rollouts.ts';
import { isNoise, mean } from '../math/statistics.ts';
import { UserError } from '../user-error.ts';
import { criticErrors, currentRollouts, currentStates, heldOutStates } from './critic-accuracy.ts';

/** The smoothed success rate, warmed by rollouts of the frozen actor where it is not known yet. */
export async function knownSuccessRate(
  training: Training,
  { successRate }: Pick<StageState, 'successRate'>,
): Promise<number | null> {
  const { warm_rollouts } = training.config.icc;
  if (successRate !== null || warm_rollouts === 0) return successRate;
  const rollouts = await actorRollouts(training, 'train', 0, warm_rollouts, 1, 'warm-up', null);
  return mean(rollouts.map(({ reward }) => reward));
}

/** Held-out error of the critic in stages 1 and 2. */
export async function evaluateCritic(
  training: Training,
  stage: 'critic-sft' | 'critic-rl',
  iteration: number,
): Promise<number> {
  phase(training, stage, iteration, 'evaluate');
  const spending = new Spending();
  const context = { purpose: 'heldout', iteration: 0, report: spending.add };
  const error = await criticErrors(training.critic, await heldOutStates(training), context);
  training.emit({
    type: 'evaluation',
    stage,
    iteration,
    metrics: { ...heldOut(error), ...spending.metrics },
  });
  return error.mse;
}

/**
 * Success of the actor and error of the critic, on held-out problems and the actor as it is.
 * @returns the success (pass@1)
 */
export async function evaluate(
  training: Training,
  iteration: number,
  successRate: number | null,
): Promise<number> {
  phase(training, 'joint', iteration, 'evaluate');
  const { critic, config } = training;
  const rollouts = await currentRollouts(training, successRate, iteration);
  const spending = new Spending();
  const error =
    critic.needs === 'states'
      ? await criticErrors(critic, await currentStates(training, rollouts, iteration), {
          purpose: 'evaluation',
          iteration,
          report: spending.add,
        })
      : {};
  const success = mean(rollouts.map(({ reward }) => reward));
  const { num_generations: responses, greedy } = config.evaluation;
  const metrics = {
    'evaluation/success': success,
    ...(responses > 1 && { [`evaluation/pass@${responses}`]: passAtK(rollouts, responses) }),
    ...(greedy && { 'evaluation/greedy': await greedySuccess(training, iteration) }),
    ...heldOut(error),
    ...spending.metrics,
  };
  training.emit({ type: 'evaluation', stage: 'joint', iteration, metrics });
  return success;
}

/** The metric that says that a critic was evaluated. */
export const heldOutError = 'critic/heldout_mse';

/** `{mse: 1}` -> `{'critic/heldout_mse': 1}`. */
const heldOut = (errors: object): Record<string, number> =>
  Object.fromEntries(
    Object.entries(errors).map(([name, value]) => [`critic/heldout_${name}`, value]),
  );

/** Mean over the problems of the best of k rewards. Rollout j of problem i is number i k + j. */
export function passAtK(rollouts: readonly { readonly reward: number }[], k: number): number {
  const best = Array.from({ length: rollouts.length / k }, (_, i) =>
    Math.max(...rollouts.slice(i * k, (i + 1) * k).map(({ reward }) => reward)),
  );
  return mean(best);
}

/** Mean reward of one greedy response to each held-out problem. */
async function greedySuccess(training: Training, iteration: number): Promise<number> {
  const { problems } = await fittingProblems(
    training,
    'heldout',
    0,
    training.config.evaluation.prompts,
  );
  const request = { problems, responses: 1, purpose: 'evaluation/greedy', iteration, greedy: true };
  const trajectories = await sampleTrajectories(training, request);
  const rewards = await Promise.all(
    trajectories.map((trajectory) => training.rewardOf(trajectory)),
  );
  return mean(rewards.map(({ reward }) => reward));
}

/**
 * Joint training starts only with a critic that is better than the mean, asked as training asks it;
 * else the actor would learn from noise.
 */
export async function passGate(training: Training, successRate: number | null): Promise<void> {
  const gate = training.config.gates.joint;
  if (!gate || training.critic.needs === 'outcomes') return;
  const rollouts = await currentRollouts(training, successRate, 0);
  const references = await currentStates(training, rollouts, 0);
  const spending = new Spending();
  const errors = await criticErrors(training.critic, references, {
    ...{ purpose: 'gate', iteration: 0, report: spending.add },
  });
  const { mse, mse_of_constant, parse_rate, greedy_mse } = errors;
  training.emit({
    type: 'evaluation',
    stage: 'joint',
    iteration: 0,
    metrics: {
      ...prefixed('gate', { mse, mse_of_constant, parse_rate, greedy_mse }),
      ...spending.metrics,
    },
  });
  const better = mse < gate.mse_against_mean * mse_of_constant || isNoise(mse); // a constant is not better
  if (parse_rate >= gate.parse_rate && better) return;
  throw new UserError(
    `joint training does not start: on held-out states the critic parses ${(100 * parse_rate).toFixed(1)}% (gate: ${100 * gate.parse_rate}%) and its error is ${mse.toFixed(4)} ` +
      `against ${mse_of_constant.toFixed(4)} of the mean (gate: ${gate.mse_against_mean} of ` +
      'it). Train the critic longer (critic_sft, critic_rl), or change gates.joint',
  );
}
