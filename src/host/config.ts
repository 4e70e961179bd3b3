/**
 * The controller's config where a host trains the actor: those parts of a run's config that speak
 * of the critic and the credit.
 */
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import type { HostArguments } from '../bridge/host-operations.ts';
import { ratesWithoutEffect, updatesWithoutEffect } from '../config/changed.ts';
import { ConfigError, issuesOf } from '../config/error.ts';
import { type CheckedCritic, discountProblems } from '../config/for-critic.ts';
import { readYaml } from '../config/load.ts';
import { withPresentNames } from '../config/renamed.ts';
import {
  type Config,
  configSchema,
  credit,
  criticRl,
  criticSft,
  icc,
  joint,
} from '../config/schema.ts';
import { namedBy, refuseForeign } from '../extensions/consent.ts';
import { importCritic } from '../extensions/find-plugin.ts';
import { expandHome, isWrittenAsPath, pathFrom } from '../files/paths.ts';
import { findCritic } from '../standalone/find-critic.ts';

const { seed, critic, workers, task } = configSchema.shape;

/**
 * Without what a host decides (how many updates, of what states) and what has no effect where it
 * trains the actor.
 */
export const hostConfigSchema = z.strictObject({
  seed,
  /**
   * The task whose format the critic was trained with; null: the paper's format, or that of the run
   * in which the critic's model lies.
   */
  task: task.nullable().default(null),
  critic,
  workers,
  credit: credit.omit({ scale: true }).prefault({}),
  icc: icc
    .omit({ warm_rollouts: true })
    .extend({
      /** Of the actor, before the first batch; null: not known. */
      success_rate: z.number().min(0).max(1).nullable().default(null),
    })
    .prefault({}),
  critic_sft: criticSft.omit({ traces: true }).prefault({}),
  critic_rl: criticRl
    .omit({ steps: true, states: true, actor_share: true, evaluate_every: true, keep: true })
    .extend({
      /** Default: all of them, because a host sends whole responses. */
      states_per_response: criticRl.shape.states_per_response.unwrap().default('all'),
    })
    .prefault({}),
  joint: joint.omit({ steps: true, schedule: true }).prefault({}),
  gates: z
    .strictObject({
      /**
       * While the critic's explained variance on the batch is below zero, or none of its scores is
       * valid, the group mean is the value.
       */
      explained_variance: z.boolean().default(true),
    })
    .prefault({}),
});

export type HostConfig = z.infer<typeof hostConfigSchema>;

export interface LoadedHostConfig {
  readonly config: HostConfig;
  /** Folder that the paths of the critic's and the task's own files are relative to. */
  readonly base: string;
}

type Tree = Record<string, unknown>;
const isTree = (value: unknown): value is Tree =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * `over` goes before `under`, key by key; a segmentation of another kind takes the place of the
 * whole.
 */
function merged(under: Tree, over: Tree): Tree {
  const both = { ...under };
  for (const [key, value] of Object.entries(over)) {
    const before = both[key];
    both[key] = isTree(before) && isTree(value) && !('by' in value) ? merged(before, value) : value;
  }
  return both;
}

const asTree = (choice: unknown): Tree =>
  typeof choice === 'string' ? { use: choice } : isTree(choice) ? choice : {};

/**
 * The host's options before the file, the file before the run that trained the critic's model.
 * @throws ConfigError
 */
export async function loadHostConfig(given: HostArguments<'open'>): Promise<LoadedHostConfig> {
  const { config_file } = given;
  const options = withPresentNames(given.options);
  const file = config_file === null ? {} : withPresentNames(readYaml(config_file), config_file);
  let base = config_file === null ? given.base : dirname(resolve(config_file));
  const asked = merged(
    { ...file, ...('critic' in file && { critic: asTree(file.critic) }) },
    { ...options, ...('critic' in options && { critic: asTree(options.critic) }) },
  );
  refuseTwoCritics(file.critic, options.critic, config_file);
  const critic = withOwnFile(asTree(asked.critic), base);
  const own = { ...asked, critic: await withDefaultModel(critic, given.critic_default, base) };
  const trained = await trainedWith(own, base, given.trust_code);
  if (trained?.options.task !== undefined) base = trained.base;
  const input = trained ? merged(trained.options, { ...own, critic: trained.critic }) : own;
  const read = hostConfigSchema.safeParse(input);
  if (!read.success)
    throw new ConfigError(issuesOf(read.error, hostConfigSchema, input), config_file ?? undefined);
  return { config: read.data, base };
}

