/** A critic's values of collected states, and of responses to rank, made once and kept. */
import { join } from 'node:path';
import { valuesOf } from '../checked-critic.ts';
import type { Critic, CriticContext, UpdateMetrics } from '../critic.ts';
import { mean } from '../math/statistics.ts';
import type { State, Valuation } from '../types.ts';
import { UserError } from '../user-error.ts';
import { CHUNK, type Collected } from './collect.ts';
import { groupOf } from './config.ts';
import { addCosts, type Cost, costOf, noCost } from './cost.ts';
import { type NamedCritic, openNamed } from './critics.ts';
import type { Ground, Tools } from './ground.ts';
import { digestOf, Lines } from './lines.ts';
import type { Judgement } from './measures.ts';
import { type CollectedProblem, candidatesOf, statesOf, trajectoryOf } from './states.ts';

/** Of a problem's states and of its responses, in their order. */
interface ValuedProblem {
  readonly values: readonly number[];
  readonly parsed: readonly boolean[];
  /** null: not asked. */
  readonly candidates: readonly (number | null)[];
}

interface Part {
  readonly problems: readonly ValuedProblem[];
  /** Of the states alone. */
  readonly cost: Cost;
}

export interface Values {
  readonly problems: readonly ValuedProblem[];
  readonly cost: Cost;
}

/** null: no ranking. */
type RankBy = Ground['options']['rank_by'] | null;

export interface Asking {
  /** Of the distribution. */
  readonly name: string;
  readonly greedy: boolean;
}

export async function valuesOfCritic(
  named: NamedCritic,
  collected: Collected,
  ground: Ground,
  { name, greedy }: Asking,
  tools: Tools,
): Promise<Values> {
  const path = join(tools.folder, 'values', name, `${named.name}.jsonl`);
  const { candidates, rank_by } = ground.options;
  const rankBy = candidates === 0 ? null : rank_by;
  const limits = limitsOf(ground.options);
  const group = named.plugin.needs === 'outcomes' ? [String(limits.group)] : [];
  const digest = digestOf([collected.digest, named.identity, greedy, rankBy, ...group]);
  const lines = await Lines.open<Part>(path, digest, tools.log);
  const parts = [...lines.known];
  const { problems } = collected;
  if (parts.length * CHUNK < problems.length) {
    const critic = await openNamed(named, ground);
    for (let from = parts.length * CHUNK; from < problems.length; from += CHUNK) {
      tools.signal.throwIfAborted();
      const context = { purpose: `evaluate/${name}`, iteration: from, greedy };
      const part = await valued(critic, named.name, problems, from, rankBy, limits, context);
      lines.add(part);
      parts.push(part);
      const done = Math.min(from + CHUNK, problems.length);
      tools.log(`${name}: ${named.name}: states of ${done}/${problems.length} problems`);
    }
    await critic.close?.();
  }
  return {
    problems: parts.flatMap((part) => part.problems),
    cost: parts.map(({ cost }) => cost).reduce(addCosts, noCost),
  };
}

/** Of the responses to a problem, which are sampled for several purposes: so many of the first. */
interface Limits {
  /** Whose rewards critics of outcomes know. */
  readonly group: number;
  readonly ranked: number;
}

/** What a task brings itself is taken whole. */
const limitsOf = (options: Ground['options']): Limits =>
  options.actor === null
    ? { group: Number.POSITIVE_INFINITY, ranked: Number.POSITIVE_INFINITY }
    : { group: groupOf(options), ranked: Math.max(options.candidates, options.num_generations) };

