/** What the tables' models are made with. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import generative from '../../plugins/critics/generative.ts';
import languageModel from '../../plugins/critics/language-model.ts';
import { checkConfig, loadConfigFile } from '../../src/config/load.ts';
import { taskOf, workersOf } from '../../src/reproduction/configs.ts';
import { depthsOf, familiesOf } from '../../src/reproduction/families.ts';
import { baseActor, scorer } from '../../src/reproduction/foundation.ts';
import { jointConfig, type MethodKey, methods } from '../../src/reproduction/methods.ts';
import { inOrder, keyOf, type Results } from '../../src/reproduction/parts.ts';
import { setupOf } from '../../src/reproduction/read-setup.ts';
import { strengthsIn } from '../../src/reproduction/strong-actors.ts';
import { settingOf } from '../../src/reproduction/sweep.ts';
import { rl } from '../../src/reproduction/tables/4-rl.ts';
import { cost } from '../../src/reproduction/tables/5-cost.ts';

it('makes critics with words and without of one recipe', () => {
  const setup = setupOf(undefined, 'tiny');
  const optionsOf = (kind: Parameters<typeof scorer>[1]) => {
    const { use, ...options } = scorer(setup, kind) as { readonly use: string };
    return [use, options] as const;
  };
  const [words, given] = optionsOf('generative');
  const [silent, same] = optionsOf('language-model');
  expect([words, silent]).toEqual(['generative', 'language-model']);
  expect(generative.options.parse(given)).toMatchObject({ icc: true, completions_per_state: 2 });
  expect(languageModel.options.parse(same)).toMatchObject({ icc: true, completions_per_state: 2 });
  expect(optionsOf('generative-without-icc')[1]).toEqual({ ...given, icc: false });
});

const full = setupOf(undefined, 'full');

describe('the tasks of tables 1 and 4', () => {
  it('are the recipe’s own, longer and wider chains, cups, and two of reasoning-gym', () => {
    const [own, longer, cups, sums, multiples, wider] = familiesOf(full);
    expect(own).toEqual({ title: 'chains of 8', setup: full, steps: 8 });
    expect([longer!.title, longer!.steps]).toEqual(['chains of 12', 12]);
    expect(longer!.setup.recipe).toMatchObject({
      critic: { max_new_tokens: 72 },
      sampling: { max_new_tokens: 30 },
    });
    expect(cups!.title).toBe('8 swaps of 4 cups');
    expect(cups!.setup.recipe.task).toMatchObject({ use: 'cups', cups: 4 });
    expect([wider!.title, wider!.steps]).toEqual(['chains of 8 modulo 11', 8]);
    expect(wider!.setup.recipe.task).toMatchObject({ use: 'miniature', modulus: 11 });
    for (const [family, generator, steps] of [
      [sums, 'chain_sum', 5],
      [multiples, 'lcm', 6],
    ] as const) {
      expect([family!.title, family!.steps]).toEqual([`reasoning-gym, ${generator}`, steps]);
      expect(family!.setup.recipe.task).toMatchObject({ use: 'gym-chains', generator });
      expect(workersOf(family!.setup)).toHaveProperty('python');
    }
    expect(workersOf(full)).toEqual({ worker: { threads: 1 } });
  });
  it('have configs that hold for every method, and models of their own', () => {
    const keys = Object.keys(methods) as MethodKey[];
    for (const { title, setup, steps } of familiesOf(full))
      for (const key of keys) {
        const [setting] = methods[key].settings;
        const config = jointConfig(setup, 0, steps, key, setting!, { iterations: 1 });
        const { task } = checkConfig({ ...config, folder: 'runs/none' });
        expect([title, key, task]).toMatchObject([title, key, { steps }]);
      }
    const bases = familiesOf(full).map(({ setup, steps }) => keyOf(baseActor(setup, 0, steps)));
    expect(new Set(bases).size).toBe(6);
  });
  it('end, in table 1, with the word problem of S5, whose oracle has more to teach', () => {
    const families = depthsOf(full);
    expect(families.map(({ title }) => title)).toEqual([
      ...['chains of 2', 'chains of 3', 'chains of 5', 'chains of 3 x 2', 'chains of 8'],
      '8 swaps of 5 cups',
    ]);
    const depths = families.map(({ steps, operations = 1 }) => steps * operations);
    expect(depths.slice(0, -1)).toEqual([2, 3, 5, 6, 8]);
    for (const { setup, steps, operations } of families.slice(0, -1)) {
      const { task } = checkConfig({
        ...setup.recipe,
        folder: 'runs/none',
        task: taskOf(setup, steps),
      });
      expect((task as { operations_per_step?: number }).operations_per_step).toBe(operations);
    }
    const { recipe } = families.at(-1)!.setup;
    expect(recipe).toMatchObject({ task: { use: 'cups', cups: 5 }, critic_sft: { steps: 900 } });
    expect(recipe.critic_rl).toEqual(loadConfigFile('examples/cups.yaml').config.critic_rl);
  });
  it('take a config whose task and critic are names alone', () => {
    const path = join(mkdtempSync(join(tmpdir(), 'genac-setup-')), 'config.yaml');
    const { actor, sampling } = full.recipe;
    const config = { folder: 'runs/x', task: 'miniature', critic: 'generative', actor, sampling };
    writeFileSync(path, JSON.stringify(config));
    const setup = setupOf(path, 'full');
    expect(taskOf(setup, 5)).toEqual({ use: 'miniature', steps: 5 });
    expect(scorer(setup, 'language-model')).toEqual({
      ...{ use: 'language-model', worker: 'worker', max_new_tokens: 6 },
    });
    const [, longer] = familiesOf(setup);
    expect(longer!.setup.recipe.critic).toEqual({ use: 'generative' });
    expect(longer!.setup.recipe.sampling.max_new_tokens).toBe(30);
  });
  it('measure savings against a critic that draws twice, whatever the demo does', () => {
    const drawn = { completions_per_state: 2, read: 'sampled', carry_until: null };
    expect(full.recipe.critic).toMatchObject({ ...drawn, share_prefixes: false });
    const path = 'examples/miniature.yaml';
    expect(setupOf(path, 'full').recipe.critic).toEqual(loadConfigFile(path).config.critic);
    const parts = cost.parts(setupOf(path, 'tiny'), 0).filter(({ name }) => name === 'cost');
    const critics = parts.map(({ options }) => (options as { critic: object }).critic);
    expect(critics).toContainEqual(expect.objectContaining(drawn));
  });
  it.each([{ modulus: 11 }, { operations_per_step: 2 }])(
    'refuse a recipe whose chains are others: %j',
    (option) => {
      const path = join(mkdtempSync(join(tmpdir(), 'genac-setup-')), 'config.yaml');
      const { actor, sampling } = full.recipe;
      const task = { use: 'miniature', ...option };
      writeFileSync(
        path,
        JSON.stringify({ folder: 'runs/x', task, critic: 'generative', actor, sampling }),
      );
      const [[name, value]] = Object.entries(option) as [[string, number]];
      expect(() => setupOf(path, 'full')).toThrow(`task.${name} is ${value}, and the tables need`);
    },
  );
  it('refuses a config of another task whose models the task makes', () => {
    expect(() => setupOf('examples/cups.yaml', 'full')).toThrow('by "miniature" alone');
  });
});

it('an actor of a strength is the first that succeeds so often, and the last if none does', () => {
  const curve = [0.4, 0.2, 0.5, 0.4, 0.6].map((success, i) => ({
    ...{ success, iteration: 5 * i, actor_tokens: 0, all_tokens: 0, seconds: 0 },
  }));
  expect(strengthsIn(curve, { stronger: 0.35, strong: 0.7 })).toEqual({
    stronger: { iteration: 10, success: 0.5 },
    strong: { iteration: 20, success: 0.6 },
  });
});

describe('the size hour', () => {
  const hour = setupOf(undefined, 'hour');
  const keys = Object.keys(methods) as MethodKey[];
  const chosen = Object.fromEntries(
    keys.map((key) => [methods[key].name, settingOf(hour, key, {} as Results)]),
  );
  it('takes the settings that the sweep of docs/results.md chose', () => {
    const page = readFileSync('docs/results.md', 'utf8');
    const found = [...page.matchAll(/^\| (.+) \(lambda\/rate .*; chosen ([\d.]+)\/([\d.]+)\)/gm)];
    expect(
      Object.fromEntries(
        found.map(([, name, lambda, rate]) => [
          name!,
          { lambda: Number(lambda), learning_rate: Number(rate) },
        ]),
      ),
    ).toEqual(chosen);
  });
  it('has no run of a sweep, and says which settings it takes', () => {
    const parts = inOrder(rl.parts(hour, 0));
    expect(parts.filter(({ name }) => name.startsWith('sweep-'))).toEqual([]);
    expect(parts.length).toBeGreaterThan(24);
    const results = { resultOf: () => null, folderOf: () => '' } as unknown as Results;
    const settings = rl.blocks(hour, 0, results).at(-1)!;
    expect(settings.rows.map(({ name, cells }) => [name, cells[0]?.value])).toEqual(
      Object.entries(chosen).map(([name, { lambda }]) => [name, lambda]),
    );
  });
});
