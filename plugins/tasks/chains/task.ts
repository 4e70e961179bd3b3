/** An embedded task: everything that chains of a machine give. */
import {
  type ActorProfile,
  deriveSeed,
  type OracleTrace,
  type Problem,
  promptText,
  Random,
  type Task,
  textState,
} from '../../../src/plugin-api.ts';
import { type Making, makeModel } from './base-actor.ts';
import { chainValues } from './exact-values.ts';
import { type Chain, type ChainLength, chainsOf, LABELS, type Machine } from './machine.ts';
import { DIGITS } from './model-folder.ts';
import { guess } from './oracle.ts';
import { populationOf, type SyntheticActor } from './population.ts';
import { tablesOf } from './tables.ts';

export interface ChainOptions extends ChainLength {
  /** Words of the operations in the problems; models and synthetic actors always have all. */
  readonly operations: readonly string[];
  /** Synthetic actors of stages 1 and 2. */
  readonly actors: number;
  /**
   * `noisy`: the oracle is not calibrated to the actor. `exact`: it knows the value, an upper bound
   * for stage 1.
   */
  readonly oracle: 'noisy' | 'exact';
  /** Regular expression of a state's word. */
  readonly word: string;
  readonly problemOf: (chain: Chain, id: string) => Problem;
  readonly chainOf: (problem: Problem) => Chain;
  readonly making: Making;
}

export function chainTask(machine: Machine, options: ChainOptions) {
  const { steps, operations, actors, oracle, word, problemOf, chainOf, making } = options;
  const { drawChain, chainReward, claimsText, rationaleOf, classOf } = chainsOf(machine);
  const { exactValue } = tablesOf(machine);
  const { makePopulation, syntheticRollout } = populationOf(machine, options, problemOf);
  const populations = new Map<string, SyntheticActor[]>();
  const population = (split: 'train' | 'heldout', seed: number) => {
    const key = `${split} ${seed}`;
    const known =
      populations.get(key) ?? makePopulation(seed, split, split === 'train' ? actors : 32);
    populations.set(key, known);
    return known;
  };
  const honest = new Set([...LABELS, ...DIGITS, ...machine.states]);

  /** A partial response of a perturbed rollout, judged. */
  function oracleTrace(seed: number, index: number): OracleTrace {
    const rollout = syntheticRollout(population('train', seed), seed, 'oracle', index, 0.5);
    const { chain, actor, problem, reward } = rollout;
    const random = new Random(deriveSeed(seed, `${machine.name}/oracle-score`, index));
    const k = random.integer(steps);
    const claims = rollout.claims.slice(0, k);
    return {
      state: textState({
        ...{ id: `oracle-${index}`, problem, response: claimsText(claims) },
        ...{ index: k, group: index, actor },
      }),
      rationale: rationaleOf(chain, claims),
      score:
        oracle === 'exact'
          ? Math.round(10 * exactValue(rollout.table, chain, claims))
          : guess(machine, actor.successRate!, chain, claims, random),
      observed: reward,
    };
  }

  return {
    name: machine.name,
    problems: (split, seed, from, count) =>
      Array.from({ length: count }, (_, i) => {
        const random = new Random(deriveSeed(seed, `${machine.name}/problems/${split}`, from + i));
        return problemOf(drawChain(random, options, operations), `${split}-${from + i}`);
      }),
    reward: ({ text, problem }) => chainReward(text, chainOf(problem)),
    segmentation: {
      by: 'pattern',
      pattern: `[a-l] ${word}`,
      max_segments: steps,
      min_tokens: 1,
    },
    criticFormat: {
      prompt: (state, profile) =>
        `${header(profile)}${promptText(state.problem.prompt)} ${plain(state.response, honest)}?`,
      score: { open: '#', close: '.' },
      appendEos: false,
      recall: rateWords,
    },
    oracleTraces: (seed, from, count) =>
      Array.from({ length: count }, (_, i) => oracleTrace(seed, from + i)),
    frozenRollouts: (split, seed, from, count) =>
      Array.from({ length: count }, (_, i) =>
        syntheticRollout(population(split, seed), seed, `rollouts/${split}`, from + i, 0),
      ),
    referenceStates: (seed, count) =>
      Array.from({ length: count }, (_, i) => {
        const { problem, prefixes, actor, table, chain, claims } = syntheticRollout(
          population('heldout', seed),
          ...([seed, 'reference', i, 0] as const),
        );
        const index = i % steps;
        const state = textState({
          ...{ id: `reference-${i}`, problem, response: prefixes[index]!, index },
          ...{ group: i, actor },
        });
        return { state, value: exactValue(table, chain, claims.slice(0, index)) };
      }),
    exactValues: chainValues(machine, chainOf),
    stateClass: ({ problem, response }) => classOf(chainOf(problem), response),
    makeModel: (name, folder, tools) => makeModel(machine, making, name, folder, tools, options),
  } satisfies Task;
}

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
function plain(response: string, honest: ReadonlySet<string>): string {
  const words = response.split(/\s+/u).filter((word) => word !== '');
  return words.map((word) => `${honest.has(word) ? word : '.'} `).join('');
}
