/** The actor goes on from states: exact prefixes, seeds of each state, rewards with columns. */
import { expect, it } from 'vitest';
import { configSchema } from '../../src/config/schema.ts';
import { segmentTrajectory } from '../../src/credit.ts';
import { continuationsOf } from '../../src/iteration/continuations.ts';
import { textState } from '../../src/state.ts';
import type { Response } from '../../src/task.ts';
import type { SampledTrajectory } from '../../src/types.ts';
import { MemoryModel } from '../fixtures/memory-model.ts';

const actor = { name: 'a', parameters: 1, successRate: null };
const context = { purpose: 'test', iteration: 3 };

async function make() {
  const model = new MemoryModel('actor', { model: 'none' });
  const problem = { id: 'p', prompt: 'go on', columns: { answer: 'c' } };
  const [sequence] = await model.tokenize([problem.prompt], ['a b c']);
  const text = 'a b c';
  const trajectory: SampledTrajectory = {
    ...{ problem, group: 0, text, finishReason: 'length', version: 0, actorMask: null },
    ...sequence!,
    logprobs: new Float32Array(5),
    textEnds: Int32Array.of(1, 2, 3, 4, 5),
  };
  const rule = { by: 'tokens', tokens: 2, max_segments: 9, min_tokens: 1, budget: null } as const;
  const { states } = segmentTrajectory(trajectory, 0, rule, actor);
  const judged: Response[] = [];
  const sampling = configSchema.shape.sampling.parse({ max_new_tokens: 12 });
  const rewardOf = async (response: Response) => {
    judged.push(response);
    return {
      reward: response.text.includes(`${response.problem.columns.answer}`) ? 1 : 0,
      parts: {},
    };
  };
  const continuations = continuationsOf(() => ({ model, sampling, rewardOf }), 5, null);
  return { states, continuations, judged, trajectory };
}

it('keeps the state’s tokens, and counts them against the most that a response can have', async () => {
  const { states, continuations, judged } = await make();
  expect(states.map(({ response }) => response)).toEqual(['', 'a ', 'a b ']);
  const continued = await continuations.sample(states, 3, context);
  expect(continued.map((own) => own.length)).toEqual([3, 3, 3]);
  continued.forEach((own, k) => {
    for (const { text, completionIds } of own) {
      expect(text.startsWith(states[k]!.response)).toBe(true);
      expect(completionIds.length).toBeLessThanOrEqual(12 - 2 * k);
    }
  });
  // The reward sees the reference answer, which the critic's states don't have.
  expect(states.every(({ problem }) => Object.keys(problem.columns).length === 0)).toBe(true);
  expect(judged.every(({ problem }) => problem.columns.answer === 'c')).toBe(true);
  for (const { text, reward } of continued.flat()) expect(reward).toBe(text.includes('c') ? 1 : 0);
  // Both are of the whole response.
  const whole = continued.flatMap((own, k) =>
    own.map(({ text, completionIds }) => ({
      text,
      completionIds: Int32Array.of(...states[k]!.tokens!.completionIds, ...completionIds),
    })),
  );
  expect(judged.map(({ text, completionIds }) => ({ text, completionIds }))).toEqual(whole);
});

it('draws by the state, whatever else is asked, and by purpose and iteration', async () => {
  const { states, continuations } = await make();
  const all = await continuations.sample(states, 4, context);
  const [alone] = await continuations.sample([states[2]!], 4, context);
  expect(alone).toEqual(all[2]);
  const [other] = await continuations.sample([states[2]!], 4, { ...context, iteration: 4 });
  expect(other!.map(({ text }) => text)).not.toEqual(alone!.map(({ text }) => text));
});

it('refuses a state of which only the text is known', async () => {
  const { states, continuations } = await make();
  const text = textState({ ...states[1]!, id: 'x' });
  await expect(continuations.sample([text], 1, context)).rejects.toThrow(
    "state x can't be continued: only its text is known",
  );
});

it('rewards a response that has all its tokens as it is', async () => {
  const { states, continuations, trajectory } = await make();
  const whole = {
    ...states[2]!,
    response: trajectory.text,
    tokens: { promptIds: trajectory.promptIds, completionIds: new Int32Array(12) },
  };
  const [first, last] = await continuations.sample([states[0]!, whole], 2, context);
  expect(first!.every(({ completionIds }) => completionIds.length > 0)).toBe(true);
  expect(last).toEqual(
    [0, 1].map(() => ({ text: 'a b c', completionIds: new Int32Array(), reward: 1 })),
  );
});
