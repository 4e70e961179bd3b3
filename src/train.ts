/**
 * GenAC's three stages (arXiv 2604.10701), each of which starts from where a run stands and ends with a checkpoint.
 *
 * Where it departs from the paper:
 * - Stage 1 may stop by how well held-out rationales are predicted: steps alone don't tell when the critic has learned to judge.
 * - Stage 2 ends with the critic of the least held-out error, not with the last one.
 * - Stage 3 begins only if the critic passes a gate on held-out states, and where the critic's values explain nothing of a batch the group mean stands in.
 */
import { join } from 'node:path';
import { updateActor } from './actor-update.ts';
import { assignCredit } from './credit.ts';
import { valuesOf } from './critic.ts';
import { statesOfRollouts } from './evaluation/critic-error.ts';
import { evaluate, evaluateCritic, knownSuccessRate, passGate } from './evaluation/held-out.ts';
import { fittingProblems } from './fitting.ts';
import { learningRate, plateauRate } from './math/learning-rate.ts';
import { smoothSuccessRate } from './math/success-rate.ts';
import { apiOf, gatherTraces } from './oracle/gather.ts';
import { actorRollouts } from './rollouts.ts';
import { recordTrajectories, rolloutMetrics } from './runs/iteration-record.ts';
import { schedules } from './schedule.ts';
import { paperFormat } from './text/critic-prompt.ts';
import { traceSources } from './traces.ts';
import {
  bestCriticFolder,
  boundary,
  checkpoint,
  checkpointIfDue,
  keepBestCritic,
  phase,
  prefixed,
  type Standing,
  type Training,
} from './training.ts';

/** Stage 1: the critic imitates an oracle's traces. */
export async function superviseCritic(training: Training, start: Standing): Promise<Standing> {
  const { config, critic, task, emit } = training;
  if (!critic.imitate)
    throw new Error(`critic "${critic.name}" can't imitate an oracle: leave the stage critic-sft out`);
  const stage = 'critic-sft';
  const { steps, cooldown } = config.critic_sft;
  emit({ type: 'stage', stage, iterations: steps + cooldown, from: start.iteration });
  const api = apiOf(config);
  const gathered = api && (await gatherTraces(training, api, start));
  if (api && !gathered) return end(training, start);
  const format = task.criticFormat ?? paperFormat;
  const { train, heldOut } = traceSources(config, task, format, gathered?.traces);
  train.seek(start.progress);
  let coolFrom = start.progress.cool_from ?? steps;
  let step = start.iteration;
  const standing = () =>
    ({
      stage,
      iteration: step,
      successRate: gathered?.successRate ?? start.successRate,
      progress: { ...train.position, cool_from: coolFrom },
    }) as const;
  if (step === 0) await evaluateCritic(training, stage, step);
  while (step < coolFrom + cooldown && (await boundary(training, { stage, iteration: step }))) {
    const o = training.config.critic_sft;
    phase(training, stage, step, 'imitate');
    const update = { learningRate: plateauRate(o, step, coolFrom), maxGradNorm: o.max_grad_norm };
    const metrics = await critic.imitate(train.take(o.batch), update);
    const traces = prefixed('traces', { kept: train.kept, ...train.dropped });
    emit({
      type: 'iteration',
      stage,
      iteration: step,
      metrics: { ...prefixed('critic', metrics), ...traces, ...gathered?.metrics },
    });
    step++;
    if (critic.rationaleLoss && heldOut.length > 0 && step % o.evaluate_every === 0) {
      const loss = await critic.rationaleLoss(heldOut);
      emit({ type: 'evaluation', stage, iteration: step, metrics: { 'critic/rationale_loss': loss } });
      const learned = o.stop_at_rationale_loss !== null && loss <= o.stop_at_rationale_loss;
      if (step <= coolFrom && learned) coolFrom = step;
    }
    await checkpointIfDue(training, standing());
  }
  if (training.stopping()) return end(training, standing());
  const { kept, dropped } = train;
  const causes = `dropped ${dropped.disagrees} (disagree with the outcome) and ${dropped.unparsable} (unparsable)`;
  emit({ type: 'message', text: `stage 1: ${kept} traces kept, ${causes}` });
  await evaluateCritic(training, stage, step);
  return end(training, standing());
}

