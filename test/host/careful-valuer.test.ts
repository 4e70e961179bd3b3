import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Critic } from '../../src/critic.ts';
import { CarefulValuer } from '../../src/host/careful-valuer.ts';
import type { State, Valuation } from '../../src/types.ts';

const states = (count: number): State[] =>
  Array.from({ length: count }, (_, i) => ({
    id: `s${i}`,
    problem: { id: 'p', prompt: 'p', columns: {} },
    response: '',
    index: 0,
    group: 0,
    trajectory: null,
    tokens: null,
    actor: { name: 'a', parameters: 1, successRate: 0.25 },
  }));

/**
 * A critic that writes a score for the states that it can, and remembers how many it was asked
 * about.
 */
function criticThat(scores: (id: string) => boolean, needs: Critic['needs'] = 'states') {
  const asked: number[] = [];
  const critic: Critic = {
    name: 'c',
    needs,
    sharesFirstState: true,
    value: async (given) => {
      asked.push(given.length);
      return given.map(({ id }): Valuation => {
        const parsed = scores(id) ? 'ok' : 'malformed';
        return { value: Number(id.slice(1)) / 1000, rationale: '', parsed, completions: [] };
      });
    },
  };
  return { asked, critic };
}

const context = (iteration: number, purpose = 'joint') => ({ purpose, iteration });

describe('a critic that writes no scores', () => {
  it('is asked about a few states, then about none, and again after ten batches', async () => {
    const { critic, asked } = criticThat(() => false);
    const valuer = new CarefulValuer(critic);
    for (let batch = 0; batch <= 10; batch++) {
      const valuations = await valuer.value(states(200), context(batch), false);
      expect(valuations).toHaveLength(200);
      const skipped = valuations.filter((v) => v.skipped === 'not-asked');
      expect(skipped).toHaveLength(batch % 10 === 0 ? 196 : 200);
      expect(skipped[0]).toMatchObject({ value: 0.25, parsed: 'malformed', completions: [] });
    }
    expect(asked).toEqual([4, 4]);
    expect(valuer.speaks).toBe(false);
  });

  it('is asked about all where it is to learn from them', async () => {
    const { critic, asked } = criticThat(() => false);
    const valuer = new CarefulValuer(critic);
    await valuer.value(states(200), context(0, 'critic-rl'), true);
    await valuer.value(states(200), context(1, 'critic-rl'), true);
    expect(asked).toEqual([200, 200]);
  });

  it('is found out by an evaluation as well, which changes nothing for training', async () => {
    const { critic, asked } = criticThat(() => false);
    const valuer = new CarefulValuer(critic);
    await valuer.value(states(200), context(3, 'evaluation'), false);
    expect([asked, valuer.speaks]).toEqual([[4], null]);
  });

  it('is used again as soon as it writes one', async () => {
    let taught = false;
    const { critic, asked } = criticThat(() => taught);
    const valuer = new CarefulValuer(critic);
    await valuer.value(states(50), context(0), false);
    taught = true;
    await valuer.value(states(50), context(10), false);
    await valuer.value(states(50), context(11), false);
    expect(asked).toEqual([4, 4, 46, 50]);
  });
});

it('a critic is not taken for silent where prompts are too long for it', async () => {
  const tooLong: Valuation = {
    ...{ value: 0.5, rationale: '', parsed: 'malformed', completions: [], skipped: 'too-long' },
  };
  const asked: number[] = [];
  const { critic } = criticThat(() => true);
  const value: Critic['value'] = async (given) => {
    asked.push(given.length);
    return given.map(() => tooLong);
  };
  const valuer = new CarefulValuer({ ...critic, value });
  await valuer.value(states(10), context(0), false);
  expect([asked, valuer.speaks]).toEqual([[4, 6], null]);
});

it('every state gets its own value, in order, however it was asked', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(40), fc.nat(3), async (count, batches) => {
      const { critic } = criticThat(() => true);
      const valuer = new CarefulValuer(critic);
      for (let batch = 0; batch <= batches; batch++) {
        const values = (await valuer.value(states(count), context(batch), false)).map(
          (v) => v.value,
        );
        expect(values).toEqual(states(count).map((_, i) => i / 1000));
      }
    }),
  );
});

it('a critic that values from outcomes is asked as ever', async () => {
  const { critic, asked } = criticThat(() => false, 'outcomes');
  await new CarefulValuer(critic).value(states(20), context(0), false);
  expect(asked).toEqual([20]);
});
