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
import { actorRollouts } from './rollouts.ts';
import { recordTrajectories, rolloutMetrics } from './runs/iteration-record.ts';
import { schedules } from './schedule.ts';
import { paperFormat } from './text/critic-prompt.ts';
import { traceSources } from './traces.ts';
import { bestCriticFolder, checkpoint, phase, prefixed, type Standing, type Training } from './training.ts';

/** Stage 1: the critic imitates an oracle's traces. */
export async function superviseCritic(training: Training, start: Standing): Promise<Standing> {
  const { config, critic, task, emit } = training;
  const o = config.critic_sft;
  if (!critic.imitate)
    throw new Error(`critic "${critic.name}" can't imitate an oracle: leave the stage critic-sft out`);
  const { train, heldOut } = traceSources(config, task, task.criticFormat ?? paperFormat);
  const stage = 'critic-sft';
  emit({ type: 'stage', stage, iterations: o.steps + o.cooldown, from: 0 });
  let coolFrom = o.steps;
  let step = 0;
  for (; step < coolFrom + o.cooldown && !training.stopping(); step++) {
    phase(training, stage, step, 'imitate');
    const update = { learningRate: plateauRate(o, step, coolFrom), maxGradNorm: o.max_grad_norm };
    const metrics = await critic.imitate(train.take(o.batch), update);
    const traces = prefixed('traces', { kept: train.kept, ...train.dropped });
    emit({
      type: 'iteration',
      stage,
      iteration: step,
      metrics: { ...prefixed('critic', metrics), ...traces },
    });
    if (critic.rationaleLoss && heldOut.length > 0 && (step + 1) % o.evaluate_every === 0) {
      const loss = await critic.rationaleLoss(heldOut);
      emit({ type: 'evaluation', stage, iteration: step + 1, metrics: { 'critic/rationale_loss': loss } });
      if (step < coolFrom && o.stop_at_rationale_loss !== null && loss <= o.stop_at_rationale_loss)
        coolFrom = step + 1;
    }
  }
  const { kept, dropped } = train;
  const causes = `dropped ${dropped.disagrees} (disagree with the outcome) and ${dropped.unparsable} (unparsable)`;
  emit({ type: 'message', text: `stage 1: ${kept} traces kept, ${causes}` });
  await evaluateCritic(training, stage, step);
  return end(training, { ...start, stage, iteration: step });
}

/** Stage 2: REINFORCE on outcomes of frozen actors. Ends with the best critic by held-out error. */
export async function pretrainCritic(training: Training, start: Standing): Promise<Standing> {
  const { config, critic, task, emit, folder } = training;
  const o = config.critic_rl;
  if (!critic.learn) throw new Error(`critic "${critic.name}" does not learn: leave the stage critic-rl out`);
  const stage = 'critic-rl';
  emit({ type: 'stage', stage, iterations: o.updates, from: 0 });
  const fromActor = task.frozenRollouts ? Math.round(o.actor_share * o.states) : o.states;
  const successRate = fromActor > 0 ? await knownSuccessRate(training, start) : start.successRate;
  let best = Number.POSITIVE_INFINITY;
  const keepBest = async (iteration: number) => {
    const mse = await evaluateCritic(training, stage, iteration);
    if (mse >= best) return;
    best = mse;
    await critic.save?.(bestCriticFolder(folder), true);
  };
  await keepBest(0);
  let iteration = 0;
  for (; iteration < o.updates && !training.stopping(); iteration++) {
    phase(training, stage, iteration, 'value');
    const from = iteration * o.states;
    const rollouts = [
      ...(task.frozenRollouts?.('train', config.seed, from, o.states - fromActor) ?? []),
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
    const rate = learningRate({ ...o, peak: o.learning_rate }, iteration, o.updates);
    const metrics = await critic.learn(outcomes, { learningRate: rate, maxGradNorm: o.max_grad_norm });
    emit({ type: 'iteration', stage, iteration, metrics: prefixed('critic', metrics) });
    if ((iteration + 1) % o.evaluate_every === 0 || iteration + 1 === o.updates)
      await keepBest(iteration + 1);
  }
  await critic.load?.(bestCriticFolder(folder));
  const text = `stage 2: ends with the critic of the least held-out error, ${best.toFixed(4)}`;
  emit({ type: 'message', text });
  return end(training, { stage, iteration, successRate });
}

/** Stage 3: the actor by PPO with the critic's credit, the critic by REINFORCE, together. */
export async function trainJointly(training: Training, start: Standing): Promise<Standing> {
  const { config, critic, emit } = training;
  const o = config.joint;
  const stage = 'joint';
  const schedule = schedules[o.schedule];
  emit({ type: 'stage', stage, iterations: o.iterations, from: 0 });
  let successRate = await knownSuccessRate(training, start);
  await passGate(training, successRate);
  let iteration = 0;
  for (; iteration < o.iterations && !training.stopping(); iteration++) {
    const began = performance.now();
    if (isDue(config.evaluation.every, iteration)) await evaluate(training, iteration, successRate);
    const count = config.sampling.problems;
    const { problems, overlong } = await fittingProblems(training, 'train', iteration * count, count);
    const { segmented, valuations } = await schedule.collect(training, problems, iteration, successRate);
    const { gamma, lambda, scale } = config.credit;
    const fallback = config.gates.explained_variance ? 'group-mean' : 'off';
    const assignment = assignCredit(segmented, valuations, { gamma, lambda, scale, fallback });
    phase(training, stage, iteration, 'update');
    const credited = segmented.map(({ trajectory }, i) => ({ trajectory, credit: assignment.credits[i]! }));
    const rate = learningRate({ ...o, peak: o.learning_rate }, iteration, o.iterations);
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
      ...(config.sampling.overlong_prompts === 'drop' && { 'problems/overlong': overlong }),
      seconds_per_iteration: (performance.now() - began) / 1000,
    };
    emit({ type: 'iteration', stage, iteration, metrics });
    recordTrajectories(training.folder, config.sampling.record, segmented, assignment, iteration);
    if (isDue(config.checkpoints.every, iteration + 1))
      await checkpoint(training, { stage, iteration: iteration + 1, successRate }, false);
  }
  await evaluate(training, iteration, successRate);
  return end(training, { stage, iteration, successRate });
}

const isDue = (every: number, iteration: number) => (every > 0 ? iteration % every === 0 : iteration === 0);

/** The stage's checkpoint. The next stage goes on from it, with fresh optimizers, as it would in a run of its own. */
async function end(training: Training, standing: Standing): Promise<Standing> {
  const path = await checkpoint(training, standing, !training.stopping());
  if (training.critic.save) await training.critic.load?.(join(path, 'critic'));
  return standing;
}
