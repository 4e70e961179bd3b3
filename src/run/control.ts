/**
 * Commands for a run from another process, through files in its folder: `control/ID.request.json`
 * is taken away and answered by `control/ID.reply.json`. Files are made beside their place and
 * renamed, so that none is read half written.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { Settings } from '../config/settings.ts';
import { readText } from '../files/text-file.ts';
import type { StagePosition } from '../run-folder/events.ts';
import { isAlive, readStatus, statusOf } from '../run-folder/status.ts';
import { UserError } from '../user-error.ts';

const requestSchema = z.discriminatedUnion('command', [
  z.strictObject({ command: z.enum(['pause', 'resume', 'stop']) }),
  z.strictObject({ command: z.literal('set'), values: z.record(z.string(), z.json()) }),
]);
export type ControlRequest = z.infer<typeof requestSchema>;

const replySchema = z.strictObject({ ok: z.boolean(), text: z.string() });

const POLL_MS = 200;
const ANSWER_MS = 15_000;

/** What can be asked of a run. */
export interface Controlled {
  stop(): Promise<void>;
}
export interface Steerable {
  readonly paused: boolean;
  pause(): void;
  resume(): void;
  set(values: Settings): Promise<StagePosition | null>;
}

/** Answers commands until it is closed. */
export function serveControl(
  folder: string,
  run: Controlled,
  steering: Steerable,
): { close(): void } {
  const place = join(folder, 'control');
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  const answer = (name: string) => {
    const path = join(place, name);
    let reply: z.infer<typeof replySchema>;
    try {
      reply = { ok: true, text: obey(requestOf(path), run, steering) };
    } catch (error) {
      reply = { ok: false, text: (error as Error).message };
    }
    rmSync(path, { force: true, recursive: true });
    writeWhole(path.replace(/\.request\.json$/, '.reply.json'), reply);
  };
  const timer = setInterval(() => {
    try {
      for (const name of readdirSync(place).filter((n) => n.endsWith('.request.json')))
        answer(name);
    } catch {
      // Whoever asked gets no answer, and says so. A folder that is gone ends the run where it
      // writes.
    }
  }, POLL_MS).unref();
  return {
    close() {
      clearInterval(timer);
      rmSync(place, { recursive: true, force: true });
    },
  };
}

function requestOf(path: string): ControlRequest {
  const text = readText(path);
  try {
    return requestSchema.parse(JSON.parse(text));
  } catch (error) {
    throw new UserError(`${path} is no command that a run knows`, { cause: error });
  }
}

function obey(request: ControlRequest, run: Controlled, steering: Steerable): string {
  switch (request.command) {
    case 'pause':
      steering.pause();
      return 'it waits after the iteration in hand';
    case 'resume':
      if (!steering.paused) return 'it was not paused';
      steering.resume();
      return 'it goes on';
    case 'stop':
      void run.stop();
      return 'it ends after the iteration in hand, with a checkpoint';
    case 'set': {
      void steering.set(request.values as Settings);
      const values = Object.entries(request.values).map(
        ([name, value]) => `${name} = ${JSON.stringify(value)}`,
      );
      return `from the next iteration on, if there is one: ${values.join(', ')}`;
    }
  }
}

/**
 * Asks the run that works in a folder. Resolves with its answer; rejects with its refusal, or if
 * none is at work there.
 */
export async function askRun(folder: string, request: ControlRequest): Promise<string> {
  const status = statusOf(folder);
  if (!isAlive(status)) {
    const how = ['done', 'stopped', 'failed'].includes(status.state)
      ? `is over (${status.state})`
      : 'was killed';
    throw new UserError(
      `the run in ${folder} ${how}; genac resume ${folder} goes on with one that did not finish`,
    );
  }
  const place = join(folder, 'control');
  const id = randomBytes(6).toString('hex');
  const reply = join(place, `${id}.reply.json`);
  try {
    writeWhole(join(place, `${id}.request.json`), request);
  } catch (error) {
    throw new UserError(`the run in ${folder} can't be asked: ${(error as Error).message}`, {
      cause: error,
    });
  }
  for (const until = Date.now() + ANSWER_MS; Date.now() < until; await sleep(POLL_MS / 4)) {
    if (!existsSync(reply)) {
      // A run that has come to its end takes its answers along.
      const now = readStatus(folder);
      if (now && !isAlive(now)) {
        if (request.command === 'stop') return `it has ended (${now.state})`;
        throw new UserError(`the run in ${folder} ended meanwhile (${now.state})`);
      }
      continue;
    }
    const { ok, text } = replyOf(reply);
    rmSync(reply, { force: true });
    if (ok) return text;
    throw new UserError(text);
  }
  throw new UserError(
    `the run in ${folder} (process ${status.pid} on ${status.host}) did not answer within ` +
      `${ANSWER_MS / 1000} s`,
  );
}

function replyOf(path: string): z.infer<typeof replySchema> {
  const text = readText(path);
  try {
    return replySchema.parse(JSON.parse(text));
  } catch (error) {
    throw new UserError(`${path} is no answer of a run`, { cause: error });
  }
}

function writeWhole(path: string, content: unknown): void {
  writeFileSync(`${path}.unfinished`, JSON.stringify(content));
  renameSync(`${path}.unfinished`, path);
}
