/** Options of `genac evaluate`: a YAML file, or made from the runs that are named. */
import { z } from 'zod';
import { ConfigError, issuesOf } from '../config/error.ts';
import {
  configSchema,
  count,
  plugin,
  positive,
  sampling as runSampling,
  share,
} from '../config/schema.ts';
import { segmentationSchema } from '../text/segment.ts';
import { loadingFields } from '../workers/loading.ts';
import { RESPONSES } from './states.ts';

const actor = z.strictObject({
  /** Folder in Hugging Face format, Hub name, or `task:NAME` for a model that the task makes. */
  model: z.string().min(1),
  worker: z.string().default('actor'),
  /** The actor's name in ICC. null: the model's name. */
  name: z.string().nullable().default(null),
  dtype: z.enum(['auto', 'float32', 'bfloat16']).default('auto'),
  ...loadingFields,
  /** What the critics are told of its success; null: it is measured on `icc_rollouts`. */
  success_rate: share.nullable().default(null),
});

/** A critic by name and options as in a run, or trained weights with its run's options. */
const critic = z.union(
  [
    z.string().min(1),
    z.looseObject({
      /** A run, a checkpoint, or a folder in Hugging Face format. */
      from: z.string().min(1),
    }),
    z.looseObject({ use: z.string().min(1) }),
  ],
  { error: 'expected a name, {use: NAME, ...} or {from: FOLDER, ...}' },
);

const fields = {
  task: plugin,
  rewards: configSchema.shape.rewards,
  /** null: the rollouts that the task brings itself. */
  actor: actor.nullable(),
  sampling: runSampling
    .pick({
      ...{ max_new_tokens: true, temperature: true, top_p: true, top_k: true },
      ...{ stop_strings: true, max_prompt_tokens: true, overlong_prompts: true },
    })
    .prefault({}),
  /** null: the task's own, else by sentence. */
  segmentation: segmentationSchema.nullable().default(null),
  split: z.enum(['heldout', 'train']).default('heldout'),
  /** Problems. Intervals are over them. */
  prompts: positive.default(128),
  /** Responses to each, whose states are valued. */
  num_generations: positive.max(RESPONSES).default(2),
  /**
   * Responses to each whose rewards a critic of outcomes knows, such as `group-mean`: as many as
   * training has of a problem. null: `num_generations`.
   */
  group_size: positive.max(RESPONSES).nullable().default(null),
  /** States of each response: all of them, or one drawn at random. */
  states_per_response: z.enum(['all', 'one']).default('all'),
  /**
   * Responses to each problem for the top-1 ranking, of which pools of 2, 4, 8 and 16 with one
   * right are made; 0: no ranking.
   */
  candidates: count.max(RESPONSES).default(16),
  /**
   * What ranks a response: the value of its last state, before the last segment, as training values
   * it; or of the whole response, which no critic is trained on.
   */
  rank_by: z.enum(['last-state', 'whole']).default('last-state'),
  /**
   * What the values are measured against: `exact` values of the task, the mean reward of
   * `continuations`, or the `outcomes` alone. `auto`: the first of them that there is.
   */
  references: z.enum(['auto', 'exact', 'continuations', 'outcomes']).default('auto'),
  /** Of each state. */
  continuations: z.int().min(2).max(1e6).default(256),
  /** Responses to `train` problems by which the actor's success rate is measured. */
  icc_rollouts: positive.default(128),
};

const distribution = z.strictObject({ seed: configSchema.shape.seed, ...fields });

/** Objects put names of digits before all others, and tables would begin with another critic. */
const named = /^(?!\d+$|\.{1,2}$|__proto__$)[\w.@-]+$/;
const namedWords = 'letters, digits and . _ - @, and not digits alone';

