import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/config/error.ts';
import {
  type CheckedCritic,
  discountProblems,
  refuseForCritic,
} from '../../src/config/for-critic.ts';
import { checkConfig } from '../../src/config/load.ts';
import type { ConfigInput } from '../../src/config/schema.ts';
import { builtIn, importCritic } from '../../src/extensions/find-plugin.ts';
import { startRun } from '../../src/run/run.ts';

const base = { folder: 'f', task: 'miniature', critic: 'any', actor: { model: 'm' } };

function problemsOf(critic: CheckedCritic, changes: Partial<ConfigInput>): readonly string[] {
  try {
    refuseForCritic(checkConfig({ ...base, ...changes }), critic);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

const language: CheckedCritic = { name: 'words', needs: 'states', learns: true, imitates: true };
const mean: CheckedCritic = { name: 'mean', needs: 'outcomes' };
const fixed: CheckedCritic = { name: 'fixed', needs: 'states' };
const joint = { stages: ['joint'] } as const satisfies Partial<ConfigInput>;

describe('what a critic can’t do is refused before any model is loaded', () => {
  it.each<[CheckedCritic, Partial<ConfigInput>, string]>([
    [mean, {}, 'stages: critic-sft has no effect with the critic "mean"; use [joint]'],
    [fixed, {}, 'stages: the critic "fixed" can\'t imitate an oracle: leave critic-sft out'],
    [
      { ...language, learns: false },
      {},
      'stages: the critic "words" does not learn: leave critic-rl out',
    ],
    [
      mean,
      { ...joint, credit: { lambda: 0.5 } },
      'credit.lambda: must be 1 with the critic "mean"',
    ],
    [
      mean,
      { ...joint, gates: { joint: { parse_rate: 0.5 } } },
      'gates.joint: has no effect with the critic',
    ],
    [
      mean,
      { ...joint, sampling: { num_generations: 1 }, gates: { explained_variance: false } },
      'use at least 2 with the critic "mean"',
    ],
    [fixed, { ...joint, joint: { learning_rate: 1e-3 } }, 'joint.learning_rate: has no effect'],
    [
      language,
      { sampling: { num_generations: 1 } },
      'sampling.num_generations: 1 leaves a group mean nothing',
    ],
    [language, { credit: { scale: 'group-std' } }, 'credit.scale: "group-std" is for the group'],
    [language, { credit: { gamma: 0.9 } }, 'credit.gamma: must be 1 with the critic "words"'],
  ])('%j and %j', (critic, changes, words) => {
    expect(problemsOf(critic, changes).join('\n')).toContain(words);
  });

  it.each<[CheckedCritic, Partial<ConfigInput>]>([
    [language, {}],
    [language, { sampling: { num_generations: 1 }, gates: { explained_variance: false } }],
    [fixed, { ...joint, credit: { gamma: 0.9, lambda: 0.5 } }],
    [mean, { ...joint, credit: { scale: 'group-std' } }],
  ])('%j and %j go together', (critic, changes) => {
    expect(problemsOf(critic, changes)).toEqual([]);
  });

  it('so in a run, without a worker', async () => {
    const run = startRun({ ...base, critic: 'group-mean' });
    await expect(run.finished).rejects.toThrow('stages: critic-sft has no effect with the critic');
  });

  it('a host is told the name of its own option', () => {
    expect(discountProblems(language, 0.9, 'gamma')[0]).toContain(
      'credit.gamma (TRL: gamma): must be 1',
    );
    expect(discountProblems(fixed, 0.9)).toEqual([]);
  });
});

it('built-in critics are the files of their folder, and say what they need', async () => {
  const names = builtIn('critic');
  expect(names).toContain('generative');
  for (const name of names) expect((await importCritic(name, '.')).name).toBe(name);
});
