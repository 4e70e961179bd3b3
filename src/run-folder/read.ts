/** Reads a run's files, during the run or later. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { promptSchema } from '../bridge/operations.ts';
import { issuesOf } from '../config/error.ts';
import { type StageName, stageNames } from '../config/schema.ts';
import { jsonLinesOf } from '../files/json-lines.ts';
import { UserError } from '../user-error.ts';
import type { SettingChange } from './events.ts';
import { withPresentMetrics } from './renamed-metrics.ts';

export interface MetricsLine {
  readonly type: 'iteration' | 'evaluation';
  readonly stage: StageName;
  readonly iteration: number;
  /** Seconds since the start of the run. */
  readonly seconds: number;
  readonly [metric: string]: unknown;
}

export interface RecordedSegment {
  readonly text: string;
  readonly tokens: number;
  readonly value: number;
  /** The value that credit used: `value`, or the group mean if the gate closed. */
  readonly used_value: number;
  readonly advantage: number;
  readonly parsed: 'ok' | 'malformed';
  /** The critic was not asked: the value is that of the last state before it that was. */
  readonly inherited?: boolean;
  readonly rationale: string;
}

/** What is said of a segment's value: the critic's words, or why it wrote none. */
export const wordsOf = ({ parsed, inherited, rationale }: RecordedSegment): string =>
  (parsed === 'malformed' ? '[no valid score; a stand-in is the value] ' : '') +
  (inherited ? '[not asked about this state: the value before it] ' : '') +
  rationale;

export interface RecordedTrajectory {
  readonly iteration: number;
  readonly problem: string;
  readonly prompt: string;
  readonly response: string;
  readonly reward: number;
  /**
   * The result of each reward function; null: not applicable. Absent if the task's own reward was
   * used.
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
/** A value of `genac set`. */
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
      inherited: z.boolean().optional(),
      rationale: z.string(),
    }),
  ),
});

/** Whole lines only, because the last one may still be in writing. */
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

/** One line at a time: memory does not grow with the file. Old names are read as present ones. */
export function* metricsOf(folder: string): Generator<MetricsLine> {
  const path = join(folder, 'metrics.jsonl');
  for (const line of recordsOf<MetricsLine>(path, metricsSchema, 'a line of metrics'))
    yield withPresentMetrics(line);
}
/** One trajectory at a time: memory does not grow with the file. */
export const trajectoriesOf = (folder: string) =>
  recordsOf<RecordedTrajectory>(
    join(folder, 'trajectories.jsonl'),
    trajectorySchema,
    'a trajectory',
  );

/**
 * @throws UserError that names file and line if a line is damaged; skips a last line that was cut
 *   off
 */
export const readMetrics = (folder: string) => [...metricsOf(folder)];
/** Returns values that changed during the run, and the iterations from which they apply. */
export const readSettings = (folder: string) => [
  ...recordsOf<SettingChange>(join(folder, 'settings.jsonl'), settingSchema, 'a changed setting'),
];
export const readTrajectories = (folder: string) => [...trajectoriesOf(folder)];

/** Returns a metric as a number; null if the line does not have it. */
export function metric(line: MetricsLine | undefined, name: string): number | null {
  const value = line?.[name];
  return typeof value === 'number' ? value : null;
}
