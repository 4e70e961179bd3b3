/**
 * Tables of the user's own models and task, such as SmolLM2 on sums. Nothing is exact there and no
 * actor synthetic: values are measured against continuations, and stronger actors learn by the
 * group mean.
 */
import { dirname } from 'node:path';
import { withAbsolutePaths } from '../config/absolute-paths.ts';
import { readYaml } from '../config/load.ts';
import { type Config, configSchema } from '../config/schema.ts';
import { loadCritic, type PluginChoice } from '../extensions/find-plugin.ts';
import { pathFrom } from '../files/paths.ts';
import { UserError } from '../user-error.ts';
import { type Setup, withOptions } from './setup.ts';
import { type Size, sizes } from './sizes.ts';

/**
 * @param path of the config, for errors
 * @param shifts files by name, whose `task` is a further shift of table 3
 * @throws UserError for a config without a model of its own
 */
export function givenSetup(
  path: string,
  config: Config,
  base: string,
  size: Size['name'],
  shifts: Readonly<Record<string, string>>,
): Setup {
  const recipe = withAbsolutePaths(config);
  const critic = withOptions(recipe.critic) as { readonly use: string; readonly model?: unknown };
  const task = withOptions(recipe.task);
  for (const [part, model] of [
    ['actor', recipe.actor?.model],
    ['critic', critic.model],
  ] as const)
    if (typeof model !== 'string' || model.startsWith('task:'))
      throw new UserError(
        `${path}: ${part}.model is ${model ?? 'missing'}, and of the task "${task.use}" the tables ` +
          'need a folder or a Hub name; of the embedded tasks they are made by "miniature" alone',
      );
  return {
    recipe: { ...recipe, task, critic },
    size: sizeOf(recipe, size),
    given: { base, shifts: Object.fromEntries(Object.entries(shifts).map(shiftOf(base))) },
  };
}

/**
 * The tables train a critic from traces on, with its words and without.
 *
 * @throws UserError for any other; ConfigError for options that are not valid
 */
export async function refuseOtherCritics(
  { critic }: Config,
  { base }: NonNullable<Setup['given']>,
): Promise<void> {
  const { plugin, options } = await loadCritic(critic as PluginChoice, base);
  if (plugin.imitates && (options as { thinking?: unknown }).thinking === true) return;
  throw new UserError(
    `the config's critic is "${plugin.name}": the tables need one that learns from traces and ` +
      'thinks in words, such as "generative"',
  );
}

/** Numbers of the config in the place of the miniature's. */
function sizeOf({ joint, critic_rl, evaluation }: Config, name: Size['name']): Size {
  const size: Size = { ...sizes[name], families: [], depths: [], theory: [] };
  if (name === 'tiny') return { ...size, tuning: 0, prompts: 4, candidates: 4, continuations: 2 };
  const iterations = joint.steps;
  const every = Math.max(1, Math.ceil(iterations / 10));
  return {
    ...{ ...size, every, joint: iterations, icc: iterations, longer: 2 },
    ...{ sweep: Math.max(1, Math.ceil(0.4 * iterations)), tuning: name === 'full' ? 1 : 0 },
    strength: { ...size.strength, iterations, every },
    head: { steps: critic_rl.steps, responses: critic_rl.states },
    ...{ prompts: Math.max(2, Math.ceil(evaluation.prompts / 2)), states: evaluation.states },
    continuations: evaluation.continuations || size.continuations,
  };
}

/** In table 3, whatever the task is. */
export const shiftsOfActors = ['none', 'mild-temperature', 'moderate-actor', 'severe-actor'];

const shiftOf =
  (base: string) =>
  ([name, path]: [string, string]): [string, Config['task']] => {
    const where = `--shift ${name}=${path}`;
    const folder = dirname(pathFrom('.', path));
    if (folder !== base)
      throw new UserError(
        `${where}: it lies in ${folder}, and its paths would be read in ${base}: put it beside the ` +
          'config',
      );
    if (shiftsOfActors.includes(name))
      throw new UserError(`${where}: table 3 has a shift of this name already; name it otherwise`);
    const { data } = configSchema.shape.task.safeParse(readYaml(path).task);
    if (data === undefined) throw new UserError(`${where}: it needs \`task\`, as a config has it`);
    return [name, withOptions(data)];
  };

/** Notes of tables of given models. */
export const againstContinuations = ({ size }: Setup): string[] => [
  `Errors are mean squared errors against means of ${size.continuations} continuations of each ` +
    'state, whose variance is subtracted.',
  'Every critic was trained once, on the config’s task and actor.',
];
export const STRONGER =
  'Stronger actors learned by the group mean in one run: the strong one has its best success, the ' +
  'stronger one at least half of the rise to it; both are read off the run’s own evaluations.';
