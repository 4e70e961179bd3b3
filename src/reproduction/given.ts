/**
 * Tables of the user's own models and task, such as SmolLM2 on sums. Nothing is exact there and no
 * actor synthetic: values are measured against continuations, and stronger actors learn by the
 * group mean.
 */
import { dirname } from 'node:path';
import { digestOf, fingerprint } from '../comparison/lines.ts';
import { namedFiles } from '../comparison/named-files.ts';
import { withAbsolutePaths } from '../config/absolute-paths.ts';
import { ConfigError } from '../config/error.ts';
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
        `${path}: ${part}.model is ${model ?? 'missing'}, and of the task "${task.use}" the ` +
          'tables need a folder or a Hub name; of the embedded tasks they are made by ' +
          '"miniature" alone',
      );
  refuseLoose(path, recipe);
  return {
    recipe: { ...recipe, task, critic },
    size: sizeOf(recipe, size),
    given: { base, shifts: Object.fromEntries(Object.entries(shifts).map(shiftOf(base))) },
  };
}

/** @throws ConfigError for options that some of the runs can't have in the same sense */
function refuseLoose(path: string, { start_from, joint, critic_sft }: Config): void {
  const problems = [
    ...(start_from === null
      ? []
      : ['start_from: the tables begin with actor.model and critic.model; name the weights there']),
    ...(joint.critic === 'learn'
      ? []
      : ['joint.critic: the tables train every critic; leave it out']),
    ...(typeof critic_sft.traces === 'string' || critic_sft.traces.api.cache !== null
      ? []
      : ['critic_sft.traces.api.cache: name a file, for several critics learn from the answers']),
  ];
  if (problems.length > 0)
    throw new ConfigError(problems, path, 'the tables can’t be made of this config');
}

/** What results depend on beyond options: where files are relative to, and what they held. */
export function filesOf({ recipe, given }: Setup): string | null {
  if (!given) return null;
  const { task, rewards, critic, actor, critic_sft } = recipe;
  const { model } = critic as unknown as { readonly model: string };
  const { base } = given;
  const models = [actor!.model, model].map(fingerprint);
  return digestOf([base, models, namedFiles([task, rewards, critic, actor, critic_sft], base)]);
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
function sizeOf({ actor, joint, critic_rl, evaluation }: Config, name: Size['name']): Size {
  const size: Size = { ...sizes[name], families: [], depths: [], theory: [] };
  if (name === 'tiny') {
    const each = { prompts: 4, candidates: 4, continuations: 2 };
    const num_generations = 4;
    const batch_size = Math.max(4, Math.ceil((actor?.minibatches ?? 1) / num_generations));
    return { ...size, tuning: 0, ...each, sampling: { batch_size, num_generations } };
  }
  const iterations = joint.steps;
  const every = Math.max(1, Math.ceil(iterations / 10));
  return {
    ...{ ...size, every, joint: iterations, icc: iterations, longer: 2 },
    ...{ sweep: Math.max(1, Math.ceil(0.4 * iterations)), tuning: name === 'full' ? 1 : 0 },
    strength: { ...size.strength, iterations, every },
    head: { steps: critic_rl.steps, responses: critic_rl.states },
    ...{ prompts: Math.max(2, Math.ceil(evaluation.prompts / 2)), states: evaluation.states },
    // Means of fewer have no variance to subtract.
    continuations: Math.max(2, evaluation.continuations || size.continuations),
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
        `${where}: it lies in ${folder}, and its paths would be read in ${base}: put it beside ` +
          'the config',
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
  'stronger one at least half of the rise to it; both are read off the run’s own evaluations. ' +
  'Where the run never rose, they are the best of what came after its start.';
