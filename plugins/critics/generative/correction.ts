/**
 * Importance sampling for REINFORCE, where an engine samples by other log-probabilities than those
 * of the weights that are trained: as for the actor (see `math/importance-sampling.ts`).
 */
import {
  type CriticCompletion,
  type ImportanceSampling,
  importanceWeights,
  type LanguageModel,
  mapInParts,
  RatioSummary,
  SamplingGapSummary,
  SEQUENCES_PER_REQUEST,
} from '../../../src/plugin-api.ts';
import type { Batch } from './batch.ts';

/**
 * The weights of a batch, each token's multiplied by how much likelier the trained weights are to
 * write it than the engine was, at most `cap`. To be called before the gradient step.
 *
 * @returns weights for each token of each completion, and metrics of the ratios
 * @throws Error for completions without the log-probabilities that they were sampled with
 */
export async function corrected(
  model: Pick<LanguageModel, 'logprobs'>,
  { completions, weights }: Pick<Batch, 'completions' | 'weights'>,
  { mode, cap }: ImportanceSampling,
  temperature: number,
): Promise<{ weights: readonly Float32Array[]; metrics: Readonly<Record<string, number>> }> {
  const [gap, ratios] = [new SamplingGapSummary(), new RatioSummary()];
  const perToken = await mapInParts(completions, SEQUENCES_PER_REQUEST, async (some, from) => {
    const trained = await model.logprobs(some, temperature);
    return some.map((completion, i) => {
      const known = drawnLogprobs(completion);
      const isDrawn = (_: number, t: number) => t < known.length && !Number.isNaN(known[t]);
      // Tokens that no engine drew: put there, or drawn by the trained weights.
      const sampled = trained[i]!.map((own, t) => (isDrawn(own, t) ? known[t]! : own));
      const factors = importanceWeights(trained[i]!, sampled, mode, cap);
      gap.add(trained[i]!.filter(isDrawn), sampled.filter(isDrawn));
      ratios.add(factors.filter(isDrawn));
      return factors.map((factor) => weights[from + i]! * factor);
    });
  });
  return {
    weights: perToken,
    metrics: {
      sampling_kl: gap.kl,
      'sampling_logp_difference/mean': gap.mean,
      'sampling_logp_difference/max': gap.max,
      'importance_sampling_ratio/mean': ratios.mean,
      'importance_sampling_ratio/min': ratios.min,
      'importance_sampling_ratio/max': ratios.max,
    },
  };
}

function drawnLogprobs({ logprobs }: CriticCompletion): Float32Array {
  if (logprobs === undefined)
    throw new Error('importance sampling needs completions with the log-probs of their sampler');
  return logprobs;
}
