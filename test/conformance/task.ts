/** What every task must hold to. Each task's own test calls this. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { rewardOf } from '../../src/rewards/reward.ts';
import { textState } from '../../src/state.ts';
import type { Task } from '../../src/task.ts';
import { paperFormat, promptText, writeTrace } from '../../src/text/critic-prompt.ts';
import { parseScore } from '../../src/text/score.ts';
import type { Problem } from '../../src/types.ts';

export function taskConformance(name: string, make: () => Task | Promise<Task>): void {
  describe(`the task "${name}" conforms:`, () => {
    it('the same arguments give the same problems, however they are cut', async () => {
      const task = await make();
      const all = await task.problems('train', 3, 0, 6);
      expect(await (await make()).problems('train', 3, 0, 6)).toEqual(all);
      expect(await task.problems('train', 3, 2, 3)).toEqual(all.slice(2, 5));
    });

    it('an id names one problem, the splits have none in common, and prompts are not empty', async () => {
      const task = await make();
      const train = await task.problems('train', 0, 0, 40);
      const heldOut = await task.problems('heldout', 0, 0, 40);
      // A small set comes round again, with the same ids.
      const named = new Map<string, Problem>();
      for (const problem of [...train, ...heldOut]) {
        expect(named.get(problem.id) ?? problem).toEqual(problem);
        named.set(problem.id, problem);
      }
      const trained = new Set(train.map(({ id }) => id));
      expect(heldOut.filter(({ id }) => trained.has(id))).toEqual([]);
      for (const problem of [...train, ...heldOut]) expect(promptText(problem.prompt)).not.toBe('');
    });

    it('rewards any text with a number in [0, 1], the same each time', async () => {
      const task = await make();
      if (!task.reward) return;
      const problems = await task.problems('train', 0, 0, 5);
      await fc.assert(
        fc.asyncProperty(fc.string({ unit: 'grapheme' }), fc.nat(4), async (text, i) => {
          const response = { text, problem: problems[i]!, finishReason: 'stop_token' as const };
          expect(await rewardOf(task, response)).toBe(await rewardOf(task, response));
        }),
        { numRuns: 50 },
      );
    });

    it('puts any state into a class, if it has classes, the same each time', async () => {
      const task = await make();
      if (!task.stateClass) return;
      const problems = await task.problems('train', 0, 0, 5);
      fc.assert(
        fc.property(fc.string({ unit: 'grapheme' }), fc.nat(4), (text, i) => {
          const actor = { name: 'a', parameters: 1, successRate: null };
          const given = {
            id: 's',
            problem: problems[i]!,
            response: text,
            index: 1,
            group: 0,
            actor,
          };
          const state = { ...textState(given), problem: problems[i]! };
          expect(typeof task.stateClass!(state)).toBe('string');
          expect(task.stateClass!(state)).toBe(task.stateClass!(state));
        }),
        { numRuns: 50 },
      );
    });

    it('an oracle’s traces, if it has one, are deterministic and are read back as written', async () => {
      const task = await make();
      if (!task.oracleTraces) return;
      const format = task.criticFormat ?? paperFormat;
      const traces = task.oracleTraces(0, 0, 30);
      expect(task.oracleTraces(0, 10, 5)).toEqual(traces.slice(10, 15));
      for (const { rationale, score, observed } of traces) {
        expect(parseScore(writeTrace(rationale, score, format), format.score)).toMatchObject({
          score,
          rationale,
        });
        expect(observed).toBeGreaterThanOrEqual(0);
        expect(observed).toBeLessThanOrEqual(1);
      }
    });

    it('frozen rollouts, if it has them, begin with the empty response and keep to [0, 1]', async () => {
      const task = await make();
      const rollouts = task.frozenRollouts?.('train', 0, 0, 20) ?? [];
      for (const { prefixes, response, reward } of rollouts) {
        expect(prefixes[0]).toBe('');
        for (const prefix of prefixes) expect(response.startsWith(prefix)).toBe(true);
        expect(reward).toBeGreaterThanOrEqual(0);
        expect(reward).toBeLessThanOrEqual(1);
      }
    });

    it('the critic’s prompt never shows a reference column that the problem does not', async () => {
      const task = await make();
      const format = task.criticFormat ?? paperFormat;
      const [problem] = await task.problems('train', 0, 0, 1);
      const state = {
        id: 's',
        problem: problem!,
        response: '',
        index: 0,
        group: 0,
        trajectory: null,
        tokens: null,
        actor: { name: 'a', parameters: 1, successRate: 0.5 },
      };
      const secret = {
        ...state,
        problem: { ...problem!, columns: { ...problem!.columns, answer: 'SECRET-41' } },
      };
      expect(JSON.stringify(format.prompt(secret, secret.actor, true))).not.toContain('SECRET-41');
    });
  });
}
