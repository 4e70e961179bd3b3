/** REINFORCE of completions that stop where they agree, against its expectation by enumeration. */
import { expect, test } from 'vitest';
import { batchOf } from '../../plugins/critics/generative/batch.ts';
import { type CriticBaseline, criticReward, type Outcome } from '../../src/plugin-api.ts';
import { textState } from '../../src/state.ts';

const chances = [0.2, 0.5, 0.3];
const scores = [1, 4, 10];
const reward = 1;
const state = textState({
  ...{ id: 's', problem: { id: 'p', prompt: 'p', columns: {} }, response: '', index: 0, group: 0 },
  actor: { name: 'a', parameters: 1, successRate: null },
});

function outcomeOf(drawn: readonly number[]): Outcome {
  const completions = drawn.map((k) => ({
    ...{ promptIds: Int32Array.of(0), completionIds: Int32Array.of(k), text: '' },
    score: scores[k]!,
  }));
  const valuation = { value: 0, rationale: '', parsed: 'ok' as const, completions };
  return { state, valuation, rewards: [reward] };
}

/** All that can be drawn: two, and two more where the first two differ by more than `within`. */
function* draws(within: number): Generator<[number[], number]> {
  const all = [...chances.keys()];
  for (const i of all)
    for (const j of all) {
      const chance = chances[i]! * chances[j]!;
      if (Math.abs(scores[i]! - scores[j]!) <= within) yield [[i, j], chance];
      else
        for (const k of all)
          for (const l of all) yield [[i, j, k, l], chance * chances[k]! * chances[l]!];
    }
}

test.each<[CriticBaseline, number]>([
  ['none', 0],
  ['leave-one-out', 0],
  ['leave-one-out', 3],
  ['leave-one-out', 10],
])(
  'with the baseline %s and scores within %i the expected step is the gradient',
  async (baseline, within) => {
    const step = chances.map(() => 0);
    let expectedCount = 0;
    for (const [drawn, chance] of draws(within)) {
      const { weights } = (await batchOf([outcomeOf(drawn)], baseline, true))!;
      expectedCount += chance * drawn.length;
      // The gradient of log p(k) by logit m is 1{k = m} - p(m).
      for (const [i, k] of drawn.entries())
        for (const m of chances.keys())
          step[m]! += chance * weights[i]! * (Number(k === m) - chances[m]!);
    }
    const rewards = scores.map((score) => criticReward(score / 10, [reward]));
    const mean = rewards.reduce((sum, one, k) => sum + chances[k]! * one, 0);
    for (const m of chances.keys())
      expect(step[m]).toBeCloseTo(expectedCount * chances[m]! * (rewards[m]! - mean), 12);
  },
);
