/**
 * Exact values of a live actor's states, by reading its own probabilities word by word.
 *
 * What it writes next depends on the problem, on the place, on the register that it stands at, and
 * hardly on how it came there. So all beginnings of one problem that stand at one register at one
 * place are read as the likeliest of them, and dynamic programming over the 7 registers does the
 * rest. docs/results.md, table 3, holds the values against continuations.
 */
import type { ActorProbe, State } from '../../../src/plugin-api.ts';
import { type Chain, chainOf, claimsText, LABELS, MODULUS, registers } from './chains.ts';

/** Beginnings that the actor writes less often than this are left out: they count as failures. */
const RARE = 1e-4;
const DIGITS = Array.from({ length: MODULUS }, (_, digit) => String(digit));

/** Beginnings of one problem with as many words and the same last register. */
interface Node {
  /** Of the likeliest beginning. */
  claims: readonly number[];
  likeliest: number;
  /** How often states lead here, all together. */
  mass: number;
  /** Probability of each next word, as `Place.words` has them. */
  next: Float64Array;
  value: number;
}

/** Of one problem. nodes[w]: after w words, by register. */
interface Lattice {
  readonly prompt: State['problem']['prompt'];
  readonly chain: Chain;
  readonly nodes: readonly Map<number, Node>[];
}

/**
 * The probability of reward 1 from each state, if the actor goes on as it samples.
 *
 * @returns one number in [0, 1] for each state
 */
export async function exactValues(states: readonly State[], actor: ActorProbe): Promise<number[]> {
  const lattices = new Map<string, Lattice>();
  const starts = states.map((state): Node | number => {
    const chain = chainOf(state.problem);
    const claims = honestClaims(state.response, chain);
    const words = wordsOf(state.response).length;
    const whole = 2 * chain.steps.length + 1;
    if (claims === null) return 0;
    if (words === whole) return claims.at(-1) === registers(chain).at(-1) ? 1 : 0;
    if (whole > actor.maxNewTokens) return 0;
    const key = JSON.stringify([state.problem.prompt, chain]);
    const lattice = lattices.get(key) ?? {
      ...{ prompt: state.problem.prompt, chain },
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

const wordsOf = (text: string) => text.split(' ').filter((word) => word !== '');

/** The claims of a response or of its beginning; null: it can't be rewarded any more. */
function honestClaims(text: string, { steps }: Chain): number[] | null {
  const words = wordsOf(text);
  const honest = words.every((word, w) =>
    w === 2 * steps.length ? word === '.' : w % 2 ? DIGITS.includes(word) : word === LABELS[w / 2],
  );
  if (!honest || words.length > 2 * steps.length + 1 || words.join(' ') !== text.trim())
    return null;
  return words.filter((_, w) => w % 2 === 1).map(Number);
}

function arrive(
  nodes: Map<number, Node>,
  register: number,
  claims: readonly number[],
  mass: number,
): Node {
  const node = nodes.get(register) ?? {
    ...{ claims, likeliest: mass, mass: 0 },
    ...{ next: new Float64Array(0), value: 0 },
  };
  nodes.set(register, node);
  node.mass += mass;
  if (mass > node.likeliest) Object.assign(node, { claims, likeliest: mass });
  return node;
}

interface Asked {
  readonly lattice: Lattice;
  readonly register: number;
  readonly node: Node;
}

/** Asks the actor for the next word after `words` of them, and leads on what it may write. */
async function read(all: readonly Lattice[], words: number, actor: ActorProbe): Promise<void> {
  const step = words >> 1;
  for (const [next, lattices] of byNextWords(all, words)) {
    const asked = lattices.flatMap((lattice) => {
      const last = registers(lattice.chain).at(-1);
      const here = [...lattice.nodes[words]!]
        .filter(([register, { mass }]) => mass >= RARE && (!next.ends || register === last))
        .map(([register, node]) => ({ lattice, register, node }));
      if (words % 2 || here.length === 0) return here.map((one) => ({ ...one, others: [] }));
      // A label is the same behind every register, and so nearly is its probability.
      here.sort((a, b) => b.node.mass - a.node.mass);
      return [{ ...here[0]!, others: here.slice(1) }];
    });
    if (asked.length === 0) continue;
    const logprobs = await actor.choices(
      asked.map(({ lattice }) => lattice.prompt),
      asked.map(({ node: { claims } }) =>
        [claimsText(claims), ...(words % 2 ? [LABELS[step]!] : [])].join(' ').trim(),
      ),
      next.words,
      // Where the limit ends a response, it need not end itself.
      next.ends && words + 1 < actor.maxNewTokens,
    );
    for (const [i, one] of asked.entries())
      for (const each of [one, ...one.others])
        lead(each, Float64Array.from(logprobs[i]!, Math.exp), words);
  }
}

/** The beginnings that come of these, if the actor writes each next word so often. */
function lead({ lattice, register, node }: Asked, next: Float64Array, words: number): void {
  node.next = next;
  const nodes = lattice.nodes[words + 1];
  if (nodes === undefined) return;
  if (words % 2 === 0) arrive(nodes, register, node.claims, node.mass * next[0]!);
  else for (const [to, p] of next.entries()) arrive(nodes, to, [...node.claims, to], node.mass * p);
}

interface NextWords {
  readonly words: readonly string[];
  readonly ends: boolean;
}

/** A label, a register, or the end; chains of other lengths end elsewhere. */
function byNextWords(all: readonly Lattice[], words: number): [NextWords, Lattice[]][] {
  const open = all.filter(({ nodes }) => nodes.length > words);
  const ends = open.filter(({ nodes }) => nodes.length === words + 1);
  const goOn = open.filter(({ nodes }) => nodes.length > words + 1);
  const further = words % 2 ? DIGITS : [LABELS[words / 2]!];
  return [
    [{ words: ['.'], ends: true }, ends],
    [{ words: further, ends: false }, goOn],
  ];
}

/** Values from the end to the beginning; nodes that were not read have none. */
function goBack({ nodes }: Lattice): void {
  for (let words = nodes.length - 1; words >= 0; words--)
    for (const [register, node] of nodes[words]!) {
      if (node.next.length === 0) continue;
      const after = (to: number) => nodes[words + 1]!.get(to)?.value ?? 0;
      if (words === nodes.length - 1) node.value = node.next[0]!;
      else if (words % 2 === 0) node.value = node.next[0]! * after(register);
      else node.value = node.next.reduce((sum, p, to) => sum + p * after(to), 0);
    }
}
