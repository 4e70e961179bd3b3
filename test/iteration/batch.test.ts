/** What the critic of an iteration learns from. */
import { expect, it } from 'vitest';
import type { Critic } from '../../src/critic.ts';
import { learnFrom } from '../../src/iteration/batch.ts';
import { textState } from '../../src/state.ts';
import type { Outcome } from '../../src/types.ts';

const learning = { learning_rate: 1, max_grad_norm: null, decay: 'constant', warmup: 0 } as const;

it('learns from no state that was asked about because of what came after it', async () => {
  const problem = { id: 'p', prompt: 'p', columns: {} };
  const actor = { name: 'a', parameters: 1, successRate: 0.5 };
  const outcomes = [false, true, undefined].map((hindsight, i): Outcome => {
    const state = textState({ id: `t${i}.1`, problem, response: 'r', group: i, actor });
    const valuation = { value: 0.5, rationale: '', parsed: 'ok', completions: [] } as const;
    const flagged = hindsight === undefined ? valuation : { ...valuation, hindsight };
    return { state, valuation: flagged, rewards: [1] };
  });
  const seen: string[] = [];
  const critic = {
    learn: async (given: readonly Outcome[]) => {
      seen.push(...given.map(({ state }) => state.id));
      return { loss: 2 };
    },
  } as unknown as Critic;
  const metrics = await learnFrom(critic, outcomes, { ...learning, min_lr_ratio: 1 }, 0, 1);
  expect(metrics).toMatchObject({ 'critic/loss': 2 });
  expect(seen).toEqual(['t0.1', 't2.1']);
});
