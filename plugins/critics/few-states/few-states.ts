/**
 * Values of all states of a batch from a critic's answers for a share of them: it is asked where
 * the value jumps, and elsewhere the value is read off the line between its neighbours.
 *
 * What the critic learns from, and is judged by, is drawn blindly. Whether a state is asked because
 * of a jump depends on what came after it, so that its outcome is no fair sample: states just
 * before a mistake would teach that good states fail.
 */
import {
  type CriticContext,
  deriveSeed,
  Random,
  type State,
  type Valuation,
} from '../../../src/plugin-api.ts';

/** Of the states that may be asked, those that are drawn blindly. */
export const BLIND = 0.25;
/** Between values that are nearer to each other than this, nothing is asked. */
const SMALLEST_JUMP = 0.02;

/** States between two that were answered. */
interface Gap {
  /** Numbers of the states of a response, in order. */
  readonly line: readonly number[];
  /** Places in `line`; at `from` and `to` there are answers, between them none. */
  readonly from: number;
  readonly to: number;
}

/**
 * One valuation for each state, in order. Those of states that were not drawn blindly have
 * `hindsight`.
 *
 * Asked are: the first state of each group or response, and each response's last one; of the others
 * each with probability `BLIND` x `share`; and then, while `share` of all states is not reached,
 * those in the middle between two answers, the largest change of value first.
 *
 * A batch that has no more than one state of each response is asked whole.
 *
 * @param share of all states, in (0, 1]
 * @param draw a number in [0, 1) for each state, that depends on nothing that came after it
 * @param ask the critic's valuations of some states
 */
export async function valueFew(
  states: readonly State[],
  share: number,
  draw: (state: State) => number,
  ask: (some: readonly State[]) => Promise<readonly Valuation[]>,
): Promise<Valuation[]> {
  if (share === 1 || areOfOneEach(states)) return [...(await ask(states))];
  const lines = responsesOf(states);
  const answers: (Valuation | undefined)[] = states.map(() => undefined);
  const answer = async (chosen: Iterable<number>) => {
    const numbers = [...new Set(chosen)].sort((a, b) => a - b);
    const some = numbers.length > 0 ? await ask(numbers.map((s) => states[s]!)) : [];
    for (const [i, s] of numbers.entries()) answers[s] = some[i]!;
    return numbers.length;
  };
  const all = [...states.keys()];
  // Nothing came before the first ones that could have led to their being asked.
  const firsts = new Set(lines.map(([first]) => first!));
  const blind = new Set(
    all.filter((s) => isShared(states[s]!) || firsts.has(s) || draw(states[s]!) < BLIND * share),
  );
  const ends = lines.flatMap((line) => [line[0]!, line.at(-1)!]);
  let left = Math.round(share * states.length) - (await answer([...blind, ...ends]));
  // A batch may have more responses than a call may have arguments.
  const longest = lines.reduce((most, line) => Math.max(most, line.length), 0);
  for (let rounds = Math.ceil(Math.log2(longest)); rounds > 0 && left > 0; rounds--) {
    const jumps = lines
      .flatMap((line) => gapsOf(line, answers))
      .map((gap) => ({ gap, jump: jumpOf(gap, answers) }))
      .filter(({ jump }) => jump >= SMALLEST_JUMP)
      .sort((a, b) => b.jump - a.jump)
      .slice(0, Math.ceil(left / rounds));
    if (jumps.length === 0) break;
    left -= await answer(jumps.map(({ gap: { line, from, to } }) => line[(from + to) >> 1]!));
  }
  for (const gap of lines.flatMap((line) => gapsOf(line, answers))) fill(gap, answers);
  return answers.map((valuation, s) =>
    blind.has(s) ? valuation! : { ...plain(valuation!), hindsight: true },
  );
}

/** Draws a number in [0, 1) for a state, whatever its response became. */
export const blindDraw =
  (seed: number, { purpose, iteration }: Pick<CriticContext, 'purpose' | 'iteration'>) =>
  ({ id }: State): number =>
    new Random(deriveSeed(seed, `critic/${purpose}/${id}/asked`, iteration)).uniform();

/** Has a batch no more than one state of each response? */
export function areOfOneEach(states: readonly State[]): boolean {
  const responses = states.flatMap(({ trajectory }) => trajectory ?? []);
  return new Set(responses).size === responses.length;
}

/** Numbers of the states that a group shares, where the batch has states of its responses too. */
export function haveLater(states: readonly State[]): Set<number> {
  const groups = new Set(states.flatMap((s) => (isShared(s) ? [] : [s.group])));
  return new Set(
    [...states.keys()].filter((s) => isShared(states[s]!) && groups.has(states[s]!.group)),
  );
}

const isShared = ({ trajectory }: State) => trajectory === null;

/** The states of each response, in order; the first one may be its group's. */
function responsesOf(states: readonly State[]): number[][] {
  const shared = new Map<number, number>();
  const lines = new Map<number, number[]>();
  for (const [s, { group, trajectory }] of states.entries()) {
    if (trajectory === null) shared.set(group, s);
    else lines.set(trajectory, [...(lines.get(trajectory) ?? []), s]);
  }
  return [...lines.values()].map((line) => {
    const own = line.sort((a, b) => states[a]!.index - states[b]!.index);
    const first = shared.get(states[own[0]!]!.group);
    return first === undefined ? own : [first, ...own];
  });
}

function gapsOf(line: readonly number[], answers: readonly (Valuation | undefined)[]): Gap[] {
  const known = [...line.keys()].filter((place) => answers[line[place]!]);
  return known.flatMap((to, i) => {
    const from = known[i - 1];
    return from !== undefined && to - from > 1 ? [{ line, from, to }] : [];
  });
}

const jumpOf = ({ line, from, to }: Gap, answers: readonly (Valuation | undefined)[]) =>
  Math.abs(answers[line[to]!]!.value - answers[line[from]!]!.value);

function fill({ line, from, to }: Gap, answers: (Valuation | undefined)[]): void {
  const [before, after] = [answers[line[from]!]!.value, answers[line[to]!]!.value];
  for (let place = from + 1; place < to; place++)
    answers[line[place]!] = {
      value: before + ((after - before) * (place - from)) / (to - from),
      ...{ rationale: '', parsed: 'ok', completions: [] },
    };
}

/** Its fields as they are now: a valuation may read them from its answers each time. */
const plain = ({ value, rationale, parsed, completions, skipped }: Valuation): Valuation => ({
  ...{ value, rationale, parsed, completions },
  ...(skipped && { skipped }),
});
