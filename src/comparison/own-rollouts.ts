/** States of an evaluation without an actor: what the task brings. */
import { allStatesOfRollouts } from '../iteration/rollout-states.ts';
import { groupBy } from '../math/statistics.ts';
import type { Rollout } from '../task.ts';
import type { Ground } from './ground.ts';
import { type CollectedProblem, referenceOf } from './states.ts';

/**
 * A log begins anew behind its end. What comes again is the same problem and actor, as objects:
 * two responses that happen to be equal stay.
 */
function different(rollouts: readonly Rollout[]): Rollout[] {
  const known = new Map<Rollout['problem'], Set<string>>();
  return rollouts.filter(({ problem, actor, response }) => {
    const key = JSON.stringify([actor, response]);
    const own = known.get(problem) ?? new Set();
    known.set(problem, own);
    return !own.has(key) && own.add(key);
  });
}

/** States with known values where they are asked for, else logged responses with their outcomes. */
export function broughtByTask({ task, options, references }: Ground): CollectedProblem[] {
  const { split, seed, prompts, num_generations } = options;
  const count = prompts * num_generations;
  if (references === 'exact')
    return task.referenceStates!(seed, count).map(({ state, value }) => ({
      ...{ problem: state.problem, actor: state.actor, promptIds: null, responses: [] },
      states: [
        {
          ...{ response: state.index === 0 ? null : 0, index: state.index, text: state.response },
          ...{ tokens: null, reference: { mean: value, square: value, count: null } },
        },
      ],
    }));
  const rollouts = different(task.frozenRollouts!(split, seed, 0, count));
  // Responses of several actors to one problem are not compared with each other.
  const groups = groupBy(rollouts, ({ problem, actor }) =>
    JSON.stringify([problem.id, actor.name]),
  );
  return [...groups.values()].map((own) => {
    const first = own[0]!;
    const states = own.flatMap((rollout, response) =>
      allStatesOfRollouts([rollout], 'evaluate', 0)
        .filter(({ state }) => state.index > 0)
        .map(({ state, value }) => ({
          ...{ response, index: state.index, text: state.response, tokens: null },
          reference: referenceOf([value]),
        })),
    );
    const rewards = own.filter(({ firstUnedited }) => firstUnedited === 0).map((r) => r.reward);
    const s0 = {
      ...{ response: null, index: 0, text: '', tokens: 0 },
      reference: referenceOf(rewards),
    };
    return {
      ...{ problem: first.problem, actor: first.actor, promptIds: null },
      states: rewards.length === 0 ? states : [s0, ...states],
      responses: own.map(({ response: text, reward, prefixes }) => ({
        ...{ text, reward, completionIds: null, written: 0 },
        last: { index: prefixes.length - 1, text: prefixes.at(-1) ?? '', tokens: null },
      })),
    };
  });
}
