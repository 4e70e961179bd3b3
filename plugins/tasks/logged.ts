/**
 * Logged rollouts: responses that some actor once wrote, with their rewards. A critic learns from
 * them in stages 1 and 2, without any actor at hand.
 */
import { z } from 'zod';
import {
  type ActorProfile,
  ConfigError,
  DataError,
  defineTask,
  needsTokens,
  type Problem,
  pathFrom,
  prefixesOfText,
  type Rollout,
  type Split,
  type Task,
} from '../../src/plugin-api.ts';
import { columnsSchema, type LoggedRow, layouts } from './logged/columns.ts';
import { readLog } from './logged/read.ts';
import { successRates } from './logged/success-rate.ts';
import { digestOf, keyOf, shareFields, shareOf, splitByKey, tellOfLeak } from './rows/held-out.ts';
import { ProblemOrder } from './rows/order.ts';
import { promptFields, refusePromptOptions } from './rows/prompt.ts';

const options = z
  .strictObject({
    /** A JSONL file, or a folder of them; relative to the config file. */
    file: z.string().min(1),
    /** Whose column names the log has. */
    layout: z.enum(Object.keys(layouts) as [keyof typeof layouts]).default('genac'),
    /** Other names of columns. */
    columns: columnsSchema.prefault({}),
    /** Of the actor, where the log does not say. */
    actor: z
      .strictObject({
        name: z.string().min(1).default('actor'),
        parameters: z.number().nonnegative().default(0),
      })
      .prefault({}),
    /**
     * The range [lowest, highest] of the rewards, mapped linearly to [0, 1]; null: it is [0, 1].
     */
    rescale: z
      .tuple([z.number(), z.number()])
      .refine(([low, high]) => low < high, 'the lowest value first, then a higher one')
      .nullable()
      .default(null),
    /**
     * m of the success rate over steps, p <- m p + (1 - m) mean(r), where the log does not say it.
     */
    momentum: z.number().min(0).lt(1).default(0.8),
    system: promptFields.system,
    format: promptFields.format,
    /** A share of the problems. */
    heldout: z.strictObject(shareFields).prefault({}),
    /** Lines that are no rollout: an error that names them, or dropped and counted. */
    bad_lines: z.enum(['error', 'drop']).default('error'),
  })
  .superRefine((given, context) => {
    refusePromptOptions(given, context);
    if (given.layout !== 'trl' || given.columns.reward !== undefined) return;
    context.addIssue({
      code: 'custom',
      path: ['columns', 'reward'],
      message:
        'TRL names a column after each reward function: say which is the reward, or a list of them',
    });
  });

/** A rollout that was read, with all but its prefixes. */
type Read = Omit<Rollout, 'prefixes' | 'firstUnedited'>;

export default defineTask({
  name: 'logged',
  options,
  async create(given, { base, log, segmentation }): Promise<Task> {
    const rule = segmentation ?? { by: 'sentence', max_segments: 16, min_tokens: 1 };
    const why = needsTokens(rule);
    if (why) throw new ConfigError([`credit.segmentation: ${why}`]);
    const rows = await readLog(pathFrom(base, given.file), given, log);
    const split = splitRows(rows, given);
    const read = rolloutsOf(rows, given);
    const problems = {
      train: different(split.train, read),
      heldout: different(split.heldout, read),
    };
    tellOfLeak(problems.train.map(keyOf), problems.heldout.map(keyOf), log);
    log(
      `task: ${split.train.length} rollouts of ${problems.train.length} problems to learn ` +
        `from, ${split.heldout.length} of ${problems.heldout.length} held out, from ` +
        `${given.file}`,
    );
    const orders = Object.fromEntries(
      (['train', 'heldout'] as const).map((side) => [
        side,
        {
          rollouts: new ProblemOrder(split[side].length, `rollouts/${side}`),
          problems: new ProblemOrder(problems[side].length, side),
        },
      ]),
    ) as Record<Split, Record<'rollouts' | 'problems', ProblemOrder>>;
    return {
      name: 'logged',
      problems: (side, seed, from, count) =>
        orders[side].problems.indices(seed, from, count).map((index) => problems[side][index]!),
      frozenRollouts: (side, seed, from, count) =>
        orders[side].rollouts.indices(seed, from, count).map((index) => {
          const rollout = read[split[side][index]!]!;
          return { ...rollout, prefixes: prefixesOfText(rollout.response, rule), firstUnedited: 0 };
        }),
    };
  },
});

const problemKey = (row: LoggedRow) => row.problem ?? keyOf(row);

function splitRows(
  rows: readonly LoggedRow[],
  { heldout }: z.infer<typeof options>,
): Record<Split, number[]> {
  try {
    return splitByKey(rows.map(problemKey), shareOf(heldout, false)!);
  } catch (error) {
    throw new DataError([
      `task.heldout: ${(error as Error).message}: log responses to more problems`,
    ]);
  }
}

function rolloutsOf(
  rows: readonly LoggedRow[],
  { actor, momentum }: z.infer<typeof options>,
): Read[] {
  const rated = rows.map((row) => ({
    actor: row.actor ?? actor.name,
    step: row.step,
    problem: problemKey(row),
    reward: row.reward,
  }));
  const rates = successRates(rated, momentum);
  return rows.map((row, i) => {
    const { prompt, columns, response, reward } = row;
    const profile: ActorProfile = {
      name: rated[i]!.actor,
      parameters: row.parameters ?? actor.parameters,
      successRate: row.successRate ?? rates[i]!,
    };
    const id = row.problem ?? digestOf({ prompt, columns: {} });
    return { problem: { id, prompt, columns }, actor: profile, response, reward };
  });
}

/** The problem of the first rollout of each. */
function different(indices: readonly number[], read: readonly Read[]): Problem[] {
  const problems = new Map<string, Problem>();
  for (const i of indices) {
    const { problem } = read[i]!;
    if (!problems.has(problem.id)) problems.set(problem.id, problem);
  }
  return [...problems.values()];
}
