/** Reads what a run wrote: while it runs, or later. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { StageName } from '../config.ts';
import type { Setting } from '../steering.ts';

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
  /** What each reward function gave; null: not applicable. Absent where the task's own reward judged. */
  readonly rewards?: Readonly<Record<string, number | null>>;
  readonly segments: readonly RecordedSegment[];
}

/** Whole lines only: the last one may still be in writing. */
function readLines<T>(path: string): T[] {
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as T);
}

export const readMetrics = (folder: string) => readLines<MetricsLine>(join(folder, 'metrics.jsonl'));
/** Values that were changed while the run went on, and from which iteration on. */
export const readSettings = (folder: string) => readLines<Setting>(join(folder, 'settings.jsonl'));
export const readTrajectories = (folder: string) =>
  readLines<RecordedTrajectory>(join(folder, 'trajectories.jsonl'));

/** A metric as a number; null where the line does not have it. */
export function metric(line: MetricsLine | undefined, name: string): number | null {
  const value = line?.[name];
  return typeof value === 'number' ? value : null;
}
