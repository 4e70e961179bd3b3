/** Exact values of states under the actor's current weights, where the task knows them. */
import type { LanguageModel } from '../language-model.ts';
import type { ActorProbe, Task } from '../task.ts';
import { wholeProblem } from '../text/blind-problem.ts';
import type { State } from '../types.ts';

/** Values by state; made once for the actor's weights, because the task probes the actor. */
export type ExactValues = () => Promise<(state: State) => number>;

/** @returns null: the task knows no exact values */
export function exactValuesOf(task: Task, actor: LanguageModel, seed: number): ExactValues | null {
  const { exactValues } = task;
  if (!exactValues) return null;
  const probe: ActorProbe = {
    logprobs: async (prompts, completions) =>
      actor.logprobs(await actor.tokenize(prompts, completions)),
  };
  let made: { readonly step: number; readonly values: Promise<(state: State) => number> } | null =
    null;
  return async () => {
    if (made?.step !== actor.step) {
      const values = exactValues.call(task, probe, seed);
      made = { step: actor.step, values };
    }
    const exact = await made.values;
    return (state) => exact({ ...state, problem: wholeProblem(state.problem) });
  };
}
