/**
 * GenAC's first two stages (arXiv 2604.10701), in which the actor stands still and the critic learns. Each starts from where a run stands and ends with a checkpoint.
 *
 * Where they depart from the paper:
 * - Stage 1 may stop by how well held-out rationales are predicted: steps alone don't tell when the critic has learned to judge.
 * - Stage 2 ends with the critic of the least held-out error, not with the last one.
 */
import { valuesOf } from './critic.ts';
import { statesOfRollouts } from './evaluation/critic-error.ts';
import { evaluateCritic, knownSuccessRate } from './evaluation/held-out.ts';
import { learningRate, plateauRate } from './math/learning-rate.ts';
import { apiOf, gatherTraces } from './oracle/gather.ts';
import { actorRollouts } from './rollouts.ts';
import { paperFormat } from './text/critic-prompt.ts';
import { traceSources } from './traces.ts';
import {
  bestCriticFolder,
  boundary,
  checkpointIfDue,
  endStage,
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
  if (api && !gathered) return endStage(training, start);
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
  if (training.stopping()) return endStage(training, standing());
  const { kept, dropped } = train;
  const causes = `dropped ${dropped.disagrees} (disagree with the outcome) and ${dropped.unparsable} (unparsable)`;
  emit({ type: 'message', text: `stage 1: ${kept} traces kept, ${causes}` });
  await evaluateCritic(training, stage, step);
  return endStage(training, standing());
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
  if (training.stopping()) return endStage(training, standing());
  await critic.load?.(bestCriticFolder(folder));
  const text = `stage 2: ends with the critic of the least held-out error, ${best.toFixed(4)}`;
  emit({ type: 'message', text });
  return endStage(training, standing());
}
