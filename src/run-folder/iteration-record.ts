/** The record of a joint iteration: its metrics, and some trajectories with every valuation. */
import type { CreditAssignment, SegmentedTrajectory } from '../credit.ts';
import { mean, meanSquaredError, variance } from '../math/statistics.ts';
import { promptText } from '../text/critic-prompt.ts';
import type { RewardedTrajectory, Valuation } from '../types.ts';
import type { Metrics } from './events.ts';
import type { RunFolder } from './folder.ts';

type Segmented = readonly SegmentedTrajectory<RewardedTrajectory>[];

/** TRL's names, if TRL has the metric. */
export function rolloutMetrics(
  segmented: Segmented,
  assignment: CreditAssignment,
  successRate: number,
): Metrics {
  const trajectories = segmented.map((s) => s.trajectory);
  const lengths = trajectories.map((t) => t.completionIds.length);
  const { outcomes } = assignment;
  const observed = new Float64Array(outcomes.length);
  const predicted = new Float64Array(outcomes.length);
  for (let i = 0; i < outcomes.length; i++) {
    const { valuation, rewards } = outcomes[i]!;
    predicted[i] = valuation.value;
    observed[i] = mean(rewards);
  }
  const malformed = outcomes.filter(({ valuation }) => valuation.parsed === 'malformed').length;
  return {
    reward: mean(trajectories.map((t) => t.reward)),
    ...rewardMetrics(trajectories),
    'actor/tokens': lengths.reduce((sum, n) => sum + n, 0),
    'completions/mean_length': mean(lengths),
    'completions/clipped_ratio': mean(
      trajectories.map((t) => (t.finishReason === 'length' ? 1 : 0)),
    ),
    'actor/success_rate': successRate,
    'critic/mse_to_outcomes': meanSquaredError(predicted, observed),
    'critic/states': outcomes.length,
    'critic/malformed_states': malformed,
    ...skippedMetrics(outcomes),
    ...(assignment.explainedVariance !== null && {
      'critic/explained_variance': assignment.explainedVariance,
    }),
    'gate/fallback': assignment.fellBack ? 1 : 0,
    ...valueMetrics(segmented, assignment),
  };
}

/** Counts states that the critic was not asked about, by cause; absent if there are none. */
function skippedMetrics(outcomes: CreditAssignment['outcomes']): Metrics {
  const names = {
    'too-long': 'critic/overlong_states',
    refused: 'critic/refused_states',
    'not-asked': 'critic/states_not_asked',
  } as const;
  const metrics: Record<string, number> = {};
  for (const { valuation } of outcomes) {
    if (!valuation.skipped) continue;
    const name = names[valuation.skipped];
    metrics[name] = (metrics[name] ?? 0) + 1;
  }
  return metrics;
}

/**
 * Returns mean and sample standard deviation of each reward function over the responses where it
 * applied; absent if there are too few.
 */
export function rewardMetrics(
  trajectories: readonly Pick<RewardedTrajectory, 'rewardParts'>[],
): Metrics {
  const metrics: Record<string, number> = {};
  for (const name of new Set(
    trajectories.flatMap(({ rewardParts }) => Object.keys(rewardParts ?? {})),
  )) {
    const given = trajectories
      .map(({ rewardParts }) => rewardParts?.[name])
      .filter((value) => typeof value === 'number');
    const n = given.length;
    if (n > 0) metrics[`rewards/${name}/mean`] = mean(given);
    if (n > 1) metrics[`rewards/${name}/std`] = Math.sqrt((variance(given) * n) / (n - 1));
  }
  return metrics;
}

/**
 * Returns the critic's mean value at the first and last state, for right (r >= 0.5) and wrong
 * responses, also where the gate put the group mean in its place. Absent if an iteration has none.
 */
function valueMetrics(segmented: Segmented, { outcomes }: CreditAssignment): Metrics {
  const known = new Map(outcomes.map(({ state, valuation }) => [state.id, valuation.value]));
  const metrics: Record<string, number> = {};
  for (const [name, wanted] of [
    ['right', true],
    ['wrong', false],
  ] as const) {
    const values = segmented
      .filter(({ trajectory }) => trajectory.reward >= 0.5 === wanted)
      .map(({ states }) => states.map(({ id }) => known.get(id)!));
    if (values.length === 0) continue;
    metrics[`value/first_${name}`] = mean(values.map((v) => v[0]!));
    metrics[`value/last_${name}`] = mean(values.map((v) => v.at(-1)!));
  }
  return metrics;
}

/** Writes the first `count` trajectories of an iteration to the run folder. */
export function recordTrajectories(
  folder: RunFolder,
  count: number,
  segmented: Segmented,
  valuations: ReadonlyMap<string, Valuation>,
  assignment: CreditAssignment,
  iteration: number,
): void {
  segmented.slice(0, count).forEach(({ trajectory, segments, states }, i) => {
    const credit = assignment.credits[i]!;
    folder.recordTrajectory({
      iteration,
      problem: trajectory.problem.id,
      prompt: promptText(trajectory.problem.prompt),
      response: trajectory.text,
      reward: trajectory.reward,
      ...(Object.keys(trajectory.rewardParts ?? {}).length > 0 && {
        rewards: trajectory.rewardParts,
      }),
      finish_reason: trajectory.finishReason,
      segments: segments.map((segment, k) => {
        const valuation = valuations.get(states[k]!.id)!;
        const from = states[k]!.response.length;
        return {
          text: trajectory.text.slice(
            from,
            states[k + 1]?.response.length ?? trajectory.text.length,
          ),
          tokens: segment.end - segment.start,
          value: valuation.value,
          used_value: credit.values[k]!,
          advantage: credit.segmentAdvantages[k]!,
          parsed: valuation.parsed,
          ...(valuation.inherited && { inherited: true }),
          rationale: valuation.rationale,
          completions: valuation.completions.map(({ text, score }) => ({ text, score })),
        };
      }),
    });
  });
}
