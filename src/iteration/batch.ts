/**
 * The pieces of an iteration that a run and a host share: cut the responses, value all states,
 * options of the credit, learn from the outcomes.
 */
import { type CreditOptions, type SegmentedTrajectory, segmentTrajectory } from '../credit.ts';
import type { Critic, CriticContext } from '../critic.ts';
import { forEachYielding, mapYielding, runYielding } from '../event-loop.ts';
import { type LearningRateSchedule, learningRate } from '../math/learning-rate.ts';
import type { Metrics } from '../run-folder/events.ts';
import type { BudgetedSegmentation } from '../text/segment.ts';
import type {
  ActorProfile,
  Outcome,
  RewardedTrajectory,
  State,
  Trajectory,
  Valuation,
} from '../types.ts';
import { prefixed } from './metrics.ts';

export type SegmentedBatch<T extends RewardedTrajectory = RewardedTrajectory> =
  readonly SegmentedTrajectory<T>[];

/** Value estimates by the state's id. */
export type Valuations = ReadonlyMap<string, Valuation>;

export const segmentAll = <T extends Trajectory>(
  trajectories: readonly T[],
  segmentation: BudgetedSegmentation,
  actor: ActorProfile,
  { sharesFirstState }: Pick<Critic, 'sharesFirstState'>,
): Promise<SegmentedTrajectory<T>[]> =>
  mapYielding(trajectories, (trajectory, i) =>
    segmentTrajectory(trajectory, i, segmentation, actor, sharesFirstState),
  );

/**
 * Value estimates of all states of a batch, each state once.
 *
 * @param value asks the critic
 * @param known estimates that were made before
 */
export async function valueAll(
  value: (states: readonly State[], context: CriticContext) => Promise<readonly Valuation[]>,
  segmented: SegmentedBatch,
  context: CriticContext,
  known: Valuations = new Map(),
): Promise<Valuations> {
  const missing = await runYielding(statesWithout(known, segmented));
  const rewards = segmented.map(({ trajectory: { group, reward } }) => ({ group, reward }));
  const values = await value(missing, { ...context, rewards });
  const valuations = new Map(known);
  await forEachYielding(missing, (state, i) => {
    valuations.set(state.id, values[i]!);
  });
  return valuations;
}

function* statesWithout(
  known: Valuations,
  segmented: SegmentedBatch,
): Generator<void, readonly State[]> {
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

/** How a batch's credit is assigned. The gate is for critics that value states. */
export function creditOptions(
  config: {
    readonly credit: Pick<CreditOptions, 'gamma' | 'lambda'>;
    readonly gates: { readonly explained_variance: boolean };
  },
  { needs }: Pick<Critic, 'needs'>,
  scale: CreditOptions['scale'],
): CreditOptions {
  const { gamma, lambda } = config.credit;
  const gated = config.gates.explained_variance && needs === 'states';
  return { gamma, lambda, scale, fallback: gated ? 'group-mean' : 'off' };
}

/** The critic's options of a stage. */
export interface Learning extends Omit<LearningRateSchedule, 'peak'> {
  readonly learning_rate: number;
  readonly max_grad_norm: number | null;
}

/**
 * One update of the critic.
 *
 * @param total how many there will be, for the learning rate's decay
 * @returns its metrics, under `critic/`
 */
export async function learnFrom(
  critic: Critic,
  outcomes: readonly Outcome[],
  options: Learning,
  iteration: number,
  total: number,
): Promise<Metrics> {
  if (!critic.learn) return {};
  const rate = learningRate({ ...options, peak: options.learning_rate }, iteration, total);
  const update = { learningRate: rate, maxGradNorm: options.max_grad_norm };
  return prefixed('critic', await critic.learn(outcomes, update));
}
