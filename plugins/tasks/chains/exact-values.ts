/**
 * Exact values of a live actor's states, by reading its own probabilities word by word.
 *
 * What it writes next depends on the problem, on the place, on the state of the machine that it
 * claims to be in, and hardly on how it came there. So all beginnings of one problem that claim one
 * state at one place are read as the likeliest of them, and dynamic programming over the machine's
 * states does the rest. Table 3 of docs/results.md holds the miniature's against continuations.
 */
import type { ActorProbe, Problem, State } from '../../../src/plugin-api.ts';
import { type Chain, chainsOf, LABELS, type Machine } from './machine.ts';

/** Beginnings of one problem with as many words and the same last state of the machine. */
interface Node {
  /** Of the likeliest beginning. */
  claims: readonly number[];
  likeliest: number;
  /** How often those that were asked about lead here, all together. */
  mass: number;
  /** Probability of each next word, as `NextWords` has them. */
  next: Float64Array;
  value: number;
}

/** Of one problem. nodes[w]: after w words, by the machine's state. */
interface Lattice {
  readonly prompt: Problem['prompt'];
  readonly chain: Chain;
  readonly nodes: readonly Map<number, Node>[];
}

interface Asked {
  readonly lattice: Lattice;
  readonly state: number;
  readonly node: Node;
}

/** A label, a state of the machine, or the end. */
interface NextWords {
  readonly words: readonly string[];
  readonly ends: boolean;
}

/**
 * Returns what gives the probability of reward 1 from each state, if the actor goes on as it
 * samples: one number in [0, 1] for each.
 */
export function exactValuesOf(machine: Machine, chainOf: (problem: Problem) => Chain) {
  const { truth, claimsText, stateIndex } = chainsOf(machine);
  /** Beginnings that the actor writes less often are left out: they count as failures. */
  const rare = machine.states.length > 10 ? 1e-3 : 1e-4;

  async function exactValues(states: readonly State[], actor: ActorProbe): Promise<number[]> {
    const lattices = new Map<string, Lattice>();
    const starts = states.map(({ problem, response }): Node | number => {
      const chain = chainOf(problem);
      const claims = honestClaims(response, chain);
      const words = wordsOf(response).length;
      const whole = 2 * chain.steps.length + 1;
      if (claims === null) return 0;
      if (words === whole) return claims.at(-1) === truth(chain).at(-1) ? 1 : 0;
      if (whole > actor.maxNewTokens) return 0;
      const key = JSON.stringify([problem.prompt, chain]);
      const lattice = lattices.get(key) ?? {
        ...{ prompt: problem.prompt, chain },
        nodes: Array.from({ length: whole }, () => new Map<number, Node>()),
      };
      lattices.set(key, lattice);
      return arrive(lattice.nodes[words]!, claims.at(-1) ?? chain.start, claims, 1);
    });
    const all = [...lattices.values()];
    const longest = Math.max(0, ...all.map(({ nodes }) => nodes.length));
    for (let words = 0; words < longest; words++) await read(all, words, actor);
    for (const lattice of all) goBack(lattice);
    return starts.map((start) => (typeof start === 'number' ? start : Math.min(1, start.value)));
  }

  /** The claims of a response or of its beginning; null: it can't be rewarded any more. */
  function honestClaims(text: string, { steps }: Chain): number[] | null {
    const words = wordsOf(text);
    const honest = words.every((word, w) => {
      if (w === 2 * steps.length) return word === '.';
      return w % 2 ? stateIndex.has(word) : word === LABELS[w / 2];
    });
    if (!honest || words.length > 2 * steps.length + 1 || words.join(' ') !== text.trim())
      return null;
    return words.filter((_, w) => w % 2 === 1).map((word) => stateIndex.get(word)!);
  }

  /** Asks the actor for the next word after `words` of them, and leads on what it may write. */
  async function read(all: readonly Lattice[], words: number, actor: ActorProbe): Promise<void> {
    for (const [next, lattices] of byNextWords(all, words)) {
      const asked = lattices.flatMap((lattice) => askedOf(lattice, words, next.ends));
      if (asked.length === 0) continue;
      const label = words % 2 ? [LABELS[words >> 1]!] : [];
      const logprobs = await actor.choices(
        asked.map(({ one }) => one.lattice.prompt),
        asked.map(({ one }) => [claimsText(one.node.claims), ...label].join(' ').trim()),
        next.words,
        // Where the limit ends a response, it need not end itself.
        next.ends && words + 1 < actor.maxNewTokens,
      );
      for (const [i, { one, others }] of asked.entries())
        for (const each of [one, ...others])
          lead(each, Float64Array.from(logprobs[i]!, Math.exp), words);
    }
  }

  /** A label is the same behind every state, and so nearly is its probability: one is asked for. */
  function askedOf(lattice: Lattice, words: number, ends: boolean) {
    const last = truth(lattice.chain).at(-1);
    const here = [...lattice.nodes[words]!]
      .filter(([state, { mass }]) => mass >= rare && (!ends || state === last))
      .map(([state, node]): Asked => ({ lattice, state, node }));
    if (words % 2 || here.length === 0) return here.map((one) => ({ one, others: [] as Asked[] }));
    here.sort((a, b) => b.node.mass - a.node.mass);
    return [{ one: here[0]!, others: here.slice(1) }];
  }

  /** Chains of other lengths end elsewhere. */
  function byNextWords(all: readonly Lattice[], words: number): [NextWords, Lattice[]][] {
    const further = words % 2 ? machine.states : [LABELS[words / 2]!];
    return [
      [{ words: ['.'], ends: true }, all.filter(({ nodes }) => nodes.length === words + 1)],
      [{ words: further, ends: false }, all.filter(({ nodes }) => nodes.length > words + 1)],
    ];
  }

  return exactValues;
}

const wordsOf = (text: string) => text.split(' ').filter((word) => word !== '');

function arrive(
  nodes: Map<number, Node>,
  state: number,
  claims: readonly number[],
  mass: number,
): Node {
  const node = nodes.get(state) ?? {
    ...{ claims, likeliest: mass, mass: 0 },
    ...{ next: new Float64Array(0), value: 0 },
  };
  nodes.set(state, node);
  node.mass += mass;
  if (mass > node.likeliest) Object.assign(node, { claims, likeliest: mass });
  return node;
}

/** The beginnings that come of these, if the actor writes each next word so often. */
function lead({ lattice, state, node }: Asked, next: Float64Array, words: number): void {
  node.next = next;
  const nodes = lattice.nodes[words + 1];
  if (nodes === undefined) return;
  if (words % 2 === 0) arrive(nodes, state, node.claims, node.mass * next[0]!);
  else for (const [to, p] of next.entries()) arrive(nodes, to, [...node.claims, to], node.mass * p);
}

/** Values from the end to the beginning; nodes that were not read have none. */
function goBack({ nodes }: Lattice): void {
  for (let words = nodes.length - 1; words >= 0; words--)
    for (const [state, node] of nodes[words]!) {
      if (node.next.length === 0) continue;
      const after = (to: number) => nodes[words + 1]!.get(to)?.value ?? 0;
      if (words === nodes.length - 1) node.value = node.next[0]!;
      else if (words % 2 === 0) node.value = node.next[0]! * after(state);
      else node.value = node.next.reduce((sum, p, to) => sum + p * after(to), 0);
    }
}
