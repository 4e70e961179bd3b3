/**
 * GenAC's first two stages (arXiv 2604.10701), in which the actor is frozen and the critic
 * learns. Each starts from a `StageState` and ends with a checkpoint.
 *
 * Where they depart from the paper:
 * - Stage 1 may stop by how well held-out rationales are predicted: steps alone don't tell when the
 *   critic has learned to estimate values.
 * - Stage 2 ends with the critic of the least held-out error (`critic_rl.keep: best`).
 */
import { valuesOf } from '../checked-critic.ts';
import { evaluateCritic, heldOutError, knownSuccessRate } from '../evaluation/held-out.ts';
import { learnFrom } from '../iteration/batch.ts';
import {
  bestCriticFolder,
  boundary,
  checkpointIfDue,
  endStage,
  keepBestCritic,
  phase,
  type StageState,
  type Training,
} from '../iteration/context.ts';
import { Spending } from '../iteration/metrics.ts';
import { allStatesOfRollouts, statesOfRollouts } from '../iteration/rollout-states.ts';
import { actorRollouts } from '../iteration/rollouts.ts';
import { paperFormat } from '../text/critic-prompt.ts';
import { UserError } from '../user-error.ts';
import { apiOf, gatherTraces } from './gather.ts';
import { mustImitate, SftLoop } from './sft-loop.ts';
import { traceSources } from './traces.ts';

/** Stage 1: the critic imitates an oracle's traces. */
export async function fineTuneCritic(training: Training, start: StageState): Promise<StageState> {
  const { config, critic, task, emit, folder } = training;
  mustImitate(critic);
  const stage = 'critic-sft';
  const { steps, cooldown } = config.critic_sft;
  emit({ type: 'stage', stage, iterations: steps + cooldown, from: start.iteration });
  const api = apiOf(config);
  const gathered = api && (await gatherTraces(training, api, start));
  if (api && !gathered) return endStage(training, start);
  const sources = traceSources(config, task, task.criticFormat ?? paperFormat, gathered?.traces);
  const imitation = new SftLoop(critic, sources, config.critic_sft, start);
  const successRate = gathered?.successRate ?? start.successRate;
  const stageState = () => ({ stage, successRate, ...imitation.stageState }) as const;
  const evaluateAt = async (iteration: number) => {
    if (!folder.wasMeasured({ stage, iteration }, heldOutError))
      await evaluateCritic(training, stage, iteration);
  };
  if (start.iteration === 0) await evaluateAt(0);
  for (;;) {
    const iteration = imitation.stageState.iteration;
    if (
      imitation.done(training.config.critic_sft) ||
      !(await boundary(training, { stage, iteration }))
    )
      break;
    phase(training, stage, iteration, 'imitate');
    const { metrics, rationaleLoss } = await imitation.next(training.config.critic_sft);
    emit({ type: 'iteration', stage, iteration, metrics: { ...metrics, ...gathered?.metrics } });
    if (rationaleLoss !== null) {
      const found = { 'critic/rationale_loss': rationaleLoss };
      emit({ type: 'evaluation', stage, iteration: iteration + 1, metrics: found });
    }
    await checkpointIfDue(training, stageState());
  }
  if (training.stopping()) return endStage(training, stageState());
  const { kept, disagrees, unparsable } = imitation.traces;
  const causes = `dropped ${disagrees} (disagree with the outcome) and ${unparsable} (unparsable)`;
  emit({ type: 'message', text: `stage 1: ${kept} traces kept, ${causes}` });
  await evaluateAt(imitation.stageState.iteration);
  return endStage(training, stageState());
}

/**
 * Stage 2: REINFORCE on outcomes of frozen actors. Ends with the best critic by held-out error, or
 * with the last one (`critic_rl.keep`).
 */
export async function pretrainCritic(training: Training, start: StageState): Promise<StageState> {
  const { config, critic, task, emit, folder } = training;
  const { steps, states: count, actor_share } = config.critic_rl;
  if (!critic.learn)
    throw new UserError(`critic "${critic.name}" does not learn: leave the stage critic-rl out`);
  const stage = 'critic-rl';
  let { iteration } = start;
  emit({ type: 'stage', stage, iterations: steps, from: iteration });
  // What holds from the first iteration on holds for the first look, too.
  const isNew = iteration === 0;
  const goesOn = !isNew || (await boundary(training, { stage, iteration }));
  const fromActor = task.frozenRollouts ? Math.round(actor_share * count) : count;
  const successRate =
    fromActor > 0 && goesOn ? await knownSuccessRate(training, start) : start.successRate;
  let best = start.progress.best ?? Number.POSITIVE_INFINITY;
  const stageState = () => {
    // JSON has no infinity: where no critic is kept, there is no best error.
    const progress = Number.isFinite(best) ? { best } : {};
    return { stage, iteration, successRate, progress } as const;
  };
  const keepsBest = config.critic_rl.keep === 'best';
  const look = async () => {
    const mse = await evaluateCritic(training, stage, iteration);
    if (mse < best && keepsBest && (await keepBestCritic(training))) best = mse;
  };
  if (isNew && goesOn && !folder.wasMeasured({ stage, iteration }, heldOutError)) await look();
  const next = async () =>
    isNew && iteration === 0 ? !training.stopping() : boundary(training, { stage, iteration });
  while (iteration < steps && (await next())) {
    const o = training.config.critic_rl;
    phase(training, stage, iteration, 'value');
    const spending = new Spending();
    const from = iteration * count;
    const rollouts = [
      ...(task.frozenRollouts?.('train', config.seed, from, count - fromActor) ?? []),
      ...(await actorRollouts(training, 'train', from, fromActor, 1, stage, successRate)),
    ];
    const states =
      o.states_per_response === 'all'
        ? allStatesOfRollouts(rollouts, stage, from)
        : statesOfRollouts(rollouts, config.seed, stage, from);
    const valuations = await valuesOf(
      critic,
      states.map(({ state }) => state),
      { purpose: stage, iteration, report: spending.add },
    );
    phase(training, stage, iteration, 'update');
    const outcomes = states.map(({ state, value }, i) => ({
      state,
      valuation: valuations[i]!,
      rewards: [value],
    }));
    const learned = await learnFrom(critic, outcomes, o, iteration, steps);
    const metrics = { ...spending.metrics, ...learned };
    emit({ type: 'iteration', stage, iteration, metrics });
    iteration++;
    if (iteration % o.evaluate_every === 0 || iteration === steps) await look();
    await checkpointIfDue(training, stageState());
  }
  if (training.stopping()) return endStage(training, stageState());
  if (Number.isFinite(best)) {
    await critic.load?.(bestCriticFolder(folder));
    const text = `stage 2: ends with the critic of the least held-out error, ${best.toFixed(4)}`;
    emit({ type: 'message', text });
  }
  return endStage(training, stageState());
}
