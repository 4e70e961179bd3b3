/**
 * Questions to an oracle: the critic's own prompt about states of rollouts, and what was observed
 * of each.
 */

import type { Question } from '../api/cache.ts';
import { statesOfRollouts } from '../iteration/rollout-states.ts';
import { mean } from '../math/statistics.ts';
import type { OracleTrace, Rollout } from '../task.ts';
import { type CriticFormat, readScore } from '../text/critic-prompt.ts';
import { shortText } from '../text/printable.ts';
import type { Prompt, State } from '../types.ts';

export interface Asked {
  readonly state: State;
  /** Mean reward of the rollouts that went through the state, in [0, 1]. */
  readonly observed: number;
}

/** One state of each rollout, drawn by the seed. */
export function statesToAsk(rollouts: readonly Rollout[], seed: number): Asked[] {
  const sameStart = new Map<string, Rollout[]>();
  const startOf = ({ actor, problem }: Pick<Rollout, 'actor' | 'problem'>) =>
    JSON.stringify([actor.name, problem.prompt]);
  for (const rollout of rollouts) {
    const start = startOf(rollout);
    sameStart.set(start, [...(sameStart.get(start) ?? []), rollout]);
  }
  return statesOfRollouts(rollouts, seed, 'oracle', 0).map(({ state }, i) => {
    const { firstUnedited } = rollouts[i]!;
    const through = sameStart
      .get(startOf(rollouts[i]!))!
      .filter(
        (other) => other.firstUnedited <= firstUnedited && other.prefixes.includes(state.response),
      );
    return {
      state,
      observed: mean((through.length > 0 ? through : [rollouts[i]!]).map(({ reward }) => reward)),
    };
  });
}

/** Equal prompts are numbered, so that each gets an answer of its own. */
export function questionsOf(
  asked: readonly Asked[],
  promptOf: (state: State) => Prompt,
): Question[] {
  const seen = new Map<string, number>();
  return asked.map(({ state }) => {
    const prompt = promptOf(state);
    const messages = typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : prompt;
    const key = JSON.stringify(messages);
    const sample = seen.get(key) ?? 0;
    seen.set(key, sample + 1);
    return { messages, sample };
  });
}

/** UTF-16 units: no critic writes as much, whatever the server says. */
const LONGEST_ANSWER = 1e6;

/**
 * An answer as a trace. Its score is NaN where none can be read, or where it is too long: such
 * traces are dropped and counted.
 */
export function traceOf(
  { state, observed }: Asked,
  answer: string,
  format: CriticFormat,
): OracleTrace {
  const parsed = answer.length > LONGEST_ANSWER ? null : readScore(answer, format);
  return {
    state,
    observed,
    rationale: parsed?.rationale ?? shortText(answer, LONGEST_ANSWER),
    score: parsed?.score ?? Number.NaN,
  };
}