export const evaluationSchema = distribution.extend({
  /** Where results, and what was sampled for them, are kept. */
  folder: z.string().min(1),
  /** By the name that tables show; the first is the one that others are compared with. */
  critics: z.record(z.string().regex(named, namedWords), critic),
  /** The critics' single best answers instead of those that training uses. */
  greedy: z.boolean().default(false),
  /**
   * Other distributions, by name: changes of the options above, of the actor and of the sampling
   * those that are given.
   */
  shifts: z
    .record(
      z
        .string()
        .regex(named, namedWords)
        .refine((name) => name !== 'none', '"none" is taken by the distribution without a shift'),
      z.looseObject({}),
    )
    .default({}),
  workers: configSchema.shape.workers,
  /** Resamples of the problems for each interval. */
  bootstrap: z.int().min(100).max(100_000).default(2000),
});

export type EvaluationConfig = z.output<typeof evaluationSchema>;
export type EvaluationInput = z.input<typeof evaluationSchema>;
export type CriticEntry = EvaluationConfig['critics'][string];
/** Problems, the actor, and what values are measured against. */
export type Distribution = z.output<typeof distribution>;

/** @throws ConfigError with all problems at once */
export function checkEvaluation(input: unknown, source?: string): EvaluationConfig {
  const read = evaluationSchema.safeParse(input);
  const heading = "the evaluation's options are not valid";
  if (!read.success)
    throw new ConfigError(issuesOf(read.error, evaluationSchema, input), source, heading);
  const problems = Object.keys(read.data.critics).length === 0 ? ['critics: none is named'] : [];
  const shifts = shiftsOf(read.data);
  for (const [name, { merged, parsed }] of shifts)
    problems.push(
      ...(parsed.success
        ? problemsOfGroup(parsed.data, `shifts.${name}.`)
        : issuesOf(parsed.error, distribution, merged, `shifts.${name}`)),
    );
  problems.push(...problemsOfGroup(read.data, ''));
  const isRanked = [read.data, ...shifts.map(({ 1: { merged } }) => merged)].some(
    ({ candidates }) => candidates !== 0,
  );
  if (!isRanked && read.data.rank_by !== 'last-state')
    problems.push('rank_by: has no effect with `candidates: 0`');
  if (problems.length > 0) throw new ConfigError(problems, source, heading);
  return read.data;
}

function problemsOfGroup(
  {
    group_size,
    num_generations,
    actor,
  }: Pick<Distribution, 'group_size' | 'num_generations' | 'actor'>,
  at: string,
): string[] {
  if (group_size === null) return [];
  if (actor === null)
    return [`${at}group_size: has no effect without an actor: a group is what the task brings`];
  return group_size < num_generations
    ? [`${at}group_size: ${group_size} is less than num_generations: ${num_generations}`]
    : [];
}

/** Responses to a problem whose rewards critics of outcomes know, where an actor samples them. */
export const groupOf = ({
  group_size,
  num_generations,
}: Pick<Distribution, 'group_size' | 'num_generations'>): number => group_size ?? num_generations;

/** `none`, as the options say, and each shift. */
export function distributionsOf(config: EvaluationConfig): Map<string, Distribution> {
  const shifts = shiftsOf(config).map(
    ([name, { merged }]) => [name, distribution.parse(merged)] as const,
  );
  return new Map([['none', distribution.parse(baseOf(config))], ...shifts]);
}

function shiftsOf(config: EvaluationConfig) {
  const base = baseOf(config);
  return Object.entries(config.shifts).map(([name, changes]) => {
    const merged: Record<string, unknown> = { ...base, ...changes };
    for (const part of ['actor', 'sampling'] as const)
      if (isObject(changes[part]) && isObject(base[part]))
        merged[part] = { ...base[part], ...changes[part] };
    return [name, { merged, parsed: distribution.safeParse(merged) }] as const;
  });
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;

function baseOf(config: EvaluationConfig): Distribution {
  const { folder, critics, greedy, shifts, workers, bootstrap, ...base } = config;
  return base;
}
