import { describe, expect, it } from 'vitest';
import { type Critic, valuesOf } from '../src/critic.ts';
import type { State } from '../src/types.ts';

const state = (id: string): State => ({
  id,
  problem: { id: 'p', prompt: 'p', columns: {} },
  response: '',
  index: 0,
  group: 0,
  trajectory: null,
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
      await expect(valuesOf(criticOf(0.5, bad), [state('g0'), state('t0.1')], context)).rejects.toThrow(
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
