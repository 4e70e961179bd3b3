/**
 * A critic for tests: V = the share of small letters, 0.5 at the start; what it learned from is
 * told in its metrics.
 */
import { z } from 'zod';
import { defineCritic, type UpdateOptions } from '../../src/critic.ts';
import type { OracleTrace } from '../../src/task.ts';

const share = (text: string) =>
  text === '' ? 0.5 : [...text].filter((c) => c >= 'a' && c <= 'z').length / [...text].length;

const options = z.strictObject({ fails: z.boolean().default(false), slow: z.number().default(0) });

export const lettersCritic = (imitates: boolean) =>
  defineCritic({
    name: 'letters',
    needs: 'states',
    learns: true,
    imitates,
    options,
    create: ({ fails, slow }) => ({
      sharesFirstState: true,
      value: async (states) =>
        states.map(({ response, actor }) => ({
          value: share(response),
          rationale: `rate ${actor.successRate}`,
          parsed: 'ok' as const,
          completions: [],
        })),
      async learn(outcomes, { learningRate }) {
        await new Promise((resolve) => setTimeout(resolve, slow));
        if (fails) throw new Error('the update failed');
        return { outcomes: outcomes.length, learning_rate: learningRate };
      },
      ...(imitates && {
        imitate: async (traces: readonly OracleTrace[], { learningRate }: UpdateOptions) => ({
          scores: Number(traces.map(({ score }) => score).join('')),
          learning_rate: learningRate,
        }),
        rationaleLoss: async () => 0.5,
      }),
    }),
  });

export default lettersCritic(true);
