/** What every critic must hold to. Each critic's own test calls this. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { valuesOf } from '../../src/checked-critic.ts';
import type { Critic, CriticContext } from '../../src/critic.ts';
import type { Problem, State, Valuation } from '../../src/types.ts';

export interface CriticCase {
  make(): Critic | Promise<Critic>;
  /** Problems that it can read. */
  readonly problems: readonly Problem[];
  /** Partial responses that it can read, the empty one first. */
  readonly responses: readonly string[];
  /** Why a rule does not hold for it, by the rule's name. */
  readonly skip?: Partial<Record<'causal' | 'batch', string>>;
}

const rewards = [1, 0, 1, 1, 0, 0].map((reward, i) => ({ reward, group: i >> 1 }));
const context: CriticContext = { purpose: 'conformance', iteration: 4, rewards };

/**
 * With completions, `malformed` means that none has a score. A critic that returns none says
 * itself whether it read one.
 */
export function expectParsed({ parsed, completions }: Valuation): void {
  if (completions.length === 0) return;
  expect(parsed).toBe(completions.every(({ score }) => score === null) ? 'malformed' : 'ok');
}

export function criticConformance(
  name: string,
  { make, problems, responses, skip = {} }: CriticCase,
): void {
  const actor = { name: 'actor', parameters: 85_000, successRate: 0.4 };
  const stateOf = (i: number, response: string): State => ({
    id: `t${i}.${responses.indexOf(response)}`,
    problem: problems[i % problems.length]!,
    response,
    index: responses.indexOf(response),
    group: i >> 1,
    trajectory: i,
    tokens: null,
    actor,
  });
  const states = [0, 1, 2, 3].flatMap((i) => responses.map((response) => stateOf(i, response)));

  describe(`the critic "${name}" conforms:`, () => {
    it('gives one valuation for each state, in order, with a value in [0, 1]', async () => {
      const critic = await make();
      const valuations = await valuesOf(critic, states, context);
      expect(valuations).toHaveLength(states.length);
      for (const valuation of valuations) expectParsed(valuation);
      expect(await valuesOf(critic, [], context)).toEqual([]);
    });

    it('gives the same values for the same states and context', async () => {
      const critic = await make();
      expect(await critic.value(states, context)).toEqual(await critic.value(states, context));
    });

    it.skipIf(skip.batch)(
      `values a state alike alone and among others${skip.batch ? ` (skipped: ${skip.batch})` : ''}`,
      async () => {
        const critic = await make();
        const together = (await critic.value(states, context)).map(({ value }) => value);
        const alone = await Promise.all(
          [1, states.length - 1].map((i) => critic.value([states[i]!], context)),
        );
        expect(alone.map(([valuation]) => valuation!.value)).toEqual([
          together[1],
          together[states.length - 1],
        ]);
      },
    );

    it.skipIf(skip.causal)(
      `is causal: a value does not depend on what comes after the state${skip.causal ? ` (skipped: ${skip.causal})` : ''}`,
      async () => {
        const critic = await make();
        const before = await critic.value(states, context);
        const after = await critic.value(states, {
          ...context,
          rewards: rewards.map((r) => ({ ...r, reward: 1 - r.reward })),
        });
        expect(after.map(({ value }) => value)).toEqual(before.map(({ value }) => value));
      },
    );

    it('learns without harm, if it learns: finite metrics, values still in [0, 1]', async () => {
      const critic = await make();
      if (!critic.learn) return;
      const valuations = await critic.value(states, context);
      const outcomes = states.map((state, i) => ({
        state,
        valuation: valuations[i]!,
        rewards: [i % 2],
      }));
      const metrics = await critic.learn(outcomes, { learningRate: 1e-3, maxGradNorm: 1 });
      for (const value of Object.values(metrics)) expect(Number.isFinite(value)).toBe(true);
      await valuesOf(critic, states, context);
    });

    it('is the same after save and load, if it can be saved', async () => {
      const critic = await make();
      if (!critic.save || !critic.load) return;
      const folder = join(mkdtempSync(join(tmpdir(), 'genac-critic-')), 'critic');
      const before = await critic.value(states, context);
      await critic.save(folder, true);
      await critic.load(folder);
      expect(await critic.value(states, context)).toEqual(before);
    });
  });
}
