/**
 * GenAC's third stage (arXiv 2604.10701): actor and critic learn together. (The first two:
 * `critic-stages.ts`.)
 *
 * Where it departs from the paper:
 * 1. It begins only if the critic passes a gate on held-out states.
 * 2. Where the critic's values explain nothing of a batch, the group mean replaces them.
 */

import { assignCreditInTurns } from './credit.ts';
import { evaluate, knownSuccessRate, passGate } from './evaluation/held-out.ts';
import { turn } from './event-loop.ts';
import { updateActor } from './iteration/actor-update.ts';
import {
  boundary,
  checkpoint,
  checkpointIfDue,
  endStage,
  phase,
  prefixed,
  type Standing,
  type Training,
} from './iteration/context.ts';
import { fittingProblems } from './iteration/prompt-limit.ts';
import { schedules } from './iteration/schedule.ts';
import { learningRate } from './math/learning-rate.ts';
import { smoothSuccessRate } from './math/success-rate.ts';
import { recordTrajectories, rolloutMetrics } from './run-folder/iteration-record.ts';

/** Stage 3: the actor by PPO with the critic's credit, the critic by REINFORCE, together. */
export async function trainJointly(training: Training, start: Standing): Promise<Standing> {
  const { config, critic, emit } = training;
  const { iterations } = config.joint;
  const stage = 'joint';
  emit({ type: 'stage', stage, iterations, from: start.iteration });
  let successRate = await knownSuccessRate(training, start);
  let best = start.progress.best_success ?? Number.NEGATIVE_INFINITY;
  let iteration = start.iteration;
  const standing = () => {
    const progress: Readonly<Record<string, number>> = Number.isFinite(best)
      ? { best_success: best }
      : {};
    return { stage, iteration, successRate, progress } as const;
  };
  const evaluateHere = async () => {
    const success = await evaluate(training, iteration, successRate);
    if (!training.config.checkpoints.best || success <= best) return;
    best = success;
    await checkpoint(training, standing(), false, 'best');
  };
  tellOfTruncation(training);
  if (iteration === 0) await passGate(training, successRate);
  while (iteration < iterations && (await boundary(training, { stage, iteration }))) {
    const began = performance.now();
    const { joint: o, credit, gates, evaluation, sampling } = training.config;
    if (isDue(evaluation.every, iteration)) await evaluateHere();
    const count = sampling.problems;
    const { problems, overlong } = await fittingProblems(
      training,
      'train',
      iteration * count,
      count,
    );
    const schedule = schedules[o.schedule];
    const { segmented, valuations } = await schedule.collect(
      training,
      problems,
      iteration,
      successRate,
    );
    const { gamma, lambda, scale } = credit;
    const fallback = gates.explained_variance && critic.needs === 'states' ? 'group-mean' : 'off';
    const options = { gamma, lambda, scale, fallback } as const;
    const assignment = await assignCreditInTurns(segmented, valuations, options);
    phase(training, stage, iteration, 'update');
    await turn();
    const credited = segmented.map(({ trajectory }, i) => ({
      trajectory,
      credit: assignment.credits[i]!,
    }));
    const rate = learningRate({ ...o, peak: o.learning_rate }, iteration, iterations);
    const [actorMetrics, criticMetrics] = await schedule.update(
      () => updateActor(training, credited, iteration),
      async () =>
        o.critic === 'learn' && critic.learn
          ? critic.learn(assignment.outcomes, { learningRate: rate, maxGradNorm: o.max_grad_norm })
          : {},
    );
    const rewards = segmented.map((s) => s.trajectory.reward);
    successRate = smoothSuccessRate(successRate, rewards, config.icc.momentum);
    const metrics = {
      ...rolloutMetrics(segmented, assignment, successRate),
      ...actorMetrics,
      ...prefixed('critic', criticMetrics),
      ...(sampling.overlong_prompts === 'drop' && { 'problems/overlong': overlong }),
      seconds_per_iteration: (performance.now() - began) / 1000,
    };
    emit({ type: 'iteration', stage, iteration, metrics });
    recordTrajectories(
      training.folder,
      config.sampling.record,
      segmented,
      valuations,
      assignment,
      iteration,
    );
    iteration++;
    await checkpointIfDue(training, standing());
  }
  if (!training.stopping()) await evaluateHere();
  return endStage(training, standing());
}

/** PPO's ratios are of the whole distribution, and truncated sampling draws from another one. */
function tellOfTruncation({ config: { sampling }, emit }: Training): void {
  const { top_p, top_k } = sampling;
  if ((top_p === null || top_p === 1) && top_k === null) return;
  const text =
    'sampling.top_p and top_k: responses are drawn from the likeliest tokens only, and the policy gradient is of the whole distribution, so it is biased; leave them null to train on what is sampled';
  emit({ type: 'message', text });
}

const isDue = (every: number, iteration: number) =>
  every > 0 ? iteration % every === 0 : iteration === 0;
