import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createCritic, valuesOf } from '../src/checked-critic.ts';
import { segmentTrajectory } from '../src/credit.ts';
import {
  type Continuations,
  type Critic,
  type CriticContext,
  defineCritic,
} from '../src/critic.ts';
import { firstState } from '../src/state.ts';
import { paperFormat } from '../src/text/critic-prompt.ts';
import type { Problem, State } from '../src/types.ts';
import { bareCriticEnvironment } from './fixtures/critic-environment.ts';
import { rewardedTrajectory } from './fixtures/trajectories.ts';

const state = (id: string): State => ({
  id,
  problem: { id: 'p', prompt: 'p', columns: {} },
  response: '',
  index: 0,
  group: 0,
  trajectory: null,
  tokens: null,
  actor: { name: 'a', parameters: 1, successRate: null },
});
const criticOf = (...values: number[]): Critic => ({
  name: 'mine',
  needs: 'states',
  sharesFirstState: true,
  value: async () =>
    values.map((value) => ({ value, rationale: '', parsed: 'ok' as const, completions: [] })),
});
const context = { purpose: 'test', iteration: 0 };

describe('valuesOf', () => {
  it('refuses a value outside [0, 1], naming critic, value and state', async () => {
    for (const bad of [1.2, -0.1, Number.NaN]) {
      await expect(
        valuesOf(criticOf(0.5, bad), [state('g0'), state('t0.1')], context),
      ).rejects.toThrow(
        `critic "mine" gave the value ${bad} for state t0.1: a value is a number in [0, 1]`,
      );
    }
  });

  it('refuses another number of valuations than there are states', async () => {
    await expect(valuesOf(criticOf(0.5), [state('a'), state('b')], context)).rejects.toThrow(
      'gave 1 valuations for 2 states',
    );
  });

  it('asks for nothing where there are no states', async () => {
    expect(await valuesOf(criticOf(0.5), [], context)).toEqual([]);
  });
});

describe('createCritic', () => {
  const problem = { id: 'p', prompt: '2 + 3? </problem>', columns: { answer: 'SECRET' } };
  const shown: Problem[] = [];
  const seen: State[] = [];
  const plugin = defineCritic({
    name: 'own',
    needs: 'states',
    learns: true,
    imitates: true,
    options: z.strictObject({}),
    create: (_, { format }) => ({
      sharesFirstState: true,
      saved: [] as string[],
      value: async (states: readonly State[]) => {
        seen.push(...states);
        return states.map(() => ({
          value: 0.5,
          rationale: '',
          parsed: 'ok' as const,
          completions: [],
        }));
      },
      learn: async (outcomes: readonly { state: State }[]) => {
        seen.push(...outcomes.map(({ state }) => state));
        return {};
      },
      imitate: async (traces: readonly { state: State }[]) => {
        seen.push(...traces.map(({ state }) => state));
        return {};
      },
      rationaleLoss: async (traces: readonly { state: State }[]) => {
        seen.push(...traces.map(({ state }) => state));
        return 0;
      },
      prompt: (state: State) => format.prompt(state, state.actor, true),
      async save(this: { saved: string[] }, folder: string) {
        this.saved.push(folder);
      },
    }),
  });
  const format = {
    ...paperFormat,
    prompt: ({ problem }: State) => {
      shown.push(problem);
      return JSON.stringify(problem);
    },
  };
  const create = () => createCritic(plugin, {}, bareCriticEnvironment({ format }));

  it('makes a critic that no reference column reaches, by whatever way', async () => {
    const critic = await create();
    const one = { ...state('a'), problem };
    const [valuation] = await valuesOf(critic, [one], context);
    const update = { learningRate: 1, maxGradNorm: null };
    await critic.learn!([{ state: one, valuation: valuation!, rewards: [1] }], update);
    const trace = { state: one, rationale: '', score: 5, observed: 0.5 };
    await critic.imitate!([trace], update);
    await critic.rationaleLoss!([trace]);
    expect(seen).toEqual(Array(4).fill({ ...one, problem: { ...problem, columns: {} } }));
    expect(new Set(seen).size).toBe(1); // a critic may remember a state by its object
    expect(critic.prompt!(one)).toBe('{"id":"p","prompt":"2 + 3? ‹/problem>","columns":{}}');
    expect(shown).toEqual([{ id: 'p', prompt: '2 + 3? ‹/problem>', columns: {} }]);
    await critic.save!('there', false);
    expect([critic.load, critic.restore, critic.configure, critic.close]).toEqual(
      Array(4).fill(undefined),
    );
  });

  it('is not needed for the states of a batch: they have no columns', () => {
    const { actor } = state('a');
    const trajectory = { ...rewardedTrajectory(0, 'a b c', 1), problem };
    const rule = { by: 'tokens', tokens: 1, max_segments: 3, min_tokens: 1 } as const;
    const { states } = segmentTrajectory(trajectory, 0, rule, actor);
    expect([firstState(problem, null, 0, actor), ...states].map((s) => s.problem.columns)).toEqual([
      {},
      {},
      {},
      {},
    ]);
    expect(trajectory.problem.columns).toEqual({ answer: 'SECRET' });
  });
});

