/**
 * GenAC's third stage (arXiv 2604.10701): actor and critic learn together. (The first two:
 * `stages/critic-stages.ts`.)
 *
 * Where it departs from the paper:
 * 1. It begins only if the critic passes a gate on held-out states.
 * 2. Where the critic's values explain nothing of a batch, the group mean replaces them.
 */
import { assignCreditYielding } from './credit.ts';
import { yieldToEventLoop } from './event-loop.ts';
import { updateActor } from './iteration/actor-update.ts';
import { creditOptions, learnFrom, segmentAll } from './iteration/batch.ts';
import { phase, profileOf, type StageState, type Training } from './iteration/context.ts';
import { Spending } from './iteration/metrics.ts';
import { fittingProblems } from './iteration/prompt-limit.ts';
import { segmentationOf } from './iteration/rollouts.ts';
import { schedules } from './iteration/schedule.ts';
import { JointProgress } from './stages/joint-progress.ts';

/** Stage 3: the actor by PPO with the critic's credit, the critic by REINFORCE, together. */
export async function trainJointly(training: Training, start: StageState): Promise<StageState> {
  const { critic } = training;
  const progress = await JointProgress.begin(training, start);
  while (await progress.next()) {
    const { iteration } = progress;
    const { joint, credit, sampling } = training.config;
    const { batch_size: count } = sampling;
    const fitting = await fittingProblems(training, 'train', iteration * count, count);
    const actor = profileOf(training, progress.successRate);
    const segmentation = segmentationOf(training, sampling.max_new_tokens);
    const spending = new Spending();
    const place = { iteration, actor, segmentation, spending };
    const schedule = schedules[joint.schedule](training, place);

    const responses = await schedule.sample(fitting.problems);
    const rewarded = await schedule.reward(responses);
    const segmented = await segmentAll(rewarded, segmentation, actor, critic);
    const valuations = await schedule.value(segmented);
    const options = creditOptions(training.config, critic, credit.scale);
    const assignment = await assignCreditYielding(segmented, valuations, options);

    phase(training, 'joint', iteration, 'update');
    await yieldToEventLoop();
    const credited = rewarded.map((trajectory, i) => ({
      trajectory,
      credit: assignment.credits[i]!,
    }));
    const [actorMetrics, criticMetrics] = await schedule.update(
      () => updateActor(training, credited, iteration),
      async () =>
        joint.critic === 'learn'
          ? learnFrom(critic, assignment.outcomes, joint, iteration, joint.steps)
          : {},
    );
    const overlong = sampling.overlong_prompts === 'drop' && {
      'problems/overlong': fitting.overlong,
    };
    const metrics = { ...actorMetrics, ...spending.metrics, ...criticMetrics, ...overlong };
    await progress.done({ segmented, valuations, assignment, metrics });
  }
  return progress.end();
}
