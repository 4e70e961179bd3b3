/**
 * Making states s_k: a prompt, and the response before segment k. A state of a response that an
 * actor wrote has the token ids as they were sampled; one of a text has none.
 */
import { blindProblem } from './text/blind-problem.ts';
import { textBefore } from './text/segment.ts';
import type { ActorProfile, Problem, Segment, Sequence, State, Trajectory } from './types.ts';

/** State s_k of trajectory number `index`, before its segment k. */
export function segmentState(
  trajectory: Trajectory,
  index: number,
  segment: Segment,
  k: number,
  actor: ActorProfile,
): State {
  const { group, promptIds, completionIds } = trajectory;
  return {
    id: `t${index}.${k}`,
    problem: blindProblem(trajectory.problem),
    response: textBefore(trajectory, segment),
    tokens: promptIds && new Prefix(promptIds, completionIds, segment.start),
    ...{ index: k, group, trajectory: index, actor },
  };
}

/** s_0 of a group, which all its trajectories share: known before any response is. */
export function firstState(
  problem: Problem,
  promptIds: Int32Array | null,
  group: number,
  actor: ActorProfile,
): State {
  return {
    id: `g${group}`,
    problem: blindProblem(problem),
    response: '',
    tokens: promptIds && { promptIds, completionIds: none },
    ...{ index: 0, group, trajectory: null, actor },
  };
}

/**
 * A state of which only the text is known.
 *
 * @param index k; default: 0 for an empty response, else 1
 */
export function textState(
  given: Pick<State, 'id' | 'problem' | 'response' | 'group' | 'actor'> & { index?: number },
): State {
  const { id, problem, response, group, actor, index = response === '' ? 0 : 1 } = given;
  return { id, problem, response, tokens: null, index, group, trajectory: null, actor };
}

const none = new Int32Array();

/** The beginning of a response, cut when it is asked for: a batch has up to a million states. */
class Prefix implements Sequence {
  readonly promptIds: Int32Array;
  readonly #completionIds: Int32Array;
  readonly #end: number;

  constructor(promptIds: Int32Array, completionIds: Int32Array, end: number) {
    this.promptIds = promptIds;
    this.#completionIds = completionIds;
    this.#end = end;
  }

  get completionIds(): Int32Array {
    return this.#completionIds.subarray(0, this.#end);
  }
}
