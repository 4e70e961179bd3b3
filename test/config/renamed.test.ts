/** Options under their old names are read, with one warning for a file. */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { stringify } from 'yaml';
import { checkConfig, loadConfigFile } from '../../src/config/load.ts';
import { withPresentNames } from '../../src/config/renamed.ts';
import type { ConfigInput } from '../../src/config/schema.ts';
import { RunFolder } from '../../src/run-folder/folder.ts';

const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
afterEach(() => {
  warned.mockClear();
});

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

it('reads every old name, and warns once of all of them', () => {
  const config = checkConfig(old as unknown as ConfigInput);
  expect(config.actor).toMatchObject({ min_lr_ratio: 0.5 });
  expect(config.sampling).toMatchObject({ batch_size: 3, num_generations: 5 });
  expect(config.joint.steps).toBe(7);
  expect(config.evaluation).toMatchObject({ prompts: 9, num_generations: 2 });
  expect(config.credit.segmentation).toMatchObject({ max_segments: 6, min_tokens: 2 });
  const warning =
    'the config: these options have new names, and the next version will not read the old ones: ' +
    'actor.final (now min_lr_ratio), sampling.problems (now batch_size), ' +
    'sampling.responses (now num_generations), joint.iterations (now steps), ' +
    'evaluation.problems (now prompts), evaluation.responses (now num_generations), ' +
    'credit.segmentation.at_most (now max_segments), ' +
    'credit.segmentation.minimum_tokens (now min_tokens)';
  expect(warned.mock.calls).toEqual([[warning, 'DeprecationWarning']]);
  checkConfig(old as unknown as ConfigInput);
  expect(warned).toHaveBeenCalledTimes(1);
});

it('names the file in the warning, and is silent about a config that a run wrote itself', async () => {
  const folder = join(mkdtempSync(join(tmpdir(), 'genac-renamed-')), 'run');
  mkdirSync(folder);
  const file = join(folder, 'config.yaml');
  writeFileSync(file, stringify(old));
  writeFileSync(join(folder, 'run.json'), JSON.stringify({ genac: '0.1.0', base: folder }));
  const { config } = await RunFolder.read(folder);
  expect(config.sampling).toMatchObject({ batch_size: 3, num_generations: 5 });
  expect(warned).not.toHaveBeenCalled();
  expect(loadConfigFile(file).config.sampling).toEqual(config.sampling);
  expect(warned).toHaveBeenCalledTimes(1);
  expect(warned.mock.calls[0]![0]).toContain(`${file}: these options have new names`);
});

it('reports all mistakes at once, with the file and the names that were written', () => {
  const file = join(mkdtempSync(join(tmpdir(), 'genac-renamed-')), 'wrong.yaml');
  const problemsOf = (changes: object): string[] => {
    writeFileSync(file, stringify({ ...old, ...changes }));
    try {
      loadConfigFile(file);
    } catch (error) {
      const [first, ...problems] = (error as Error).message.split('\n  ');
      expect(first).toBe(`${file}: the config is not valid`);
      return problems;
    }
    return [];
  };
  const both = 'joint.iterations: is now joint.steps, which is given too; leave it out';
  expect(
    problemsOf({
      joint: { iterations: 1, steps: 2 },
      sampling: { problems: 'many', responses: 1 },
      critic_rl: { update: 3 },
    }),
  ).toEqual([
    both,
    expect.stringMatching(/^sampling\.problems \(now batch_size\): "many": .*expected number/),
    expect.stringMatching(/^critic_rl\.update: no such option/),
  ]);
  // Also what is in range but has no effect.
  expect(
    problemsOf({
      joint: { iterations: 1, steps: 2 },
      actor: { model: 'm', decay: 'constant', final: 0.5 },
    }),
  ).toEqual([both, 'actor.final (now min_lr_ratio): has no effect with actor.decay: constant']);
  expect(warned).not.toHaveBeenCalled();
});

it('refuses an option that stands under both names, and leaves everything else alone', () => {
  expect(() => withPresentNames({ joint: { iterations: 1, steps: 2 } })).toThrow(
    'joint.iterations: is now joint.steps, which is given too',
  );
  const own = { task: { use: 'x', problems: 1, final: 2 }, sampling: null, critic: ['a'] };
  expect(withPresentNames(own)).toEqual(own);
  expect(withPresentNames('text')).toBe('text');
});
