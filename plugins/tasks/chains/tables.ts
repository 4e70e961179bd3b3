/**
 * Actors as tables: p(outcome | operation, state). A synthetic actor *is* such a table; a real
 * actor is described by the one measured from its weights. With a table the value of every prefix
 * is exact: dynamic programming over the machine's states.
 */
import { deriveSeed, Random } from '../../../src/plugin-api.ts';
import { type Chain, type ChainLength, chainsOf, type Machine } from './machine.ts';

/**
 * probabilities[(operation * states + state) * outcomes + outcome]. Each row of `outcomes` sums to
 * 1, or to less: what is missing never ends right.
 */
export type ActorTable = Float64Array;

/**
 * How often a misconceived cell gives its own wrong outcome: more often than the right one, yet not
 * so often that the right one is never tried.
 */
export const MISCONCEPTION = 0.6;

export interface ErrorMix {
  /** Probability of a random wrong outcome, in every cell. */
  readonly slip: number;
  /** Groups of cells that are wrong more often than right. */
  readonly misconceptions: number;
  /** Probability of a misconceived cell's own wrong outcome. */
  readonly strength: number;
}

/** Tables of actors at a machine. */
export function tablesOf(machine: Machine) {
  const { outcomes, next, groups } = machine;
  const [states, operations] = [machine.states.length, machine.operations.length];
  const { drawChain, truth, operationIndex } = chainsOf(machine);

  const rowOf = (operation: number, state: number) => (operation * states + state) * outcomes;

  /** A table with slips in all cells and misconceptions in randomly chosen groups of them. */
  function syntheticTable(random: Random, mix: ErrorMix): ActorTable {
    const table = new Float64Array(operations * states * outcomes);
    const misconceived = new Set(
      random.shuffled(Array.from({ length: groups }, (_, i) => i)).slice(0, mix.misconceptions),
    );
    // How far each misconceived group's wrong outcome is from the right one.
    const shifts = Array.from({ length: groups }, (_, group) =>
      misconceived.has(group) ? 1 + random.integer(outcomes - 1) : 0,
    );
    for (let operation = 0; operation < operations; operation++) {
      for (let state = 0; state < states; state++) {
        const from = rowOf(operation, state);
        const right = machine.right(operation, state);
        const shift = shifts[machine.groupOf(operation, state)]!;
        table.fill(mix.slip / (outcomes - 1), from, from + outcomes);
        table[from + right] =
          shift === 0
            ? 1 - mix.slip
            : Math.max(0, 1 - mix.strength - ((outcomes - 2) * mix.slip) / (outcomes - 1));
        if (shift > 0) table[from + ((right + shift) % outcomes)] = mix.strength;
      }
    }
    return table;
  }

  /**
   * A table that succeeds on about `success` of all chains of this length: up to 60% of the errors
   * are slips, the rest misconceptions.
   */
  function tableForSuccess(random: Random, success: number, length: ChainLength): ActorTable {
    const error = 1 - success ** (1 / (length.steps * (length.operationsPerStep ?? 1)));
    const share = random.uniform();
    const mixOf = (one: number): ErrorMix => {
      const [slip, strength] = [Math.min(0.5, one * 0.6 * share), MISCONCEPTION];
      const misconceptions = Math.round(((one - slip) * groups) / (strength - slip));
      return { slip, strength, misconceptions: Math.min(groups, misconceptions) };
    };
    if (!machine.mends) return syntheticTable(random, mixOf(error));
    // Errors that come right again take more of them.
    const chains = Array.from({ length: 100 }, () => drawChain(random, length));
    const own = [random.integer(2 ** 31), random.integer(2 ** 31)] as const;
    for (let one = error; ; one *= 1.1) {
      const table = syntheticTable(new Random(own), mixOf(Math.min(0.9, one)));
      if (one >= 0.9 || successRate(table, chains) <= success) return table;
    }
  }

  function rightProbability(table: ActorTable, operation: string, state: number): number {
    const index = operationIndex.get(operation)!;
    return table[rowOf(index, state) + machine.right(index, state)]!;
  }

  /**
   * The claims of steps from `claims.length` on, drawn from the table; the actor goes on from its
   * own last claim, right or wrong.
   */
  function continueChain(
    table: ActorTable,
    chain: Chain,
    claims: readonly number[],
    random: Random,
  ): number[] {
    const result = [...claims];
    let state = claims.at(-1) ?? chain.start;
    for (let k = claims.length; k < chain.steps.length; k++) {
      for (const operation of chain.steps[k]!) {
        const from = rowOf(operationIndex.get(operation)!, state);
        const outcome = random.weighted(table.subarray(from, from + outcomes));
        state = next[state * outcomes + outcome]!;
      }
      result.push(state);
    }
    return result;
  }

  /** Exact probability that the actor ends with the right state from here. */
  function exactValue(table: ActorTable, chain: Chain, claims: readonly number[]): number {
    let distribution = new Float64Array(states);
    distribution[claims.at(-1) ?? chain.start] = 1;
    for (const operation of chain.steps.slice(claims.length).flat()) {
      const after = new Float64Array(states);
      const index = operationIndex.get(operation)!;
      for (let state = 0; state < states; state++) {
        if (distribution[state] === 0) continue;
        const from = rowOf(index, state);
        for (let outcome = 0; outcome < outcomes; outcome++)
          after[next[state * outcomes + outcome]!]! +=
            distribution[state]! * table[from + outcome]!;
      }
      distribution = after;
    }
    return distribution[truth(chain).at(-1)!]!;
  }

  /** Mean exact success of a table on these chains. */
  const successRate = (table: ActorTable, chains: readonly Chain[]): number =>
    chains.reduce((sum, chain) => sum + exactValue(table, chain, []), 0) / chains.length;

  /**
   * The table that the base actor's demonstrations are drawn from: success of 0.17, or as little
   * above it as misconceptions alone make of a machine that mends.
   */
  function baseTable(seed: number, length: ChainLength): ActorTable {
    const random = new Random(deriveSeed(seed, `${machine.name}/base-actor`));
    const chains = Array.from({ length: 300 }, () => drawChain(random, length));
    // Errors per step so that base success is alike on every seed: misconceptions are added until
    // it falls to 0.17.
    for (let misconceptions = 1; ; misconceptions++) {
      const mix = { slip: 0.03, strength: MISCONCEPTION, misconceptions };
      const table = syntheticTable(new Random(deriveSeed(seed, `${machine.name}/base-table`)), mix);
      const most = misconceptions >= Math.min(100, groups);
      if (most || successRate(table, chains) <= 0.17) return table;
    }
  }

  return {
    ...{ syntheticTable, tableForSuccess, rightProbability, continueChain, exactValue },
    ...{ successRate, baseTable },
  };
}