/** Stage 2: REINFORCE on outcomes of frozen actors. Ends with the best critic by held-out error. */
export async function pretrainCritic(training: Training, start: Standing): Promise<Standing> {
  const { config, critic, task, emit, folder } = training;
  const { updates, states: count, actor_share } = config.critic_rl;
  if (!critic.learn) throw new Error(`critic "${critic.name}" does not learn: leave the stage critic-rl out`);
  const stage = 'critic-rl';
  const fromActor = task.frozenRollouts ? Math.round(actor_share * count) : count;
  const successRate = fromActor > 0 ? await knownSuccessRate(training, start) : start.successRate;
  let iteration = start.iteration;
  let best = start.progress.best ?? Number.POSITIVE_INFINITY;
  const standing = () => ({ stage, iteration, successRate, progress: { best } }) as const;
  emit({ type: 'stage', stage, iterations: updates, from: iteration });
  const keepBest = async () => {
    const mse = await evaluateCritic(training, stage, iteration);
    if (mse >= best) return;
    best = mse;
    await keepBestCritic(training);
  };
  if (iteration === 0) await keepBest();
  while (iteration < updates && (await boundary(training, { stage, iteration }))) {
    const o = training.config.critic_rl;
    phase(training, stage, iteration, 'value');
    const from = iteration * count;
    const rollouts = [
      ...(task.frozenRollouts?.('train', config.seed, from, count - fromActor) ?? []),
      ...(await actorRollouts(training, 'train', from, fromActor, 1, stage, successRate)),
    ];
    const states = statesOfRollouts(rollouts, config.seed, stage, from);
    const valuations = await valuesOf(
      critic,
      states.map(({ state }) => state),
      { purpose: stage, iteration },
    );
    phase(training, stage, iteration, 'update');
    const outcomes = states.map(({ state, value }, i) => ({
      state,
      valuation: valuations[i]!,
      rewards: [value],
    }));
    const rate = learningRate({ ...o, peak: o.learning_rate }, iteration, updates);
    const metrics = await critic.learn(outcomes, { learningRate: rate, maxGradNorm: o.max_grad_norm });
    emit({ type: 'iteration', stage, iteration, metrics: prefixed('critic', metrics) });
    iteration++;
    if (iteration % o.evaluate_every === 0 || iteration === updates) await keepBest();
    await checkpointIfDue(training, standing());
  }
  if (training.stopping()) return end(training, standing());
  await critic.load?.(bestCriticFolder(folder));
  const text = `stage 2: ends with the critic of the least held-out error, ${best.toFixed(4)}`;
  emit({ type: 'message', text });
  return end(training, standing());
}

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
    const progress: Readonly<Record<string, number>> = Number.isFinite(best) ? { best_success: best } : {};
    return { stage, iteration, successRate, progress } as const;
  };
  const evaluateHere = async () => {
    const success = await evaluate(training, iteration, successRate);
    if (!training.config.checkpoints.best || success <= best) return;
    best = success;
    await checkpoint(training, standing(), false, 'best');
  };
  if (iteration === 0) await passGate(training, successRate);
  while (iteration < iterations && (await boundary(training, { stage, iteration }))) {
    const began = performance.now();
    const { joint: o, credit, gates, evaluation, sampling } = training.config;
    if (isDue(evaluation.every, iteration)) await evaluateHere();
    const count = sampling.problems;
    const { problems, overlong } = await fittingProblems(training, 'train', iteration * count, count);
    const schedule = schedules[o.schedule];
    const { segmented, valuations } = await schedule.collect(training, problems, iteration, successRate);
    const { gamma, lambda, scale } = credit;
    const fallback = gates.explained_variance ? 'group-mean' : 'off';
    const assignment = assignCredit(segmented, valuations, { gamma, lambda, scale, fallback });
    phase(training, stage, iteration, 'update');
    const credited = segmented.map(({ trajectory }, i) => ({ trajectory, credit: assignment.credits[i]! }));
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
    recordTrajectories(training.folder, config.sampling.record, segmented, assignment, iteration);
    iteration++;
    await checkpointIfDue(training, standing());
  }
  if (!training.stopping()) await evaluateHere();
  return end(training, standing());
}

const isDue = (every: number, iteration: number) => (every > 0 ? iteration % every === 0 : iteration === 0);

/** The stage's checkpoint. The next stage goes on from it, with fresh optimizers, as it would in a run of its own. */
async function end(training: Training, standing: Standing): Promise<Standing> {
  const complete = !training.stopping();
  const path = await checkpoint(training, standing, complete);
  if (complete && training.critic.save) await training.critic.load?.(join(path, 'critic'));
  return standing;
}
