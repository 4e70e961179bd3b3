/**
 * The actor's update: PPO's clipped surrogate with per-token credit (Schulman 2017, eq. 7),
 * optional KL to the initial actor and entropy bonus.
 */

import type { StreamValues } from '../language-model.ts';
import { learningRate } from '../math/learning-rate.ts';
import { deriveSeed, Random } from '../math/random.ts';
import { isNoise } from '../math/statistics.ts';
import type { Metrics } from '../run-folder/events.ts';
import { actorOf, type Training } from './context.ts';
import { type CreditedTrajectory, type Member, servedKl, withOldLogprobs } from './old-logprobs.ts';

/**
 * `epochs` passes over the trajectories in `minibatches` steps each. The loss is the mean over the
 * tokens that the actor wrote. Where no token of a minibatch has an advantage (all rewards and
 * values alike) and nothing else pulls, the step is left out and counted.
 */
export async function updateActor(
  training: Training,
  credited: readonly CreditedTrajectory[],
  iteration: number,
): Promise<Metrics> {
  const { config, reference } = training;
  const { model: actor, options } = actorOf(training);
  const { epochs, minibatches, kl, entropy, max_grad_norm } = options;
  const rate = learningRate(
    { ...options, peak: options.learning_rate },
    iteration,
    config.joint.steps,
  );
  const referenceLogprobs = reference
    ? await reference.logprobs(
        credited.map((c) => c.trajectory),
        config.sampling.temperature,
      )
    : null;
  const { members: all, metrics: sampling } = await withOldLogprobs(training, credited);
  const totals = new Map<string, number>();
  const add = (name: string, value: number) => totals.set(name, (totals.get(name) ?? 0) + value);
  for (let epoch = 0; epoch < epochs; epoch++) {
    const order = new Random(
      deriveSeed(config.seed, 'actor/minibatches', iteration, epoch),
    ).shuffled([...credited.keys()]);
    for (let m = 0; m < minibatches; m++) {
      const batch = order.filter((_, i) => i % minibatches === m);
      const members = batch.map((i) => all[i]!);
      const idle =
        members.every(({ advantages }) => advantages.every(isNoise)) && kl === 0 && entropy === 0;
      if (batch.length === 0 || idle) {
        add('skipped_steps', 1);
        continue;
      }
      const statistics = await accumulate(
        training,
        members,
        batch.map((i) => referenceLogprobs?.[i] ?? null),
      );
      if (!totals.has('steps') && options.old_logprobs === 'sampler')
        add('sampling_kl', servedKl(statistics, actor.loaded.dtype, options.max_sampling_kl));
      for (const [name, value] of Object.entries(statistics)) add(name, value);
      const step = await actor.optimize(rate, max_grad_norm);
      add('steps', 1);
      add('grad_norm', step.grad_norm);
      add('update_norm', step.update_norm);
    }
  }
  await actor.publish();
  return { ...summary(totals, rate), ...sampling };
}

function accumulate(
  training: Training,
  members: readonly Member[],
  referenceLogprobs: readonly (Float32Array | null)[],
): Promise<Record<string, number>> {
  const { model, options } = actorOf(training);
  const { clip_low, clip_high, kl, entropy } = options;
  const streams: StreamValues[] = [
    {
      stream: { kind: 'pg', coefficient: 1, clip_low, clip_high },
      tensors: {
        advantages: members.map(({ advantages }) => advantages),
        old_logprobs: members.map(({ oldLogprobs }) => oldLogprobs),
      },
    },
  ];
  if (kl > 0) {
    streams.push({
      stream: { kind: 'kl', coefficient: kl },
      tensors: { reference_logprobs: referenceLogprobs.map((l) => l!) },
    });
  }
  if (entropy > 0) streams.push({ stream: { kind: 'entropy', coefficient: entropy }, tensors: {} });
  const masks = members.map(({ trajectory }) => trajectory.actorMask);
  const tokens = members.reduce(
    (sum, { trajectory: t }) =>
      sum + (t.actorMask?.reduce((written, m) => written + m, 0) ?? t.completionIds.length),
    0,
  );
  const { temperature } = training.config.sampling;
  return model.accumulate(
    members.map((c) => c.trajectory),
    masks,
    streams,
    tokens,
    temperature,
  );
}

/** Means over tokens and steps, under TRL's names where TRL has one. */
function summary(totals: ReadonlyMap<string, number>, rate: number): Record<string, number> {
  const steps = totals.get('steps') ?? 0;
  const tokens = totals.get('tokens') ?? 0;
  const mean = (name: string, by: number) => (by > 0 ? (totals.get(name) ?? 0) / by : 0);
  return {
    loss: mean('loss', steps),
    learning_rate: rate,
    grad_norm: mean('grad_norm', steps),
    update_norm: totals.get('update_norm') ?? 0,
    'clip_ratio/low_mean': mean('clipped_low', tokens),
    'clip_ratio/high_mean': mean('clipped_high', tokens),
    'actor/approximate_kl': mean('approximate_kl', tokens),
    ...(totals.has('sampling_kl') && { 'actor/sampling_kl': totals.get('sampling_kl')! }),
    'actor/steps': steps,
    'actor/skipped_steps': totals.get('skipped_steps') ?? 0,
    ...(totals.has('kl') && { kl: mean('kl', tokens) }),
    ...(totals.has('entropy') && { entropy: mean('entropy', tokens) }),
  };
}
