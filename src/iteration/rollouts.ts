/** Trajectories of the live actor: sampling, the served version's check, rewards. */

import { mapYielding } from '../event-loop.ts';
import type { Finished } from '../language-model.ts';
import { deriveSeed } from '../math/random.ts';
import type { Rollout, Split } from '../task.ts';
import { type BudgetedSegmentation, segmentResponse, textBefore } from '../text/segment.ts';
import type {
  ActorProfile,
  Problem,
  Rewarded,
  RewardedTrajectory,
  SampledTrajectory,
} from '../types.ts';
import { actorOf, profileOf, type Training } from './context.ts';
import { promptIdsOf } from './prompt-ids.ts';
import { fittingProblems } from './prompt-limit.ts';

export interface RolloutRequest {
  readonly problems: readonly Problem[];
  readonly responses: number;
  /** What the draws depend on. */
  readonly purpose: string;
  readonly iteration: number;
  /** The likeliest tokens instead of sampled ones. */
  readonly greedy?: boolean;
  /** Called as each response finishes, in any order. */
  readonly onFinished?: (index: number, trajectory: SampledTrajectory) => void;
}

/**
 * The config's, else the task's own, else by sentence; for responses of at most `budget` tokens,
 * null: not known.
 */
export function segmentationOf(
  {
    config,
    task,
  }: {
    readonly config: { readonly credit: Pick<Training['config']['credit'], 'segmentation'> };
    readonly task: Pick<Training['task'], 'segmentation'> | null;
  },
  budget: number | null,
): BudgetedSegmentation {
  const rule = config.credit.segmentation ?? task?.segmentation;
  return { ...(rule ?? { by: 'sentence', max_segments: 16, min_tokens: 1 }), budget };
}

/** Trajectories in order: response j of problem i is number i * responses + j; the group is i. */
export async function sampleTrajectories(
  training: Training,
  request: RolloutRequest,
): Promise<SampledTrajectory[]> {
  const { config } = training;
  const { model: actor } = actorOf(training);
  const { problems, responses, purpose, iteration, onFinished } = request;
  const { max_new_tokens, temperature, top_p, top_k, stop_strings } = config.sampling;
  const promptIds = await promptIdsOf(actor, problems);
  const trajectoryOf = (index: number, sampled: Finished, version: number): SampledTrajectory => {
    const group = Math.floor(index / responses);
    const { completionIds, logprobs, textEnds, text, finishReason } = sampled;
    return {
      ...{ problem: problems[group]!, group, actorMask: null, text, finishReason, version },
      ...{ promptIds: promptIds[group]!, completionIds, logprobs, textEnds },
    };
  };
  const sampled = await actor.sample({
    prompts: promptIds.map((ids) => ({ promptIds: ids, completionIds: new Int32Array() })),
    completionsPerPrompt: responses,
    max_new_tokens,
    temperature: request.greedy ? 0 : temperature,
    top_p,
    top_k,
    stop_strings,
    seed: (i) => deriveSeed(config.seed, `actor/${purpose}`, iteration, i),
    ...(onFinished && {
      onFinished: (index, part) => onFinished(index, trajectoryOf(index, part, actor.step)),
    }),
  });
  const stale = sampled.find(({ version }) => version !== actor.step);
  if (stale)
    throw new Error(
      `the actor served version ${stale.version}, but version ${actor.step} was trained`,
    );
  return mapYielding(sampled, (s, i) => trajectoryOf(i, s, s.version));
}

export async function rewarded(
  training: Training,
  trajectory: SampledTrajectory,
): Promise<SampledTrajectory & Rewarded> {
  const { reward, parts } = await training.rewardOf(trajectory);
  return { ...trajectory, reward, rewardParts: parts };
}

/** All at once, but for turns of the event loop while they begin. */
export async function allRewarded(
  training: Training,
  trajectories: readonly SampledTrajectory[],
): Promise<(SampledTrajectory & Rewarded)[]> {
  const pending = await mapYielding(trajectories, (trajectory) => {
    const one = rewarded(training, trajectory);
    one.catch(() => {}); // awaited below; it may fail before that
    return one;
  });
  return Promise.all(pending);
}

/** Rollouts of the actor as it is, on problems `from`.. of a split. */
export async function actorRollouts(
  training: Training,
  split: Split,
  from: number,
  count: number,
  responses: number,
  purpose: string,
  successRate: number | null,
): Promise<Rollout[]> {
  if (count === 0) return [];
  const { config } = training;
  const { problems, overlong } = await fittingProblems(training, split, from, count);
  if (overlong > 0) {
    const text = `${purpose}: dropped ${overlong} of ${count} problems, whose prompts are too long`;
    training.emit({ type: 'message', text });
  }
  const trajectories = await sampleTrajectories(training, {
    problems,
    responses,
    purpose,
    iteration: from,
  });
  const actor = profileOf(training, successRate);
  const segmentation = segmentationOf(training, config.sampling.max_new_tokens);
  return Promise.all(
    trajectories.map(async (trajectory) =>
      rolloutOf(await rewarded(training, trajectory), segmentation, actor),
    ),
  );
}

/** A trajectory as what oracles and critics see of it. */
export function rolloutOf(
  trajectory: RewardedTrajectory,
  segmentation: BudgetedSegmentation,
  actor: ActorProfile,
): Rollout {
  const { problem, promptIds, completionIds, text, reward } = trajectory;
  const segments = segmentResponse(trajectory, segmentation);
  return {
    ...{ problem, actor, reward, response: text, firstUnedited: 0 },
    prefixes: segments.map((segment) => textBefore(trajectory, segment)),
    ...(promptIds && {
      tokens: segments.map(({ start }) => ({
        promptIds,
        completionIds: completionIds.subarray(0, start),
      })),
    }),
  };
}
