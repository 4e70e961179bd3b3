/** Which prompts an actor is asked, and what a task's own responses keep. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { collect } from '../../src/comparison/collect.ts';
import { checkEvaluation, distributionsOf } from '../../src/comparison/config.ts';
import type { Ground } from '../../src/comparison/ground.ts';
import type { Problem, Sequence } from '../../src/types.ts';

const profile = { name: 'a', parameters: 1, successRate: 0.5 };
const problemOf = (id: string, prompt: string): Problem => ({ id, prompt, columns: {} });

function groundOf(given: object, parts: object): Ground {
  const config = checkEvaluation({
    ...{ folder: 'x', task: 'miniature', critics: { a: 'group-mean' }, references: 'outcomes' },
    ...given,
  });
  const segmentation = { by: 'tokens', tokens: 1, max_segments: 4, min_tokens: 1, budget: 4 };
  const options = distributionsOf(config).get('none');
  return {
    ...{ options, references: 'outcomes', segmentation, notes: [] },
    ...{ rewardOf: async () => ({ reward: 1 }), sourceOf: async () => tmpdir() },
    ...parts,
  } as unknown as Ground;
}

async function collected(ground: Ground, log: (text: string) => void = () => {}) {
  const folder = mkdtempSync(join(tmpdir(), 'genac-collect-'));
  const signal = new AbortController().signal;
  return collect('none', ground, { base: '.', folder, signal, log } as never);
}

it('prompts that are too long are left out everywhere, and told of by their split', async () => {
  const asked: number[][] = [];
  const empty = new Int32Array();
  const actor = {
    loaded: { context_length: 16, parameters: 1 },
    tokenize: async (prompts: readonly string[]) =>
      prompts.map(({ length }) => ({ promptIds: new Int32Array(length), completionIds: empty })),
    sample: async ({ prompts }: { prompts: readonly Sequence[] }) => {
      const all = Array.from(prompts);
      asked.push(all.map(({ promptIds }) => promptIds.length));
      return all.map(({ promptIds }) => ({
        ...{ promptIds, completionIds: new Int32Array(2), logprobs: new Float32Array(2) },
        ...{ textEnds: Int32Array.of(1, 2), text: 'ab', finishReason: 'stop_token', version: 0 },
      }));
    },
  };
  const problems = async (split: string) => [
    problemOf(`${split}-0`, 'abc'),
    problemOf(`${split}-1`, 'x'.repeat(40)),
  ];
  const sampling = { max_new_tokens: 4, max_prompt_tokens: 5 };
  const small = { prompts: 2, icc_rollouts: 2, num_generations: 1, candidates: 0 };
  const given = { ...small, actor: { model: 'a' } };
  const parts = { task: { problems }, actor: async () => actor };
  const dropping = { ...given, sampling: { ...sampling, overlong_prompts: 'drop' } };
  const said: string[] = [];
  const { problems: kept } = await collected(groundOf(dropping, parts), (text) => said.push(text));
  expect(kept.map(({ problem }) => problem.id)).toEqual(['heldout-0']);
  expect(asked).toEqual([[3], [3]]);
  expect(said).toContain(
    '1 of 2 train prompts have more than 5 tokens (sampling.max_prompt_tokens): they are left out',
  );
  await expect(collected(groundOf({ ...given, sampling }, parts))).rejects.toThrow(
    '1 of 2 heldout prompts have more than 5 tokens',
  );
});

describe('logged responses', () => {
  it.each([0, 4])('keep their rewards with %i candidates', async (candidates) => {
    const problem = problemOf('p', 'q');
    const rollouts = [1, 0].map((reward, i) => ({
      ...{ problem, actor: profile, response: `${i}`, reward, prefixes: ['', `${i}`] },
      ...{ firstUnedited: 0, tokens: null },
    }));
    const parts = { task: { frozenRollouts: () => rollouts } };
    const ground = groundOf({ actor: null, prompts: 1, candidates }, parts);
    const [only] = (await collected(ground)).problems;
    expect(only!.responses.map(({ reward }) => reward)).toEqual([1, 0]);
    expect(only!.states[0]!.reference.mean).toBe(0.5);
  });
});
