/**
 * Exact values of a live actor's states, by reading its own probabilities word by word.
 *
 * What it writes next depends on the problem, on the place, on the state of the machine that it
 * claims to be in, and hardly on how it came there. So it is read behind one beginning for each of
 * these, all claims before the last one right (or as right as the last one lets them be,
 * `Machine.before`), and dynamic programming over the machine's states does the rest. A value
 * depends on its own state alone, whatever else is asked. Table 3 of docs/results.md holds values
 * of trained actors against continuations.
 */
import type { ActorProbe, Problem, State } from '../../../src/plugin-api.ts';
import { type Chain, chainsOf, LABELS, type Machine } from './machine.ts';

/** What was read of a problem. */
interface Reading {
  readonly prompt: Problem['prompt'];
  readonly chain: Chain;
  /** The true state after each step. */
  readonly truth: readonly number[];
  /** labels[k]: probability of the label of step k; the last: of the end. */
  readonly labels: number[];
  /** claims[k]: by the state before step k, the probability of each state behind the label. */
  readonly claims: readonly Map<number, Float32Array>[];
}

/** A response as it goes on: how likely it is in each state of the machine, after `steps` steps. */
interface Walk {
  readonly reading: Reading;
  steps: number;
  /** Is the label of the next step written? */
  labelled: boolean;
  masses: Map<number, number>;
}

/**
 * Returns what gives the probability of reward 1 from each state, if the actor goes on as it
 * samples: one number in [0, 1] for each.
 */
export function chainValues(machine: Machine, chainOf: (problem: Problem) => Chain) {
  const { truth, claimsText, stateIndex } = chainsOf(machine);
  /** What the actor writes less often from a state is left out: it counts as failure. */
  const rare = machine.states.length > 10 ? 1e-3 : 1e-4;

  async function exactValues(states: readonly State[], actor: ActorProbe): Promise<number[]> {
    const readings = new Map<string, Reading>();
    const walks = states.map(({ problem, response }): Walk | number => {
      const chain = chainOf(problem);
      const claims = honestClaims(response, chain);
      const words = wordsOf(response).length;
      const whole = 2 * chain.steps.length + 1;
      if (claims === null) return 0;
      if (words === whole) return claims.at(-1) === truth(chain).at(-1) ? 1 : 0;
      if (whole > actor.maxNewTokens) return 0;
      const key = JSON.stringify([problem.prompt, chain]);
      const reading = readings.get(key) ?? {
        ...{ prompt: problem.prompt, chain, truth: truth(chain), labels: [] },
        claims: chain.steps.map(() => new Map<number, Float32Array>()),
      };
      readings.set(key, reading);
      const masses = new Map([[claims.at(-1) ?? chain.start, 1]]);
      return { reading, steps: claims.length, labelled: words % 2 === 1, masses };
    });
    const open = walks.filter((walk) => typeof walk !== 'number');
    const longest = Math.max(0, ...open.map(({ reading }) => reading.claims.length));
    for (let step = 0; step < longest; step++) {
      const here = open.filter(
        ({ steps, reading }) => steps === step && steps < reading.claims.length,
      );
      await readLabels(here, step, actor);
      await readClaims(here, step, actor);
      for (const walk of here) goOn(walk, step);
    }
    await readEnds(open, actor);
    return walks.map((walk) => {
      if (typeof walk === 'number') return walk;
      const { reading, masses } = walk;
      const right = masses.get(reading.truth.at(-1)!) ?? 0;
      return Math.min(1, right * reading.labels[reading.claims.length]!);
    });
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

  /** A label is the same behind every state, and so nearly is its probability. */
  async function readLabels(walks: readonly Walk[], step: number, actor: ActorProbe) {
    const readings = unread(
      walks.filter(({ labelled }) => !labelled),
      step,
    );
    const beginnings = readings.map((one) => claimsText(one.truth.slice(0, step)));
    const found = await ask(actor, readings, beginnings, [LABELS[step]!]);
    for (const [i, { labels }] of readings.entries()) labels[step] = found[i]![0]!;
  }

  async function readClaims(walks: readonly Walk[], step: number, actor: ActorProbe) {
    const asked: { readonly reading: Reading; readonly state: number }[] = [];
    for (const { reading, masses } of walks)
      for (const [state, mass] of masses) {
        if (mass < rare || reading.claims[step]!.has(state)) continue;
        reading.claims[step]!.set(state, new Float32Array(0));
        asked.push({ reading, state });
      }
    const beginnings = asked.map(({ reading, state }) => {
      const earlier = reading.truth.slice(0, Math.max(0, step - 1));
      const like = earlier.map((truth) => machine.before?.(truth, state) ?? truth);
      const before = step === 0 ? [] : [...like, state];
      return [claimsText(before), LABELS[step]].join(' ').trim();
    });
    const readings = asked.map(({ reading }) => reading);
    const found = await ask(actor, readings, beginnings, machine.states);
    for (const [i, { reading, state }] of asked.entries())
      reading.claims[step]!.set(state, found[i]!);
  }

  async function readEnds(walks: readonly Walk[], actor: ActorProbe) {
    for (const steps of new Set(walks.map(({ reading }) => reading.claims.length))) {
      const own = walks.filter(({ reading }) => reading.claims.length === steps);
      const readings = unread(own, steps);
      const beginnings = readings.map((one) => claimsText(one.truth));
      // Where the limit ends a response, it need not end itself.
      const ends = 2 * steps + 1 < actor.maxNewTokens;
      const found = await ask(actor, readings, beginnings, ['.'], ends);
      for (const [i, { labels }] of readings.entries()) labels[steps] = found[i]![0]!;
    }
  }

  function goOn(walk: Walk, step: number): void {
    const { reading, masses, labelled } = walk;
    const label = labelled ? 1 : reading.labels[step]!;
    const after = new Map<number, number>();
    for (const [state, mass] of masses) {
      if (mass < rare) continue;
      for (const [to, p] of reading.claims[step]!.get(state)!.entries())
        after.set(to, (after.get(to) ?? 0) + mass * label * p);
    }
    Object.assign(walk, { masses: after, steps: step + 1, labelled: false });
  }

  return exactValues;
}

const wordsOf = (text: string) => text.split(' ').filter((word) => word !== '');

/** Problems of these whose label number `step` is not read yet, each once. */
const unread = (walks: readonly Walk[], step: number): Reading[] => [
  ...new Set(
    walks.map(({ reading }) => reading).filter(({ labels }) => labels[step] === undefined),
  ),
];

/** @returns probabilities, by beginning and answer */
async function ask(
  actor: ActorProbe,
  readings: readonly Reading[],
  beginnings: readonly string[],
  answers: readonly string[],
  ends = false,
): Promise<Float32Array[]> {
  if (readings.length === 0) return [];
  const prompts = readings.map(({ prompt }) => prompt);
  const logprobs = await actor.choices(prompts, beginnings, answers, ends);
  return logprobs.map((own) => own.map(Math.exp));
}
