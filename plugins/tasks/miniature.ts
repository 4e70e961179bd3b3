/**
 * The embedded default: register chains (see `miniature/chains.ts`), small enough that the whole
 * method runs on two CPU cores in minutes, with exact values of every prefix.
 */
import { z } from 'zod';
import {
  type ActorProfile,
  defineTask,
  deriveSeed,
  promptText,
  Random,
  type Task,
  textState,
} from '../../src/plugin-api.ts';
import { exactValue } from './miniature/actors.ts';
import { makeModel } from './miniature/base-actor.ts';
import { chainOf, chainProblem, chainReward, drawChain, OPERATIONS } from './miniature/chains.ts';
import { exactValues } from './miniature/exact-values.ts';
import { oracleTrace } from './miniature/oracle.ts';
import { makePopulation, syntheticRollout } from './miniature/population.ts';

const options = z.strictObject({
  /** Labelled steps K of a chain. */
  steps: z.int().min(2).max(12).default(8),
  /**
   * Signs of the operations in the problems, for an evaluation under shift. The task's models and
   * synthetic actors always have all of them.
   */
  operations: z
    .array(z.enum(['+', '*', '-']))
    .min(1)
    .default(['+', '*', '-']),
  /** Synthetic actors of stages 1 and 2. */
  actors: z.int().min(2).default(192),
  /**
   * `noisy`: the oracle is not calibrated to the actor. `exact`: it knows the value, an upper bound
   * for stage 1.
   */
  oracle: z.enum(['noisy', 'exact']).default('noisy'),
});

export default defineTask({
  name: 'miniature',
  options,
  create({ steps, operations, actors, oracle }): Task {
    const drawn = OPERATIONS.filter((one) => operations.includes(one[0] as '+' | '*' | '-'));
    const populations = new Map<string, ReturnType<typeof makePopulation>>();
    const population = (split: 'train' | 'heldout', seed: number) => {
      const key = `${split} ${seed}`;
      const known =
        populations.get(key) ?? makePopulation(seed, split, split === 'train' ? actors : 32, steps);
      populations.set(key, known);
      return known;
    };
    return {
      name: 'miniature',
      problems: (split, seed, from, count) =>
        Array.from({ length: count }, (_, i) => {
          const random = new Random(deriveSeed(seed, `miniature/problems/${split}`, from + i));
          return chainProblem(drawChain(random, steps, 1, drawn), `${split}-${from + i}`);
        }),
      reward: ({ text, problem }) => chainReward(text, chainOf(problem)),
      segmentation: { by: 'pattern', pattern: '[a-l] \\d', max_segments: steps, min_tokens: 1 },
      criticFormat: {
        prompt: (state, profile) =>
          `${header(profile)}${promptText(state.problem.prompt)} ${plain(state.response)}?`,
        score: { open: '#', close: '.' },
        appendEos: false,
        recall: rateWords,
      },
      oracleTraces: (seed, from, count) =>
        Array.from({ length: count }, (_, i) =>
          oracleTrace(population('train', seed), seed, from + i, steps, oracle),
        ),
      frozenRollouts: (split, seed, from, count) =>
        Array.from({ length: count }, (_, i) =>
          syntheticRollout(population(split, seed), seed, `rollouts/${split}`, from + i, steps, 0),
        ),
      referenceStates: (seed, count) =>
        Array.from({ length: count }, (_, i) => {
          const rollout = syntheticRollout(
            population('heldout', seed),
            seed,
            'reference',
            i,
            steps,
            0,
          );
          const index = i % steps;
          const response = rollout.prefixes[index]!;
          const state = textState({
            ...{ id: `reference-${i}`, problem: rollout.problem, response, index },
            ...{ group: i, actor: rollout.actor },
          });
          return {
            state,
            value: exactValue(rollout.table, rollout.chain, rollout.claims.slice(0, index)),
          };
        }),
      exactValues,
      makeModel: (name, folder, tools) => makeModel(name, folder, tools, steps),
    };
  },
});

/**
 * `size 1 rate 1 8 | `: the size's class (tenths of a million parameters, at least 1) and the
 * success rate.
 */
function header(profile: ActorProfile | null): string {
  if (profile === null) return '';
  const size = Math.min(9, Math.max(1, Math.round(profile.parameters / 1e5)));
  return `size ${size} ${rateWords(profile)} | `;
}

/** `rate 1 8`: a success rate of .18 in two digits; `rate` alone where it is not known. */
function rateWords({ successRate }: ActorProfile): string {
  if (successRate === null) return 'rate';
  const percent = Math.min(99, Math.round(100 * successRate));
  return `rate ${Math.floor(percent / 10)} ${percent % 10}`;
}

/**
 * The critic's marks can't be forged from inside a response: any word that an honest response does
 * not have is shown as `.`.
 */
function plain(response: string): string {
  const words = response.split(/\s+/u).filter((word) => word !== '');
  return words.map((word) => `${/^(?:[a-l]|\d|10)$/.test(word) ? word : '.'} `).join('');
}
