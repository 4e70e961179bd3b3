/**
 * What runs next. There is one loop (`train.ts`); schedules differ in how the work of one iteration
 * overlaps, and in nothing else: on the same seeds both give the same numbers, because every draw
 * depends on what it is for and not on when it happens.
 *
 * `synchronous` (the paper's): sample all, reward all, value all; update the actor, then the
 * critic.
 * `pipelined`: s_0 is valued while the actor begins to sample; each response is rewarded and valued
 * as soon as it finishes; both models are updated at once. Nothing is stale: both wait for each
 * other at the end of the iteration.
 */
import { firstState, type SegmentedTrajectory, segmentTrajectory } from '../credit.ts';
import { type CriticContext, valuesOf } from '../critic.ts';
import { forEachInTurns, mapInTurns, runInTurns } from '../event-loop.ts';
import type { Problem, RewardedTrajectory, State, Trajectory, Valuation } from '../types.ts';
import { phase, profileOf, type Training } from './context.ts';
import { allRewarded, rewarded, sampleTrajectories, segmentationOf } from './rollouts.ts';

export interface Collected {
  readonly segmented: readonly SegmentedTrajectory<RewardedTrajectory>[];
  /** By the state's id. */
  readonly valuations: ReadonlyMap<string, Valuation>;
}

export interface Schedule {
  /** sample -> reward -> value */
  collect(
    training: Training,
    problems: readonly Problem[],
    iteration: number,
    successRate: number | null,
  ): Promise<Collected>;
  /** update actor, update critic */
  update<A, C>(actor: () => Promise<A>, critic: () => Promise<C>): Promise<[A, C]>;
}

const synchronous: Schedule = {
  async collect(training, problems, iteration, successRate) {
    phase(training, 'joint', iteration, 'sample');
    const { responses } = training.config.sampling;
    const trajectories = await sampleTrajectories(training, {
      problems,
      responses,
      purpose: 'joint',
      iteration,
    });
    phase(training, 'joint', iteration, 'reward');
    const judged = await allRewarded(training, trajectories);
    phase(training, 'joint', iteration, 'value');
    return valueAll(training, await segment(training, judged, successRate), iteration, new Map());
  },
  async update(actor, critic) {
    return [await actor(), await critic()];
  },
};

const pipelined: Schedule = {
  async collect(training, problems, iteration, successRate) {
    const { critic, config } = training;
    if (critic.needs === 'outcomes')
      return synchronous.collect(training, problems, iteration, successRate);
    const profile = profileOf(training, successRate);
    const valuer = new Valuer(training, iteration);
    if (critic.sharesFirstState)
      valuer.request(problems.map((problem, group) => firstState(problem, group, profile)));
    phase(training, 'joint', iteration, 'sample, reward, value');
    const { responses } = config.sampling;
    const rewards = new Map<number, Promise<RewardedTrajectory>>();
    const onFinished = (index: number, trajectory: Trajectory) => {
      rewards.set(index, rewarded(training, trajectory));
      rewards.get(index)!.catch(() => {}); // awaited below; it may fail before that
      const { states } = segmentTrajectory(
        trajectory,
        index,
        segmentationOf(training, config.sampling.max_new_tokens),
        profile,
        critic.sharesFirstState,
      );
      valuer.request(states.filter(({ trajectory: own }) => own !== null));
    };
    const trajectories = await sampleTrajectories(training, {
      problems,
      responses,
      purpose: 'joint',
      iteration,
      onFinished,
    });
    const judged = await Promise.all(
      trajectories.map(async (trajectory, i) => {
        const { reward, rewardParts } = await rewards.get(i)!;
        return { ...trajectory, reward, ...(rewardParts && { rewardParts }) };
      }),
    );
    return valueAll(
      training,
      await segment(training, judged, successRate),
      iteration,
      await valuer.finish(),
    );
  },
  update: (actor, critic) => Promise.all([actor(), critic()]),
};

export const schedules: Readonly<Record<Training['config']['joint']['schedule'], Schedule>> = {
  synchronous,
  pipelined,
};

function segment(
  training: Training,
  trajectories: readonly RewardedTrajectory[],
  successRate: number | null,
) {
  const profile = profileOf(training, successRate);
  const segmentation = segmentationOf(training, training.config.sampling.max_new_tokens);
  return mapInTurns(trajectories, (trajectory, i) =>
    segmentTrajectory(trajectory, i, segmentation, profile, training.critic.sharesFirstState),
  );
}

/** Values of all states, each once, together with those that are `known`. */
async function valueAll(
  { critic }: Training,
  segmented: readonly SegmentedTrajectory<RewardedTrajectory>[],
  iteration: number,
  known: ReadonlyMap<string, Valuation>,
): Promise<Collected> {
  const missing = await runInTurns(statesWithout(known, segmented));
  const rewards = segmented.map(({ trajectory: { group, reward } }) => ({ group, reward }));
  const values = await valuesOf(critic, missing, { ...contextOf(iteration), rewards });
  const valuations = new Map(known);
  await forEachInTurns(missing, (state, i) => {
    valuations.set(state.id, values[i]!);
  });
  return { segmented, valuations };
}

function* statesWithout(
  known: ReadonlyMap<string, Valuation>,
  segmented: readonly SegmentedTrajectory[],
): Generator<void, State[]> {
  const shared = new Set<string>();
  const missing: State[] = [];
  for (const { states } of segmented) {
    yield;
    for (const state of states) {
      if (known.has(state.id) || shared.has(state.id)) continue;
      if (state.trajectory === null) shared.add(state.id);
      missing.push(state);
    }
  }
  return missing;
}

const contextOf = (iteration: number): CriticContext => ({ purpose: 'joint', iteration });

/** Asks the critic for what has gathered since its last answer, one request at a time. */
class Valuer {
  readonly #training: Training;
  readonly #iteration: number;
  readonly #valuations = new Map<string, Valuation>();
  #waiting: State[] = [];
  #running: Promise<void> | null = null;
  #failure: Promise<void> = Promise.resolve();
  #error: { error: unknown } | null = null;

  constructor(training: Training, iteration: number) {
    this.#training = training;
    this.#iteration = iteration;
  }

  request(states: readonly State[]): void {
    if (states.length === 0) return;
    this.#waiting.push(...states);
    if (this.#running) return;
    this.#running = this.#run().finally(() => {
      this.#running = null;
    });
    this.#failure = this.#running.catch((error: unknown) => {
      this.#error ??= { error };
    });
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const states = this.#waiting;
      this.#waiting = [];
      const values = await valuesOf(this.#training.critic, states, contextOf(this.#iteration));
      states.forEach((state, i) => {
        this.#valuations.set(state.id, values[i]!);
      });
    }
  }

  /** When all that was asked for is answered; throws what went wrong. */
  async finish(): Promise<ReadonlyMap<string, Valuation>> {
    while (this.#running) await this.#failure;
    if (this.#error) throw this.#error.error;
    return this.#valuations;
  }
}
