/** What is kept of a problem: its responses and their states, and these as critics see them. */
import { mean } from '../math/statistics.ts';
import { blindProblem } from '../text/blind-problem.ts';
import type { ActorProfile, Problem, State } from '../types.ts';
import type { Reference } from './measures.ts';

export interface CollectedState {
  /** Number of the response; null: s_0. */
  readonly response: number | null;
  /** k of s_k. */
  readonly index: number;
  readonly text: string;
  /** Tokens of the response that it has; null: only the text is known. */
  readonly tokens: number | null;
  readonly reference: Reference;
}

export interface CollectedResponse {
  readonly text: string;
  readonly reward: number;
  /** null: only the text is known. */
  readonly completionIds: readonly number[] | null;
  /** Tokens without the end-of-sequence token. */
  readonly written: number;
  /** Its last state, before its last segment. */
  readonly last: Pick<CollectedState, 'index' | 'text' | 'tokens'>;
}

export interface CollectedProblem {
  readonly problem: Problem;
  readonly actor: ActorProfile;
  readonly promptIds: readonly number[] | null;
  readonly states: readonly CollectedState[];
  readonly responses: readonly CollectedResponse[];
}

export const referenceOf = (rewards: readonly number[]): Reference => ({
  mean: mean(rewards),
  square: mean(rewards.map((reward) => reward * reward)),
  count: rewards.length,
});

/** The states of problem number `p` as critics see them. */
export function statesOf(collected: CollectedProblem, p: number): State[] {
  return collected.states.map((state) => {
    const { response, index, text, tokens } = state;
    const id = response === null ? `p${p}` : `p${p}r${response}.${index}`;
    return stateOf(collected, p, { id, response, index, text, tokens });
  });
}

/** The states by which its responses are ranked. */
export function candidatesOf(
  collected: CollectedProblem,
  p: number,
  by: 'last-state' | 'whole',
): State[] {
  return collected.responses.map(({ text, completionIds, written, last }, response) => {
    const id = `p${p}r${response}`;
    if (by === 'last-state') return stateOf(collected, p, { id, response, ...last });
    const [index, tokens] = [last.index + 1, completionIds && written];
    return stateOf(collected, p, { id, response, index, text, tokens });
  });
}

function stateOf(
  { problem, actor, promptIds, responses }: CollectedProblem,
  group: number,
  given: Omit<CollectedState, 'reference'> & { readonly id: string },
): State {
  const { id, response, index, text, tokens } = given;
  const ids = response === null ? [] : responses[response]?.completionIds;
  return {
    ...{ id, problem: blindProblem(problem), response: text, index, group, actor },
    tokens:
      promptIds && ids && tokens !== null
        ? {
            promptIds: Int32Array.from(promptIds),
            completionIds: Int32Array.from(ids.slice(0, tokens)),
          }
        : null,
    trajectory: response === null ? null : trajectoryOf(group, response),
  };
}

/** Largest number of responses to a problem. */
export const RESPONSES = 100_000;
/** Number of a response among all. */
export const trajectoryOf = (problem: number, response: number): number =>
  problem * RESPONSES + response;
