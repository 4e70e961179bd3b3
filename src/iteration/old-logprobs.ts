/**
 * The log-probabilities that PPO's ratios start from, and how far those of the sampler are from
 * those of the trained weights.
 */
import { importanceWeights, RatioSummary, samplingGap } from '../math/importance-sampling.ts';
import type { Metrics } from '../run-folder/events.ts';
import type { Credit, SampledTrajectory } from '../types.ts';
import { UserError } from '../user-error.ts';
import { actorOf, type Training } from './context.ts';

export interface CreditedTrajectory {
  readonly trajectory: SampledTrajectory;
  readonly credit: Credit;
}

/**
 * Largest KL between the served and the trained weights that rounding explains, in nats per token.
 */
const ROUNDING = { float32: 1e-3, bfloat16: 1e-2 };

/**
 * Returns the KL per token between the sampling weights and the trained ones, before the
 * first step of an iteration has moved them: 0 but for rounding. This compares what both computed
 * (log-probs of the same tokens), not what a counter says.
 *
 * @throws Error where they differ by more than rounding
 */
export function servedKl(
  statistics: Readonly<Record<string, number>>,
  dtype: keyof typeof ROUNDING,
  limit: number | null = null,
): number {
  const { approximate_kl = 0, tokens = 0 } = statistics;
  const kl = tokens > 0 ? approximate_kl / tokens : 0;
  if (kl <= (limit ?? ROUNDING[dtype])) return kl;
  throw new UserError(
    `the actor sampled with other weights than it trains: the log-probabilities of the same tokens differ by a KL of ${kl.toPrecision(3)} nats per token before any update, ` +
      `where ${limit === null ? `rounding explains ${ROUNDING[dtype]} (${dtype})` : `actor.max_sampling_kl allows ${limit}`}; nothing was updated. Check the ` +
      'model for layers that compute otherwise when sampling (dropout, a cache of its own), ' +
      'use dtype: float32, or actor.old_logprobs: recomputed with actor.importance_sampling and a ' +
      'larger actor.max_sampling_kl',
  );
}

/** A trajectory as the loss reads it. */
export interface Member {
  readonly trajectory: SampledTrajectory;
  readonly advantages: Float32Array;
  readonly oldLogprobs: Float32Array;
}

/**
 * What the ratios start from, and the advantages: with `old_logprobs: recomputed` those of the
 * trained weights, corrected by importance sampling where that is asked for.
 *
 * @returns also metrics of how far the sampler is from the trained weights, under TRL's names
 * @throws UserError where that is farther than the limit
 */
export async function withOldLogprobs(
  training: Training,
  credited: readonly CreditedTrajectory[],
): Promise<{ members: readonly Member[]; metrics: Metrics }> {
  const { model: actor, options } = actorOf(training);
  const { old_logprobs, importance_sampling: correction, max_sampling_kl } = options;
  const plain = credited.map(({ trajectory, credit: { advantages } }): Member => {
    return { trajectory, advantages, oldLogprobs: trajectory.logprobs };
  });
  if (old_logprobs === 'sampler') return { members: plain, metrics: {} };
  const old = await actor.logprobs(
    credited.map((c) => c.trajectory),
    training.config.sampling.temperature,
  );
  const written = plain.map(({ trajectory: { actorMask, logprobs } }, i) => {
    const own = (all: Float32Array) => (actorMask ? all.filter((_, t) => actorMask[t] === 1) : all);
    return [own(old[i]!), own(logprobs)] as const;
  });
  const gap = samplingGap(written);
  servedKl({ approximate_kl: gap.kl, tokens: 1 }, actor.loaded.dtype, max_sampling_kl);
  const metrics = {
    'actor/sampling_kl': gap.kl,
    'sampling/sampling_logp_difference/mean': gap.mean,
    'sampling/sampling_logp_difference/p99': gap.p99,
    'sampling/sampling_logp_difference/max': gap.max,
  };
  if (correction === null)
    return { members: plain.map((one, i) => ({ ...one, oldLogprobs: old[i]! })), metrics };
  const ratios = new RatioSummary();
  const members = plain.map(({ trajectory, advantages }, i) => {
    const { mode, cap } = correction;
    const weights = importanceWeights(old[i]!, trajectory.logprobs, mode, cap);
    ratios.add(weights);
    return {
      ...{ trajectory, oldLogprobs: old[i]! },
      advantages: advantages.map((advantage, t) => advantage * weights[t]!),
    };
  });
  return {
    members,
    metrics: {
      ...metrics,
      'sampling/importance_sampling_ratio/mean': ratios.mean,
      'sampling/importance_sampling_ratio/min': ratios.min,
      'sampling/importance_sampling_ratio/max': ratios.max,
    },
  };
}
