/** Where a model's files lie: a folder, a Hub name, or `task:NAME`, which the task makes once. */
import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { ModelTools, Task } from '../task.ts';
import { UserError } from '../user-error.ts';

export interface ModelSource extends Pick<ModelTools, 'worker' | 'seed' | 'signal'> {
  readonly task: Task;
  /** The folder of a model that the task makes. */
  folderOf(name: string): string;
  /** One line for the user. */
  log(text: string): void;
}

export async function modelSource(model: string, source: () => ModelSource): Promise<string> {
  if (!model.startsWith('task:')) return existsSync(resolve(model)) ? resolve(model) : model;
  const { task, log, folderOf, ...tools } = source();
  const name = model.slice('task:'.length);
  const made = folderOf(name);
  if (existsSync(join(made, 'config.json'))) return made;
  if (!task.makeModel)
    throw new UserError(`${model}: the task "${task.name}" makes no models of its own`);
  log(`making ${model}`);
  const progress = (share: number, words: string) =>
    log(`making ${model}: ${Math.round(100 * share)}%, ${words}`);
  const unfinished = `${made}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  await task.makeModel(name, unfinished, { ...tools, progress });
  await rename(unfinished, made);
  return made;
}
