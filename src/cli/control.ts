/** `genac pause | set | stop | status`, for a run in another terminal. */
import { resolve } from 'node:path';
import { parse } from 'yaml';
import type { Settings } from '../config/settings.ts';
import { askRun } from '../run/control.ts';
import { setBetweenLives } from '../run/past-settings.ts';
import { isAlive, type Status, statusOf } from '../run-folder/status.ts';
import { UserError } from '../user-error.ts';
import { shownMetrics, stageTitles } from './progress.ts';

export async function askCommand(folder: string, command: 'pause' | 'stop'): Promise<void> {
  console.error(await askRun(folder, { command }));
}

/** @param assignments `credit.lambda=0.9 critic.icc=false` */
export async function setCommand(
  folder: string,
  assignments: readonly string[],
  { trustCode = false }: { trustCode?: boolean },
): Promise<void> {
  const values: Settings = Object.fromEntries(assignments.map(assignmentOf));
  const status = statusOf(folder);
  const isOver = !isAlive(status) && status.state !== 'done';
  console.error(
    isOver
      ? await setBetweenLives(resolve(folder), values, trustCode)
      : await askRun(folder, { command: 'set', values: values as Record<string, never> }),
  );
}

function assignmentOf(assignment: string): [name: string, value: unknown] {
  const at = assignment.indexOf('=');
  if (at < 1)
    throw new UserError(`"${assignment}" is not of the form NAME=VALUE, as in credit.lambda=0.9`);
  try {
    return [assignment.slice(0, at), parse(assignment.slice(at + 1), { logLevel: 'error' })];
  } catch (error) {
    throw new UserError(
      `"${assignment}": the value can't be read as YAML: ` +
        `${(error as Error).message.split('\n')[0]}`,
    );
  }
}

export function statusCommand(folder: string, options: { json?: boolean }): void {
  const status = statusOf(folder);
  const alive = isAlive(status);
  if (options.json) console.log(JSON.stringify({ ...status, alive }, null, 2));
  else console.log(statusText(folder, status, alive, Date.now()));
}

export function statusText(folder: string, status: Status, alive: boolean, now: number): string {
  const { state, stage, iteration, iterations, phase, metrics, pid, host } = status;
  const over = ['done', 'stopped', 'failed'].includes(state);
  const unfinished = state !== 'done' && !alive;
  const word = alive ? state : over ? state : 'killed';
  const figures = Object.entries(shownMetrics).flatMap(([name, words]) =>
    typeof metrics[name] === 'number' ? [`${words} ${metrics[name].toFixed(3)}`] : [],
  );
  const minutes = Math.round((now - Date.parse(status.since)) / 60_000);
  return [
    `${word}${alive ? `, process ${pid} on ${host}, for ${minutes} min` : `, last heard of ${status.updated}`}`,
    ...(stage
      ? [`${stageTitles[stage]} ${iteration}/${iterations}${phase ? `  [${phase}]` : ''}`]
      : []),
    ...(figures.length > 0 ? [figures.join('  ')] : []),
    ...(unfinished ? [`genac resume ${folder} goes on with it`] : []),
  ].join('\n');
}