describe('a critic that breaks its contract is named in the error', () => {
  const bad = (own: object, environment = {}) =>
    createCritic(
      defineCritic({
        name: 'bad',
        needs: 'states',
        learns: 'learn' in own,
        options: z.strictObject({}),
        create: (_, { actor }) => ({
          sharesFirstState: true,
          value: async (given) => given.map(() => valuation),
          ...own,
          ...('samples' in own && {
            value: async (given: readonly State[]) => {
              await actor!.sample(given, own.samples as number, context);
              return given.map(() => valuation);
            },
          }),
        }),
      }),
      {},
      bareCriticEnvironment(environment),
    );
  const valuation = { value: 0.5, rationale: '', parsed: 'ok' as const, completions: [] };
  const context = { purpose: 'test', iteration: 0 };
  const state = firstState({ id: 'p', prompt: 'q', columns: {} }, null, 0, {
    ...{ name: 'a', parameters: 1, successRate: null },
  });
  const update = { learningRate: 1, maxGradNorm: null };
  const outcome = { state, valuation, rewards: [1] };

  it.each([
    [null, 'gave null for state g0: a valuation is an object'],
    [{ ...valuation, value: '0.5' }, 'gave the value "0.5" for state g0: a value is a number'],
    [{ ...valuation, parsed: 'yes' }, 'gave parsed: "yes" for state g0'],
    [{ ...valuation, rationale: undefined }, 'gave the rationale undefined for state g0'],
    [{ ...valuation, completions: null }, 'gave the completions null for state g0'],
  ])('valuation %j', async (given, said) => {
    const critic = await bad({ value: async () => [given] });
    await expect(valuesOf(critic, [state], context)).rejects.toThrow(`critic "bad" ${said}`);
  });

  it.each([
    ['low', 'learn() gave "low" for "loss"'],
    [undefined, 'learn() gave undefined for "loss"'],
  ])('metric %j', async (loss, said) => {
    const learning = await bad({ learn: async () => ({ loss }) });
    await expect(learning.learn!([outcome], update)).rejects.toThrow(`critic "bad": ${said}`);
    const reporting = await bad({
      value: async (given: readonly State[], { report }: CriticContext) => {
        report?.({ loss } as never);
        return given.map(() => valuation);
      },
    });
    const report = () => {};
    await expect(valuesOf(reporting, [state], { ...context, report })).rejects.toThrow('reported');
  });

  it('what it throws, whatever that is', async () => {
    const thrower = await bad({
      value: () => Promise.reject('a word'),
      learn: () => Promise.reject(new Error('no gradient')),
    });
    await expect(valuesOf(thrower, [state], context)).rejects.toThrow(
      'critic "bad" failed to value 1 states: a word',
    );
    await expect(thrower.learn!([outcome], update)).rejects.toThrow(
      'critic "bad" failed to learn from 1 outcomes: no gradient',
    );
  });

  it('a number of continuations that is none, and continuations outside of value()', async () => {
    let sampled = 0;
    let kept: Continuations | null = null;
    const actor: Continuations = {
      exactValues: null,
      sample: async (given) => {
        sampled++;
        return given.map(() => []);
      },
    };
    for (const samples of [0, -1, 1.5, Number.NaN])
      await expect(valuesOf(await bad({ samples }, { actor }), [state], context)).rejects.toThrow(
        `was asked for ${samples} continuations of each state`,
      );
    expect(sampled).toBe(0);
    await valuesOf(await bad({ samples: 2 }, { actor }), [state], context);
    expect(sampled).toBe(1);
    const plugin = defineCritic({
      ...{ name: 'keeps', needs: 'states', options: z.strictObject({}) },
      create: (_, environment) => {
        kept = environment.actor;
        return { sharesFirstState: true, value: async () => [] };
      },
    });
    const knowing = { ...actor, exactValues: async () => [1] };
    await createCritic(plugin, {}, bareCriticEnvironment({ actor: knowing }));
    await expect(kept!.sample([state], 1, context)).rejects.toThrow('within value() only');
    await expect(kept!.exactValues!([state])).rejects.toThrow('within value() only');
  });
});
