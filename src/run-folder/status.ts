/**
 * `status.json` of a run folder: the current state of the run, for other processes. Each write
 * replaces the whole file, so that it can be read at any time.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { stageNames } from '../config/schema.ts';
import { readText } from '../files/text-file.ts';
import { UserError } from '../user-error.ts';
import type { RunEvent } from './events.ts';
import { withPresentLatest } from './renamed-metrics.ts';

const statusSchema = z.strictObject({
  state: z.enum(['starting', 'running', 'paused', 'done', 'stopped', 'failed']),
  pid: z.int(),
  /**
   * Start time of the process in the kernel's units; null: unknown. It distinguishes a process from
   * a later one with the same number.
   */
  process_start: z.string().nullable(),
  host: z.string(),
  /** ISO times: of the run's start (or resume), and of this file. */
  since: z.string(),
  updated: z.string(),
  stage: z.enum(stageNames).nullable(),
  /** Finished iterations of the stage, and their largest number. */
  iteration: z.int(),
  iterations: z.int(),
  phase: z.string().nullable(),
  /** The latest value of each metric. */
  metrics: z.record(z.string(), z.number().nullable()),
});

export type Status = z.infer<typeof statusSchema>;

const HEARTBEAT_MS = 2_000;
/**
 * Milliseconds without a renewal after which a run on another host counts as dead, because its
 * process can't be checked.
 */
export const SILENCE_MS = 30_000;

export class StatusFile {
  #status: Status;
  readonly #path: string;
  readonly #timer: NodeJS.Timeout;

  constructor(folder: string) {
    this.#path = join(folder, 'status.json');
    const now = new Date().toISOString();
    const nothing = { stage: null, iteration: 0, iterations: 0, phase: null, metrics: {} };
    const me = { pid: process.pid, process_start: processStart(process.pid), host: hostname() };
    this.#status = { state: 'starting', ...me, since: now, updated: now, ...nothing };
    this.#write();
    this.#timer = setInterval(() => this.#write(), HEARTBEAT_MS).unref();
  }

  note(event: RunEvent): void {
    const was = this.#status;
    switch (event.type) {
      case 'stage':
        this.#status = {
          ...was,
          state: 'running',
          stage: event.stage,
          iteration: event.from,
          iterations: event.iterations,
        };
        break;
      case 'phase':
        this.#status = { ...was, iteration: event.iteration, phase: event.phase };
        return; // the next heartbeat reports it
      case 'progress':
        this.#status = { ...was, metrics: { ...was.metrics, ...event.metrics } };
        return;
      case 'iteration':
        this.#status = {
          ...was,
          iteration: event.iteration + 1,
          metrics: { ...was.metrics, ...finite(event.metrics) },
        };
        return;
      case 'evaluation':
        this.#status = { ...was, metrics: { ...was.metrics, ...finite(event.metrics) } };
        return;
      case 'paused':
        this.#status = { ...was, state: 'paused' };
        break;
      case 'resumed':
        this.#status = { ...was, state: 'running' };
        break;
      default:
        return;
    }
    this.#write();
  }

  close(state: 'done' | 'stopped' | 'failed'): void {
    clearInterval(this.#timer);
    this.#status = { ...this.#status, state, phase: null };
    this.#write();
  }

  #write(): void {
    this.#status = { ...this.#status, updated: new Date().toISOString() };
    try {
      writeFileSync(`${this.#path}.unfinished`, `${JSON.stringify(this.#status)}\n`);
      renameSync(`${this.#path}.unfinished`, this.#path);
    } catch {
      // A full disk ends the run where data would be lost, and not here.
    }
  }
}

const finite = (metrics: Readonly<Record<string, number>>) =>
  Object.fromEntries(
    Object.entries(metrics).map(([name, value]) => [name, Number.isFinite(value) ? value : null]),
  );

/** Reads the status of a folder's run. @throws UserError if there is none, or it can't be read */
export function statusOf(folder: string): Status {
  const path = join(folder, 'status.json');
  if (!existsSync(path)) {
    const lacks = existsSync(folder) ? 'it has no status.json' : 'there is no such folder';
    throw new UserError(`${folder} holds no run: ${lacks}`);
  }
  const text = readText(path);
  try {
    const status = statusSchema.parse(JSON.parse(text));
    return { ...status, metrics: withPresentLatest(status.metrics) };
  } catch (error) {
    throw new UserError(`${path} was cut off or edited: what the run does can't be known from it`, {
      cause: error,
    });
  }
}

/** Reads the status of a folder's run; null: there is none, or it can't be read. */
export function readStatus(folder: string): Status | null {
  try {
    return statusOf(folder);
  } catch {
    return null;
  }
}

/** Returns whether the process that wrote the status still works. */
export function isAlive(status: Status): boolean {
  if (!['starting', 'running', 'paused'].includes(status.state)) return false;
  if (status.host !== hostname()) return Date.now() - Date.parse(status.updated) < SILENCE_MS;
  return processIsAlive(status.pid, status.process_start);
}

/** Returns whether the process of this number on this machine is the one that started then. */
export function processIsAlive(pid: number, start: string | null): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  return start === null || start === processStart(pid);
}

/**
 * Returns the start time of a process: field 22 of /proc/PID/stat; null if there is no such file.
 */
export function processStart(pid: number): string | null {
  const path = `/proc/${pid}/stat`;
  if (!existsSync(path)) return null;
  const text = readFileSync(path, 'utf8');
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? null;
}
