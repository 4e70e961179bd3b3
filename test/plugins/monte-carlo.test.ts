/** Monte Carlo values: means of the actor's continuations, and what they cost. */
import { describe, expect, it } from 'vitest';
import monteCarlo from '../../plugins/critics/monte-carlo.ts';
import { createCritic } from '../../src/checked-critic.ts';
import type { Continuations } from '../../src/critic.ts';
import { deriveSeed, Random } from '../../src/math/random.ts';
import { mean } from '../../src/math/statistics.ts';
import { textState } from '../../src/state.ts';
import { criticConformance } from '../conformance/critic.ts';
import { bareCriticEnvironment } from '../fixtures/critic-environment.ts';

const profile = { name: 'actor', parameters: 85_000, successRate: 0.25 };
const problem = { id: 'p', prompt: 'say a word', columns: {} };
const context = { purpose: 'test', iteration: 0 };

/** An actor that succeeds as often as the state's last word says; null: no reward applied. */
const actorThat = (chance: (response: string) => number | null): Continuations => ({
  exactValues: null,
  sample: async (states, count, { purpose, iteration }) =>
    states.map(({ id, response }) => {
      const random = new Random(deriveSeed(0, `${purpose}/${id}`, iteration));
      return Array.from({ length: count }, () => {
        const p = chance(response);
        const reward = p === null ? null : random.uniform() < p ? 1 : 0;
        return { text: `${response} end`, completionIds: Int32Array.of(1, 2), reward };
      });
    }),
});

const make = (actor: Continuations | null, changes: object = {}) =>
  createCritic(monteCarlo, monteCarlo.options.parse(changes), bareCriticEnvironment({ actor }));
const stateOf = (response: string, i = 0) =>
  textState({ id: `s${i}`, problem, response, group: i, actor: profile });

criticConformance('monte-carlo', {
  make: () => make(actorThat((response) => (response.length % 10) / 10)),
  problems: [problem],
  responses: ['', 'it is', 'it is good'],
});

describe('a value', () => {
  it('is the mean reward of 9 continuations, and comes near the chance with many', async () => {
    const actor = actorThat(() => 0.7);
    const [nine] = await (await make(actor)).value([stateOf('x')], context);
    expect(Number.isInteger(Math.round(nine!.value * 9 * 1e9) / 1e9)).toBe(true);
    const states = Array.from({ length: 50 }, (_, i) => stateOf('x', i));
    const many = await (await make(actor, { continuations: 400 })).value(states, context);
    expect(Math.abs(mean(many.map(({ value }) => value)) - 0.7)).toBeLessThan(0.02);
  });

  it('leaves out continuations that no reward function judged', async () => {
    const [none] = await (await make(actorThat(() => null))).value([stateOf('x')], context);
    expect(none).toMatchObject({ value: 0.25, parsed: 'malformed' });
  });
});

it('reports what it cost', async () => {
  const reported: object[] = [];
  const critic = await make(
    actorThat(() => 1),
    { continuations: 3 },
  );
  const report = (metrics: object) => void reported.push(metrics);
  const tokens = { promptIds: Int32Array.of(1, 2), completionIds: Int32Array.of(3) };
  const states = [stateOf('x'), { ...stateOf('y', 1), tokens }];
  await critic.value(states, { ...context, report });
  expect(reported).toEqual([{ continuations: 6, actor_tokens: 12, actor_tokens_read: 3 }]);
});

it('is refused without an actor that continues responses', async () => {
  await expect(make(null)).rejects.toThrow('there is no actor here that can');
});
