/**
 * The verbs of an iteration of joint training: sample, reward, value, update. There is one loop
 * (`train.ts`). Schedules differ in how the verbs' work overlaps, and in nothing else: on the same
 * seeds both give the same numbers, because every draw depends on what it is for and not on when it
 * happens.
 *
 * `synchronous` (the paper's): sample all, reward all, value all; update the actor, then the
 * critic.
 * `pipelined`: s_0 is valued while the actor begins to sample; each response is rewarded and valued
 * as soon as it finishes; both models are updated at once. Nothing is stale: both wait for each
 * other at the end of the iteration.
 */

import { valuesOf } from '../checked-critic.ts';
import { segmentTrajectory } from '../credit.ts';
import type { CriticContext } from '../critic.ts';
import { firstState } from '../state.ts';
import type { BudgetedSegmentation } from '../text/segment.ts';
import type { ActorProfile, Problem, Rewarded, SampledTrajectory, State } from '../types.ts';
import { type SegmentedBatch, type Valuations, valueAll } from './batch.ts';
import { actorOf, phase, type Training } from './context.ts';
import type { Spending } from './metrics.ts';
import { promptIdsOf } from './prompt-ids.ts';
import { allRewarded, rewarded, sampleTrajectories } from './rollouts.ts';
import { Valuer } from './valuer.ts';

export type RewardedSample = SampledTrajectory & Rewarded;

/** One iteration's work. Each verb is called once, in this order. */
export interface Schedule {
  /** `sampling.num_generations` responses of the actor to each problem. */
  sample(problems: readonly Problem[]): Promise<readonly SampledTrajectory[]>;
  reward(responses: readonly SampledTrajectory[]): Promise<readonly RewardedSample[]>;
  /** The critic's estimates of all states. */
  value(segmented: SegmentedBatch): Promise<Valuations>;
  /** Updates the actor and the critic. */
  update<A, C>(actor: () => Promise<A>, critic: () => Promise<C>): Promise<[A, C]>;
}

/** The parts of an iteration other than the models. */
export interface IterationPlace {
  readonly iteration: number;
  readonly actor: ActorProfile;
  readonly segmentation: BudgetedSegmentation;
  /** What the critic reports of its estimates. */
  readonly spending: Spending;
}

type MakeSchedule = (training: Training, place: IterationPlace) => Schedule;

const synchronous: MakeSchedule = (training, { iteration, spending }) => ({
  sample(problems) {
    phase(training, 'joint', iteration, 'sample');
    const { num_generations: responses } = training.config.sampling;
    const request = { problems, responses, purpose: 'joint', iteration };
    return sampleTrajectories(training, request);
  },
  reward(responses) {
    phase(training, 'joint', iteration, 'reward');
    return allRewarded(training, responses);
  },
  value(segmented) {
    phase(training, 'joint', iteration, 'value');
    return valueAll(valueBy(training), segmented, contextOf(iteration, spending));
  },
  async update(actor, critic) {
    return [await actor(), await critic()];
  },
});

const pipelined: MakeSchedule = (training, place) => {
  const { critic, config } = training;
  if (critic.needs === 'outcomes' || critic.wholeBatches)
    return { ...synchronous(training, place), update: together };
  const { iteration, actor, segmentation, spending } = place;
  const context = contextOf(iteration, spending);
  const valuer = new Valuer((states) => valuesOf(critic, states, context));
  const rewards = new Map<number, Promise<RewardedSample>>();
  const finished = (index: number, response: SampledTrajectory) => {
    const reward = rewarded(training, response);
    rewards.set(index, reward);
    reward.catch(() => {}); // awaited in `reward`; it may fail before that
    const { sharesFirstState } = critic;
    const cut = segmentTrajectory(response, index, segmentation, actor, sharesFirstState);
    valuer.request(cut.states.filter(({ trajectory }) => trajectory !== null));
  };
  return {
    async sample(problems) {
      if (critic.sharesFirstState) {
        const ids = await promptIdsOf(actorOf(training).model, problems);
        valuer.request(problems.map((p, group) => firstState(p, ids[group]!, group, actor)));
      }
      phase(training, 'joint', iteration, 'sample, reward, value');
      const { num_generations: responses } = config.sampling;
      const request = { problems, responses, purpose: 'joint', iteration };
      return sampleTrajectories(training, { ...request, onFinished: finished });
    },
    reward: (responses) =>
      Promise.all(
        responses.map(async (response, i) => {
          const { reward, rewardParts } = await rewards.get(i)!;
          return { ...response, reward, ...(rewardParts && { rewardParts }) };
        }),
      ),
    async value(segmented) {
      return valueAll(valueBy(training), segmented, context, await valuer.finish());
    },
    update: together,
  };
};

export const schedules: Readonly<Record<Training['config']['joint']['schedule'], MakeSchedule>> = {
  synchronous,
  pipelined,
};

const together: Schedule['update'] = (actor, critic) => Promise.all([actor(), critic()]);

const valueBy =
  ({ critic }: Training) =>
  (states: readonly State[], context: CriticContext) =>
    valuesOf(critic, states, context);

const contextOf = (iteration: number, { add }: Spending): CriticContext => ({
  ...{ purpose: 'joint', iteration, report: add },
});
