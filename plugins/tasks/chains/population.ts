/**
 * A population of synthetic actors, spread over the whole range of success: whose rollouts ground
 * the critic in stage 2, and on whose states the oracle writes its traces in stage 1. Many actors,
 * so that the critic can't memorise them, and a header rate that is measured with noise.
 */
import {
  type ActorProfile,
  deriveSeed,
  type Problem,
  Random,
  type Rollout,
} from '../../../src/plugin-api.ts';
import { type Chain, type ChainLength, chainsOf, type Machine } from './machine.ts';
import { type ActorTable, tablesOf } from './tables.ts';

export interface SyntheticActor {
  readonly name: string;
  readonly table: ActorTable;
  /** Mean exact success. */
  readonly success: number;
}

export interface SyntheticRollout extends Rollout {
  readonly chain: Chain;
  readonly claims: readonly number[];
  readonly table: ActorTable;
}

const PARAMETERS = 85_000;

/** What ICC says of a synthetic actor: its success with a measuring error of 0.02. */
function profileOf(actor: SyntheticActor, random: Random): ActorProfile {
  const measured = actor.success + 0.02 * random.normal();
  return {
    name: actor.name,
    parameters: PARAMETERS,
    successRate: Math.min(1, Math.max(0, measured)),
  };
}

/** @param length of every chain */
export function populationOf(
  machine: Machine,
  length: ChainLength,
  problemOf: (chain: Chain, id: string) => Problem,
) {
  const { steps } = length;
  const { drawChain, truth, claimsText, chainReward } = chainsOf(machine);
  const { tableForSuccess, successRate, continueChain } = tablesOf(machine);

  function makePopulation(
    seed: number,
    split: 'train' | 'heldout',
    count: number,
  ): SyntheticActor[] {
    return Array.from({ length: count }, (_, i) => {
      const random = new Random(deriveSeed(seed, `${machine.name}/actors/${split}`, i));
      const target = 0.05 + (0.93 * (i + random.uniform())) / count;
      const table = tableForSuccess(random, target, length);
      const chains = Array.from({ length: 200 }, () => drawChain(random, length));
      return { name: `synthetic-${split}-${i}`, table, success: successRate(table, chains) };
    });
  }

  /**
   * A rollout of a synthetic actor. `perturb`: the probability that up to a random step each claim
   * is, at the toss of a coin, a random state or the right one, and the actor goes on from there.
   * Else a critic learns to copy claims instead of computing, and to repeat its last verdict
   * instead of comparing.
   */
  function syntheticRollout(
    actors: readonly SyntheticActor[],
    seed: number,
    purpose: string,
    index: number,
    perturb: number,
  ): SyntheticRollout {
    const random = new Random(deriveSeed(seed, `${machine.name}/${purpose}`, index));
    const actor = actors[random.integer(actors.length)]!;
    const chain = drawChain(random, length);
    const actorProfile = profileOf(actor, random);
    let claims: number[] = [];
    if (random.uniform() < perturb) {
      const until = 1 + random.integer(steps);
      claims = truth(chain)
        .slice(0, until)
        .map((state) => (random.uniform() < 0.5 ? random.integer(machine.states.length) : state));
    }
    const perturbed = claims.length;
    claims = continueChain(actor.table, chain, claims, random);
    const response = `${claimsText(claims)} .`;
    return {
      problem: problemOf(chain, `${purpose}-${index}`),
      actor: actorProfile,
      prefixes: Array.from({ length: steps }, (_, k) => claimsText(claims.slice(0, k))),
      response,
      reward: chainReward(response, chain),
      firstUnedited: perturbed,
      ...{ chain, claims, table: actor.table },
    };
  }

  return { makePopulation, syntheticRollout };
}
