/** Reads what a run wrote: while it runs, or later. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { promptSchema } from '../bridge/operations.ts';
import { issuesOf } from '../config/error.ts';
import { type StageName, stageNames } from '../config/schema.ts';
import { jsonLinesOf } from '../files/json-lines.ts';
import { UserError } from '../user-error.ts';
import type { SettingChange } from './events.ts';

export interface MetricsLine {
  readonly type: 'iteration' | 'evaluation';
  readonly stage: StageName;
  readonly iteration: number;
  /** Since the run began. */
  readonly seconds: number;
  readonly [metric: string]: unknown;
}

export interface RecordedSegment {
  readonly text: string;
  readonly tokens: number;
  readonly value: number;
  /** What credit was computed from: the value, or the group's mean where the gate closed. */
  readonly used_value: number;
  readonly advantage: number;
  readonly parsed: 'ok' | 'malformed';
  readonly rationale: string;
}

export interface RecordedTrajectory {
  readonly iteration: number;
  readonly problem: string;
  readonly prompt: string;
  readonly response: string;
  readonly reward: number;
  /**
   * What each reward function gave; null: not applicable. Absent where the task's own reward
   * judged.
   */
  readonly rewards?: Readonly<Record<string, number | null>>;
  readonly segments: readonly RecordedSegment[];
}

const place = { stage: z.enum(stageNames), iteration: z.int().nonnegative() };
const metricsSchema = z.looseObject({
  type: z.enum(['iteration', 'evaluation']),
  ...place,
  seconds: z.number(),
});
/** What `genac set` can give. */
const scalar = z.union([z.number(), z.boolean(), z.string(), z.null()]);
const settingSchema = z.strictObject({ ...place, values: z.record(z.string(), scalar) });
const trajectorySchema = z.looseObject({
  iteration: place.iteration,
  problem: z.string(),
  prompt: promptSchema,
  response: z.string(),
  reward: z.number(),
  segments: z.array(
    z.looseObject({
      text: z.string(),
      tokens: z.number(),
      value: z.number(),
      used_value: z.number(),
      advantage: z.number(),
      parsed: z.enum(['ok', 'malformed']),
      rationale: z.string(),
    }),
  ),
});

/** Whole lines only: the last one may still be in writing. */
function* recordsOf<T>(path: string, schema: z.ZodType, what: string): Generator<T> {
  if (!existsSync(path)) return;
  for (const { number, value } of jsonLinesOf(path, { last: 'ignore' })) {
    const read = schema.safeParse(value);
    if (!read.success) {
      const [issue] = issuesOf(read.error, schema, value);
      throw new UserError(`${path}, line ${number} is not ${what} (${issue}): mend or remove it`);
    }
    yield value as T;
  }
}

/** One line at a time: memory does not grow with the file. */
export const metricsOf = (folder: string) =>
  recordsOf<MetricsLine>(join(folder, 'metrics.jsonl'), metricsSchema, 'a line of metrics');
/** One trajectory at a time: memory does not grow with the file. */
export const trajectoriesOf = (folder: string) =>
  recordsOf<RecordedTrajectory>(
    join(folder, 'trajectories.jsonl'),
    trajectorySchema,
    'a trajectory',
  );

/**
 * @throws Error that names file and line where a line is damaged; a last one that was cut off is
 * left out
 */
export const readMetrics = (folder: string) => [...metricsOf(folder)];
/** Values that were changed while the run went on, and from which iteration on. */
export const readSettings = (folder: string) => [
  ...recordsOf<SettingChange>(join(folder, 'settings.jsonl'), settingSchema, 'a changed setting'),
];
export const readTrajectories = (folder: string) => [...trajectoriesOf(folder)];

/** A metric as a number; null where the line does not have it. */
export function metric(line: MetricsLine | undefined, name: string): number | null {
  const value = line?.[name];
  return typeof value === 'number' ? value : null;
}
