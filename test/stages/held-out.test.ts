/** What held-out states are measured against, and what the gate of stage 3 asks with. */
import { expect, it } from 'vitest';
import { z } from 'zod';
import { checkConfig } from '../../src/config/load.ts';
import { heldOutStates } from '../../src/evaluation/critic-accuracy.ts';
import type { Training } from '../../src/iteration/context.ts';
import { Steering } from '../../src/run/steering.ts';
import type { SettingChange } from '../../src/run-folder/events.ts';
import { JointProgress } from '../../src/stages/joint-progress.ts';
import type { State } from '../../src/types.ts';

/** Joint training of a task with exact values and a critic that says .5. */
function trainingOf(past: readonly SettingChange[]) {
  const config = checkConfig({
    ...{ folder: 'none', task: 'x', actor: { model: 'm' }, stages: ['joint'] },
    critic: { use: 'c', completions_per_state: 1 },
    sampling: { batch_size: 2, num_generations: 2, max_new_tokens: 8 },
    evaluation: { prompts: 4, states: 4 },
    icc: { warm_rollouts: 0 },
  });
  const plugin = {
    ...{ name: 'c', needs: 'states', learns: true },
    options: z.strictObject({ completions_per_state: z.number() }),
  };
  const emit = () => {};
  const signal = new AbortController().signal;
  const steering = new Steering({ config, plugin: plugin as never, signal, emit, past });
  const asked: number[] = [];
  let options = { completions_per_state: 1 };
  const critic = {
    ...{ name: 'c', needs: 'states', sharesFirstState: true },
    configure: (next: typeof options) => {
      options = next;
    },
    value: async (states: readonly State[]) => {
      asked.push(options.completions_per_state);
      return states.map(() => ({ value: 0.5, parsed: 'ok', rationale: '', completions: [] }));
    },
  };
  steering.steers(critic as never);
  const actor = {
    ...{ step: 0, loaded: { context_length: null, parameters: 1, eos_token_id: 0 } },
    tokenize: async (prompts: readonly unknown[]) =>
      prompts.map(() => ({ promptIds: Int32Array.of(1), completionIds: new Int32Array() })),
    sample: async (given: { prompts: readonly unknown[]; completionsPerPrompt: number }) =>
      Array.from({ length: given.prompts.length * given.completionsPerPrompt }, () => ({
        ...{ completionIds: Int32Array.of(1, 2), logprobs: Float32Array.of(0, 0) },
        ...{ textEnds: Int32Array.of(1, 2), text: 'ab', finishReason: 'stop_token', version: 0 },
      })),
  };
  const task = {
    name: 't',
    problems: (split: string, _: number, from: number, count: number) =>
      Array.from({ length: count }, (_, i) => ({
        ...{ id: `${split}${from + i}`, prompt: 'p', columns: {} },
      })),
    exactValues: async (states: readonly State[]) => states.map(() => 0.25),
  };
  let rewarded = 0;
  const training = {
    get config() {
      return steering.config;
    },
    ...{ begun: config, task, critic, actor, reference: null, emit, steering },
    rewardOf: async () => ({ reward: rewarded++ % 2, parts: {} }),
    folder: { wasMeasured: () => false },
    stopping: () => false,
  };
  return { training: training as unknown as Training, steering, asked };
}

it('stages 1 and 2 measure against exact values where the task knows them', async () => {
  const { training } = trainingOf([]);
  const states = await heldOutStates(training);
  expect(states.map(({ value }) => value)).toEqual([0.25, 0.25, 0.25, 0.25]);
});

it('the gate of stage 3 asks with what was set for its first iteration', async () => {
  const set = {
    stage: 'joint',
    iteration: 0,
    values: { 'critic.completions_per_state': 8 },
  } as const;
  const { training, steering, asked } = trainingOf([set]);
  const start = { stage: 'joint', iteration: 0, successRate: null, progress: {} } as const;
  steering.catchUp(start);
  await expect(JointProgress.begin(training, start)).rejects.toThrow(
    'joint training does not start',
  );
  expect(new Set(asked)).toEqual(new Set([8]));
  // A value that is set while the gate works holds from iteration 1 on.
  const late = trainingOf([]);
  const { gates, checkpoints } = late.training.config;
  Object.assign(gates, { joint: null });
  Object.assign(checkpoints, { best: false });
  const progress = await JointProgress.begin(late.training, start);
  const set8 = late.steering.set({ 'critic.completions_per_state': 8 });
  await progress.next();
  expect(late.training.config.critic).toMatchObject({ completions_per_state: 1 });
  await late.steering.boundary({ stage: 'joint', iteration: 1 });
  expect(await set8).toEqual({ stage: 'joint', iteration: 1 });
});
