/** Options under their old names are read, with one warning each. */
import { expect, it, vi } from 'vitest';
import { checkConfig } from '../../src/config/load.ts';
import { withPresentNames } from '../../src/config/renamed.ts';
import type { ConfigInput } from '../../src/config/schema.ts';

const old = {
  folder: 'runs/x',
  task: 'miniature',
  critic: 'group-mean',
  actor: { model: 'm', decay: 'linear', final: 0.5 },
  stages: ['joint'],
  sampling: { problems: 3, responses: 5 },
  joint: { iterations: 7 },
  evaluation: { problems: 9, responses: 2 },
  credit: { segmentation: { by: 'tokens', tokens: 4, at_most: 6, minimum_tokens: 2 } },
};

it('reads every old name, and warns once of each', () => {
  const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
  const config = checkConfig(old as unknown as ConfigInput);
  expect(config.actor).toMatchObject({ min_lr_ratio: 0.5 });
  expect(config.sampling).toMatchObject({ batch_size: 3, num_generations: 5 });
  expect(config.joint.steps).toBe(7);
  expect(config.evaluation).toMatchObject({ prompts: 9, num_generations: 2 });
  expect(config.credit.segmentation).toMatchObject({ max_segments: 6, min_tokens: 2 });
  expect(warned.mock.calls.map(([text]) => String(text))).toContain(
    'sampling.problems is now sampling.batch_size; the old name will not be read any more',
  );
  const count = warned.mock.calls.length;
  checkConfig(old as unknown as ConfigInput);
  expect(warned.mock.calls.length).toBe(count);
  warned.mockRestore();
});

it('refuses an option that stands under both names, and leaves everything else alone', () => {
  expect(() => withPresentNames({ joint: { iterations: 1, steps: 2 } })).toThrow(
    'joint.iterations: is now joint.steps, which is given too',
  );
  const own = { task: { use: 'x', problems: 1, final: 2 }, sampling: null, critic: ['a'] };
  expect(withPresentNames(own)).toEqual(own);
  expect(withPresentNames('text')).toBe('text');
});