async function valued(
  critic: Critic,
  name: string,
  all: readonly CollectedProblem[],
  from: number,
  rankBy: RankBy,
  limits: Limits,
  context: Omit<CriticContext, 'report' | 'rewards'>,
): Promise<Part> {
  const problems = all.slice(from, from + CHUNK);
  const groups = problems.map(({ responses }) => responses.slice(0, limits.group));
  const reports: UpdateMetrics[] = [];
  const report = (metrics: UpdateMetrics) => void reports.push(metrics);
  const states = problems.map((one, i) => asked(critic, one, groups[i]!.length, from + i));
  const began = performance.now();
  const { states: flat, ...rewards } =
    critic.needs === 'outcomes'
      ? numbered(states.flat(2), groups, from)
      : { states: states.flat(2) };
  const valuations = await valuesOf(critic, flat, { ...context, ...rewards, report });
  refuseUnasked(name, valuations);
  const cost = costOf(valuations, reports, (performance.now() - began) / 1000);
  // A critic of outcomes knows which response is right.
  const whole =
    critic.needs === 'outcomes' || rankBy === null
      ? problems.map(({ responses }) => responses.map(() => null))
      : await rankingValues(critic, name, problems, from, rankBy, limits, context);
  let next = 0;
  return {
    cost,
    problems: states.map((own, i) => {
      const answers = own.map((same) => same.map(() => valuations[next++]!));
      return {
        values: answers.map((some) => mean(some.map(({ value }) => value))),
        parsed: answers.map((some) => some.every(({ parsed }) => parsed === 'ok')),
        candidates: whole[i]!,
      };
    }),
  };
}

/** A fallback where a limit prevented an answer would be measured as the critic's own value. */
function refuseUnasked(name: string, valuations: readonly Valuation[]): void {
  const missed = valuations.filter(({ skipped }) => skipped === 'not-asked').length;
  if (missed === 0) return;
  throw new UserError(
    `critics.${name}: ${missed} of ${valuations.length} states were not asked, for its limit of ` +
      'cost is reached: raise `max_cost`; the same command goes on, with the answers that it kept',
  );
}

/** s_0 is one state for all responses, or one for each: then its value is their mean. */
function asked(
  { sharesFirstState }: Critic,
  problem: CollectedProblem,
  responses: number,
  p: number,
): State[][] {
  return statesOf(problem, p).map((state) => {
    if (state.trajectory !== null || sharesFirstState) return [state];
    // States that a task brings have no responses beside them.
    return Array.from({ length: Math.max(1, responses) }, (_, r) => ({
      ...{ ...state, id: `${state.id}r${r}.0`, trajectory: trajectoryOf(p, r) },
    }));
  });
}

async function rankingValues(
  critic: Critic,
  name: string,
  problems: readonly CollectedProblem[],
  from: number,
  by: NonNullable<RankBy>,
  { ranked }: Limits,
  context: Omit<CriticContext, 'report' | 'rewards'>,
): Promise<(number | null)[][]> {
  const states = problems.map((one, i) => candidatesOf(one, from + i, by).slice(0, ranked));
  const valuations: Valuation[] = await valuesOf(critic, states.flat(), {
    ...{ ...context, purpose: `${context.purpose}/ranking` },
  });
  refuseUnasked(name, valuations);
  let next = 0;
  return problems.map(({ responses }, i) =>
    responses.map((_, r) => (r < states[i]!.length ? valuations[next++]!.value : null)),
  );
}

/** For critics that need outcomes: all rewards, and the states numbered by their places there. */
function numbered(
  states: readonly State[],
  groups: readonly CollectedProblem['responses'][],
  from: number,
) {
  const places = new Map<number, number>();
  const rewards = groups.flatMap((responses, i) =>
    responses.map(({ reward }, r) => {
      places.set(trajectoryOf(from + i, r), places.size);
      return { group: from + i, reward };
    }),
  );
  const own = states.map((state) => ({
    ...state,
    trajectory: state.trajectory === null ? null : places.get(state.trajectory)!,
  }));
  return { states: own, rewards };
}

/** Values beside the references, problem by problem. */
export function judgementsOf(
  { problems }: Collected,
  valued: readonly ValuedProblem[],
): Judgement[] {
  return problems.map(({ states, responses }, problem) => {
    const { values, parsed, candidates } = valued[problem]!;
    return {
      states: states.map(({ response, index, reference }, i) => ({
        ...{ problem, response, index, reference, value: values[i]!, parsed: parsed[i]! },
      })),
      candidates: responses.flatMap(({ reward }, r) => {
        const value = candidates[r];
        return value == null ? [] : [{ problem, value, right: reward >= 0.5 }];
      }),
    };
  });
}
