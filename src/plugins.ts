/** Finds a task or a critic by name (built in) or by path (a user's file), and checks its options. */
import { existsSync } from 'node:fs';
import { isAbsolute, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { z } from 'zod';
import { ConfigError, issuesOf, nearest } from './config-error.ts';
import type { CriticPlugin } from './critic.ts';
import type { TaskPlugin } from './task.ts';

const builtIn = {
  task: ['miniature'],
  critic: ['generative', 'group-mean'],
} as const;

const folders = { task: 'tasks', critic: 'critics' } as const;

interface Plugin {
  readonly name: string;
  readonly options: z.ZodType;
  create(...args: never[]): unknown;
}

export type PluginChoice = string | { readonly use: string; readonly [option: string]: unknown };

/**
 * @param base folder that a user's path is relative to: that of the config file
 * @returns the plugin and its checked options
 */
async function load(
  kind: 'task' | 'critic',
  choice: PluginChoice,
  base: string,
): Promise<{ plugin: Plugin; options: unknown }> {
  const { use, ...given } = typeof choice === 'string' ? { use: choice } : choice;
  const plugin = await importPlugin(kind, use, base);
  const read = plugin.options.safeParse(given);
  if (!read.success) throw new ConfigError(issuesOf(read.error, plugin.options, given, kind));
  return { plugin, options: read.data };
}

export async function loadTask(choice: PluginChoice, base: string) {
  const { plugin, options } = await load('task', choice, base);
  const task = await (plugin as unknown as TaskPlugin).create(options);
  for (const method of ['problems', 'reward'] as const) {
    if (typeof task?.[method] === 'function') continue;
    throw new ConfigError([`task: what "${plugin.name}" creates has no function \`${method}\``]);
  }
  return task;
}

export async function loadCritic(choice: PluginChoice, base: string) {
  const { plugin, options } = await load('critic', choice, base);
  return { plugin: plugin as unknown as CriticPlugin, options };
}

async function importPlugin(kind: 'task' | 'critic', use: string, base: string): Promise<Plugin> {
  const names: readonly string[] = builtIn[kind];
  let file: string;
  if (names.includes(use)) {
    file = fileURLToPath(new URL(`../plugins/${folders[kind]}/${use}.ts`, import.meta.url));
  } else if (use.startsWith('.') || isAbsolute(use)) {
    file = resolve(base, use);
    if (!existsSync(file)) throw new ConfigError([`${kind}: there is no file ${file}`]);
  } else {
    const close = nearest(use, names);
    const hint = close ? `; did you mean "${close}"?` : '';
    throw new ConfigError([
      `${kind}: "${use}" is none of ${names.map((n) => `"${n}"`).join(', ')}${hint} A ${kind} of your own is a path that begins with "./"`,
    ]);
  }
  const module = (await import(pathToFileURL(file).href).catch((error: Error) => {
    throw new ConfigError([`${kind}: ${file} can't be loaded: ${error.message}`]);
  })) as { default?: unknown };
  const plugin = module.default as Partial<Plugin> | undefined;
  if (
    typeof plugin?.name !== 'string' ||
    typeof plugin.create !== 'function' ||
    typeof plugin.options?.safeParse !== 'function'
  ) {
    const define = kind === 'task' ? 'defineTask' : 'defineCritic';
    throw new ConfigError([
      `${kind}: ${file} has no default export made by ${define}({ name, options, create })`,
    ]);
  }
  return plugin as Plugin;
}