/**
 * @throws ConfigError for options without effect on this critic
 */
export function refuseForHost(
  config: HostConfig,
  critic: CheckedCritic,
  file: string | null,
): void {
  const idle = [...ratesWithoutEffect(config), ...updatesWithoutEffect(config, critic)];
  const problems = [
    ...discountProblems(critic, config.credit.gamma, 'gamma'),
    ...idle.map((problem) =>
      problem
        .replace(/^joint\.learning_rate/, '$& (TRL: critic_learning_rate)')
        .replace(/^joint\.critic/, '$& (TRL: critic_update)'),
    ),
  ];
  if (problems.length > 0) throw new ConfigError(problems, file ?? undefined);
}

/** One critic's options are none of another's. */
function refuseTwoCritics(inFile: unknown, given: unknown, file: string | null): void {
  const [own, hosts] = [asTree(inFile).use, asTree(given).use];
  if (own === undefined || hosts === undefined || own === hosts) return;
  throw new ConfigError(
    [
      `critic: it is ${JSON.stringify(own)} in the file, and ${JSON.stringify(hosts)} by the ` +
        'trainer\'s option `critic`, whose default is "generative": name one critic in both',
    ],
    file ?? undefined,
  );
}

/** A file that the host names is its own, also where the task of a run lies elsewhere. */
const withOwnFile = (critic: Tree, base: string): Tree =>
  typeof critic.use === 'string' && isWrittenAsPath(critic.use)
    ? { ...critic, use: pathFrom(base, critic.use) }
    : critic;

/** The critic with the host's own checkpoint, if it needs a model and names none. */
async function withDefaultModel(critic: Tree, checkpoint: Tree, base: string): Promise<Tree> {
  if ('model' in critic || !('model' in checkpoint) || typeof critic.use !== 'string')
    return critic;
  const { models } = await importCritic(critic.use, base);
  return models ? merged(checkpoint, critic) : critic;
}

interface Trained {
  /** What the run says that the host leaves open. */
  readonly options: Tree;
  /** With the weights' own folder as its model. */
  readonly critic: Tree;
  /** Of the run's paths. */
  readonly base: string;
}

/** Options of the run that trained the critic's model; null: the model is in no run's folder. */
async function trainedWith(
  asked: Tree & { critic: Tree },
  base: string,
  trustCode: boolean,
): Promise<Trained | null> {
  const { critic } = asked;
  if (typeof critic.model !== 'string' || typeof critic.use !== 'string') return null;
  // The model of an API, for one, lies in no folder.
  const { models, startFrom } = await importCritic(critic.use, base);
  if (!models && !startFrom) return null;
  const { model, run } = await findCritic(expandHome(critic.model));
  const own = { ...critic, model };
  if (!run) return { options: {}, critic: own, base: '.' };
  const { config } = run;
  const options: Tree = {
    ...(asked.task === undefined && { task: config.task }),
    ...(config.credit.segmentation && { credit: pick(config) }),
  };
  const before = withOwnFile(asTree(config.critic), run.base);
  const isSame = before.use === critic.use;
  // What the host itself names is its own; the rest comes with the run.
  const { use: _, ...inherited } = Object.fromEntries(
    Object.entries(isSame ? before : {}).filter(([key]) => !(key in critic)),
  );
  const foreign = namedBy({ task: options.task, critic: inherited }, run.base);
  refuseForeign(config.folder, foreign, trustCode, 'critic_trust_code=True (TRL)');
  return { options, critic: isSame ? merged(before, own) : own, base: run.base };
}

const pick = ({ credit: { segmentation } }: Config) => ({ segmentation });
