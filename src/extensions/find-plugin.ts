/**
 * Finds a task or a critic by name (built in) or by path (a user's file), and checks its options.
 */
import { existsSync, readdirSync } from 'node:fs';
import type { z } from 'zod';
import { ConfigError, issuesOf, nearest } from '../config/error.ts';
import type { CriticPlugin } from '../critic.ts';
import { isWrittenAsPath, pathFrom } from '../files/paths.ts';
import type { Task, TaskEnvironment, TaskPlugin } from '../task.ts';
import { compiled, importOwn } from './import-user-file.ts';

type Kind = 'task' | 'critic';
const folders = { task: 'tasks', critic: 'critics' } as const;
const extension = compiled ? '.js' : '.ts';
const folderOf = (kind: Kind) => new URL(`../../plugins/${folders[kind]}/`, import.meta.url);

/** Names of the built-in ones: the files of their folder. */
export const builtIn = (kind: Kind): string[] =>
  readdirSync(folderOf(kind), { withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(extension))
    .map(({ name }) => name.slice(0, -extension.length));

interface Plugin {
  readonly name: string;
  readonly options: z.ZodType;
  readonly needs?: unknown;
  create(...args: never[]): unknown;
}

export type PluginChoice = string | { readonly use: string; readonly [option: string]: unknown };

/**
 * @param base folder that a user's path is relative to: that of the config file
 * @returns the plugin and its checked options
 */
async function load(
  kind: Kind,
  choice: PluginChoice,
  base: string,
): Promise<{ plugin: Plugin; options: unknown }> {
  const { use, ...given } = typeof choice === 'string' ? { use: choice } : choice;
  const plugin = await importPlugin(kind, use, base);
  const read = plugin.options.safeParse(given);
  if (!read.success) throw new ConfigError(issuesOf(read.error, plugin.options, given, kind));
  return { plugin, options: read.data };
}

/** A task that was made, and whether it calls Python functions. */
export interface LoadedTask {
  readonly task: Task;
  readonly usesPython: boolean;
}

export async function loadTask(
  choice: PluginChoice,
  environment: TaskEnvironment,
): Promise<LoadedTask> {
  const { plugin: loaded, options } = await load('task', choice, environment.base);
  const plugin = loaded as unknown as TaskPlugin;
  const task = await plugin.create(options, environment);
  if (typeof task?.problems !== 'function') {
    throw new ConfigError([`task: what "${plugin.name}" creates has no function \`problems\``]);
  }
  return { task, usesPython: plugin.usesPython ?? false };
}

/** For tasks that are used outside a run: no Python worker, warnings to stderr. */
export function bareEnvironment(base: string): TaskEnvironment {
  const call = () =>
    Promise.reject(new Error('this task calls Python functions, and no worker runs'));
  return { base, python: { call }, log: (text) => console.error(text) };
}

export async function loadCritic(choice: PluginChoice, base: string) {
  const { plugin, options } = await load('critic', choice, base);
  return { plugin: plugin as unknown as CriticPlugin, options };
}

export const importCritic = async (use: string, base: string) =>
  (await importPlugin('critic', use, base)) as unknown as CriticPlugin;

/** The built-in critic that can use any folder of a model, for those that no run has trained. */
export async function criticOfFolders(): Promise<string> {
  for (const name of builtIn('critic')) if ((await importCritic(name, '.')).standalone) return name;
  throw new Error('no built-in critic can be made of a folder alone');
}

async function importPlugin(kind: Kind, use: string, base: string): Promise<Plugin> {
  const names = builtIn(kind);
  let file: string;
  let importing: (file: string) => Promise<object> = importOwn;
  if (names.includes(use)) {
    file = new URL(`${use}${extension}`, folderOf(kind)).href;
    importing = (url) => import(url);
  } else if (isWrittenAsPath(use)) {
    file = pathFrom(base, use);
    if (!existsSync(file)) throw new ConfigError([`${kind}: there is no file ${file}`]);
  } else {
    const close = nearest(use, names);
    const hint = close ? `; did you mean "${close}"?` : '.';
    throw new ConfigError([
      `${kind}: "${use}" is none of ${names.map((n) => `"${n}"`).join(', ')}${hint} A ${kind} of your own is a path that begins with "./"`,
    ]);
  }
  const module = (await importing(file).catch((error: Error) => {
    throw new ConfigError([`${kind}: ${file} can't be loaded: ${error.message}`]);
  })) as { default?: unknown };
  const plugin = module.default as Partial<Plugin> | undefined;
  if (
    typeof plugin?.name !== 'string' ||
    typeof plugin.create !== 'function' ||
    typeof plugin.options?.safeParse !== 'function'
  ) {
    const define =
      kind === 'task'
        ? 'defineTask({ name, options, create })'
        : 'defineCritic({ name, needs, options, create })';
    throw new ConfigError([`${kind}: ${file} has no default export made by ${define}`]);
  }
  if (kind === 'critic' && !['states', 'outcomes'].includes(String(plugin.needs)))
    throw new ConfigError([
      `critic: ${file} does not say what its values need: give defineCritic \`needs: 'states'\`, or 'outcomes' for values that depend on the group's rewards`,
    ]);
  return plugin as Plugin;
}
