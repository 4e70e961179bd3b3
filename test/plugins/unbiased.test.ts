/**
 * Law: what is subtracted for a segment's tokens depends on nothing that came after the state
 * before them, so that with lambda 1 the expected gradient is that of the reward, whatever the
 * critic says and whichever states it is asked about. All batches of two responses are enumerated.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import ensemble from '../../plugins/critics/ensemble.ts';
import { valueFew } from '../../plugins/critics/few-states/few-states.ts';
import { createCritic } from '../../src/checked-critic.ts';
import { assignCredit, segmentTrajectory } from '../../src/credit.ts';
import { criticEnvironment } from '../../src/extensions/critic-environment.ts';
import { Random } from '../../src/math/random.ts';
import { paperFormat } from '../../src/text/critic-prompt.ts';
import type { State, Valuation } from '../../src/types.ts';
import { rewardedTrajectory } from '../fixtures/trajectories.ts';

type Value = (states: readonly State[]) => Promise<readonly Valuation[]>;

const LENGTH = 3;
const words = ['3', '8'];
const rule = { by: 'tokens', tokens: 1, max_segments: 9, min_tokens: 1 } as const;
const actor = { name: 'a', parameters: 1, successRate: 0.5 };

const responses = Array.from({ length: 2 ** LENGTH }, (_, bits) =>
  Array.from({ length: LENGTH }, (_, t) => words[(bits >> t) & 1]!),
);
/** A number in [0, 1) for each text. */
const table = (seed: number) => (text: string) =>
  new Random([seed, [...text].reduce((sum, c) => 31 * sum + c.charCodeAt(0), 7)]).uniform();

/** What the text before a word, and the word, add to a gradient, one number for each text. */
class Gradient extends Map<string, number> {
  add(before: string, amount: number): void {
    this.set(before, (this.get(before) ?? 0) + amount);
  }
}

/** An actor of logits, one for each text: the chance that '8' follows. */
function world(seed: number) {
  const chance = (before: string) => 0.1 + 0.8 * table(seed)(`p${before}`);
  const reward = (response: readonly string[]) =>
    table(seed)(`r${response.join(' ')}`) < 0.5 ? 0 : 1;
  const steps = (response: readonly string[]) =>
    response.map((word, t) => {
      const before = response.slice(0, t).join(' ');
      const p = chance(before);
      return { before, p: word === '8' ? p : 1 - p, score: word === '8' ? 1 - p : -p };
    });
  const probability = (response: readonly string[]) =>
    steps(response).reduce((product, { p }) => product * p, 1);
  return { reward, steps, probability };
}

async function gradients(seed: number, value: Value) {
  const { reward, steps, probability } = world(seed);
  const [exact, found] = [new Gradient(), new Gradient()];
  for (const one of responses)
    for (const { before, score } of steps(one))
      exact.add(before, 2 * probability(one) * reward(one) * score);
  for (const one of responses)
    for (const other of responses) {
      const pair = [one, other];
      const weight = probability(one) * probability(other);
      const segmented = pair.map((response, i) =>
        segmentTrajectory(
          rewardedTrajectory(0, response.join(' '), reward(response)),
          i,
          rule,
          actor,
        ),
      );
      const states = [segmented[0]!.states[0]!, ...segmented.flatMap((s) => s.states.slice(1))];
      const values = await value(states);
      const valuations = new Map(states.map(({ id }, s) => [id, values[s]!]));
      const options = { gamma: 1, lambda: 1, scale: 'none', fallback: 'off' } as const;
      const { credits } = assignCredit(segmented, valuations, options);
      for (const [i, response] of pair.entries())
        for (const [t, { before, score }] of steps(response).entries())
          found.add(before, weight * credits[i]!.segmentAdvantages[t]! * score);
    }
  return { exact, found };
}

async function expectUnbiased(seed: number, value: Value) {
  const { exact, found } = await gradients(seed, value);
  expect(found.size).toBe(2 ** LENGTH - 1);
  for (const [before, amount] of exact) expect(found.get(before)).toBeCloseTo(amount, 10);
}

const seeds = fc.integer({ min: 0, max: 1e6 });
const share = fc.double({ min: 0.1, max: 1, noNaN: true });

it('holds for a critic that is asked about a share of the states', () =>
  fc.assert(
    fc.asyncProperty(seeds, share, async (seed, part) => {
      const says = ({ response }: State): Valuation => {
        const value = table(seed)(`v${response}`);
        return { value, rationale: '', parsed: 'ok', completions: [] };
      };
      const draw = ({ id }: State) => table(seed)(`d${id}`);
      await expectUnbiased(seed, (states) =>
        valueFew(states, part, draw, async (some) => some.map(says)),
      );
    }),
    { numRuns: 40 },
  ));

it('holds for a cascade', () =>
  fc.assert(
    fc.asyncProperty(seeds, share, async (seed, part) => {
      const critics = [{ reads: true }, { value: 0.6 }].map((more) => ({
        use: join(import.meta.dirname, '../fixtures/table-critic.ts'),
        ...more,
      }));
      const environment = criticEnvironment({
        ...{ seed, format: paperFormat, log: () => {}, signal: new AbortController().signal },
        runFolder: mkdtempSync(join(tmpdir(), 'genac-unbiased-')),
        worker: () => Promise.reject(new Error('no worker')) as never,
      });
      const options = ensemble.options.parse({ critics, by: 'cascade', share: part });
      const critic = await createCritic(ensemble, options, environment);
      await expectUnbiased(seed, (states) => critic.value(states, { purpose: 'p', iteration: 0 }));
    }),
    { numRuns: 20 },
  ));

it('would not hold if a state were valued by what came after it', async () => {
  const { exact, found } = await gradients(1, async (states) =>
    states.map((state, s) => {
      const next = states[s + 1]?.trajectory === state.trajectory ? states[s + 1]! : state;
      const value = table(1)(`v${next.response}`);
      return { value, rationale: '', parsed: 'ok', completions: [] };
    }),
  );
  const off = [...exact].map(([before, amount]) => Math.abs(found.get(before)! - amount));
  expect(Math.max(...off)).toBeGreaterThan(0.01);
});
