/**
 * The table of a live actor, measured by teacher forcing on its current weights: the probability
 * that it makes swap q where it should make swap s, by arrangement.
 */
import { type ActorProbe, deriveSeed, Random } from '../../../src/plugin-api.ts';
import { type Chain, chainsOf, type Machine } from '../chains/machine.ts';
import type { ActorTable } from '../chains/tables.ts';

/** Tokens of a labelled step: the label and the state. */
const TOKENS = 2;

/**
 * Each probability is the mean over `contexts` positions in chains with other histories. What an
 * actor may write beside the swaps (another arrangement, no arrangement) is missing in the rows,
 * as if it could not come right again.
 */
export async function measureTable(
  machine: Machine,
  probe: ActorProbe,
  seed: number,
  steps: number,
  contexts: number,
): Promise<ActorTable> {
  const { chainPrompt, claimsText } = chainsOf(machine);
  const all = Array.from({ length: contexts }, (_, context) =>
    walksOf(machine, steps, new Random(deriveSeed(seed, 'cups/measure', context))),
  ).flat();
  const logprobs = await probe.logprobs(
    all.map(({ chain }) => chainPrompt(chain)),
    all.map(({ claims }) => claimsText(claims)),
  );
  const cells = machine.operations.length * machine.states.length * machine.outcomes;
  const table = new Float64Array(cells);
  const counts = new Float64Array(cells);
  all.forEach(({ entries }, i) => {
    entries.forEach((entry, k) => {
      table[entry]! += Math.exp(logprobs[i]![TOKENS * k + 1]!);
      counts[entry]!++;
    });
  });
  for (let from = 0; from < cells; from += machine.outcomes) {
    const row = table.subarray(from, from + machine.outcomes);
    row.forEach((sum, outcome) => {
      row[outcome] = sum / counts[from + outcome]!;
    });
    // The entries of a row come from different contexts, so that their sum may be a little over 1.
    const total = row.reduce((sum, p) => sum + p, 0);
    if (total > 1) for (let outcome = 0; outcome < row.length; outcome++) row[outcome]! /= total;
  }
  return table;
}

interface Walk {
  readonly chain: Chain;
  readonly claims: readonly number[];
  /** Of each step: its entry in an actor's table. */
  readonly entries: readonly number[];
}

/**
 * Chains and claims in which every entry of an actor's table comes once (at most `steps` - 1 come
 * twice, where the last chain is filled up): a walk through all of them, cut into chains. There is
 * one, since as many entries lead to a state as away from it.
 */
export function walksOf(machine: Machine, steps: number, random: Random): Walk[] {
  const circuit = circuitOf(machine, random);
  return Array.from({ length: Math.ceil(circuit.length / steps) }, (_, i) => {
    const edges = Array.from(
      { length: steps },
      (_, k) => circuit[(i * steps + k) % circuit.length]!,
    );
    return {
      chain: {
        start: edges[0]!.from,
        steps: edges.map(({ operation }) => [machine.operations[operation]!]),
      },
      claims: edges.map(({ to }) => to),
      entries: edges.map(
        ({ operation, from, outcome }) =>
          (operation * machine.states.length + from) * machine.outcomes + outcome,
      ),
    };
  });
}

interface Edge {
  readonly from: number;
  readonly operation: number;
  readonly outcome: number;
  readonly to: number;
}

/** A closed walk over every (state, operation, outcome), by Hierholzer's algorithm. */
function circuitOf({ states, operations, outcomes, next }: Machine, random: Random): Edge[] {
  const open = states.map((_, from) =>
    random.shuffled(
      operations.flatMap((_, operation) =>
        Array.from({ length: outcomes }, (_, outcome): Edge => {
          return { from, operation, outcome, to: next[from * outcomes + outcome]! };
        }),
      ),
    ),
  );
  const path: Edge[] = [];
  const circuit: Edge[] = [];
  let state = random.integer(states.length);
  for (;;) {
    const edge = open[state]!.pop();
    if (edge) {
      path.push(edge);
      state = edge.to;
    } else {
      const last = path.pop();
      if (!last) return circuit.reverse();
      circuit.push(last);
      state = last.from;
    }
  }
}
