/** A machine whose chains are problems of a generator of reasoning-gym. */
import type { Json, Problem } from '../../../src/plugin-api.ts';
import { type Chain, chainsOf, type Machine } from '../chains/machine.ts';

export interface GymMachine extends Machine {
  readonly generator: {
    readonly name: 'chain_sum' | 'lcm';
    readonly parameters: { readonly [name: string]: Json };
  };
  /** A question before its chain. */
  readonly asked: string;
  /** A chain as a question writes it. */
  readonly written: (start: string, operations: readonly string[]) => string;
  readonly spellings: readonly (readonly [found: string, instead: string])[];
}

/** Problems of a machine: columns `question`, `answer`, `start` and `operations` in words. */
export function problemsOf(machine: GymMachine) {
  const { truth } = chainsOf(machine);
  const { states, asked, written, spellings } = machine;

  const questionOf = ({ start, steps }: Chain) =>
    `${asked} ${written(states[start]!, steps.flat())}`;

  function problemOf(chain: Chain, id: string): Problem {
    const question = questionOf(chain);
    const answer = states[truth(chain).at(-1)!]!;
    const columns = {
      question,
      answer,
      start: states[chain.start]!,
      operations: chain.steps.flat(),
    };
    return { id, prompt: question, columns };
  }

  /** Reads a question; null: its words are not those that the models know. */
  function chainIn(question: string): Chain | null {
    const spelt = spellings.reduce((text, [found, to]) => text.replaceAll(found, to), question);
    const words = spelt.slice(asked.length).replace(/ =$/, '').trim().split(' ');
    const [start, ...steps] = words;
    const chain = { start: states.indexOf(start!), steps: steps.map((one) => [one]) };
    const known = steps.every((one) => machine.operations.includes(one));
    return known && chain.start >= 0 && questionOf(chain) === question ? chain : null;
  }

  const chainOf = ({ columns: { start, operations } }: Problem): Chain => ({
    start: states.indexOf(start as string),
    steps: (operations as string[]).map((one) => [one]),
  });

  return { questionOf, problemOf, chainIn, chainOf };
}
