/**
 * What a run's config names works with the rights of whoever goes on with the run: code (a task, a
 * critic, rewards, code beside a model's weights), keys that are sent somewhere, places outside of
 * the run's folder. Of one's own runs that is what one asked for; of a folder that came from
 * somebody else it takes consent.
 */
import { appendFileSync, lstatSync, mkdirSync, readFileSync, readlinkSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { kindOf } from '../config/rewards.ts';
import type { Config } from '../config/schema.ts';
import { isWrittenAsPath, pathFrom } from '../files/paths.ts';
import { ownFolders } from '../run-folder/folder.ts';
import { UserError } from '../user-error.ts';
import { builtIn, loadCritic, type PluginChoice } from './find-plugin.ts';

interface Naming {
  readonly task?: unknown;
  readonly critic?: unknown;
  readonly rewards?: Config['rewards'];
  readonly actor?: unknown;
  readonly critic_sft?: Config['critic_sft'];
  readonly log?: Config['log'];
}

/** What of these parts of a config takes consent: `task: /home/me/task.ts`, one for each. */
export function namedBy(
  { task, critic, rewards = [], actor, critic_sft, log = [] }: Naming,
  base: string,
): string[] {
  const useOf = (choice: unknown) =>
    typeof choice === 'string' ? choice : (choice as { use?: string } | undefined)?.use;
  const files = Object.entries({ task: useOf(task), critic: useOf(critic) }).flatMap(
    ([part, use]) =>
      use !== undefined && isWrittenAsPath(use) ? [`${part}: ${pathFrom(base, use)}`] : [],
  );
  const functions = rewards.flatMap(({ use }, i) => {
    const kind = kindOf(use, base);
    if (typeof kind === 'string' || kind.kind === 'math-verify') return [];
    return [`rewards.${i}: ${kind.kind === 'python' ? kind.target : kind.file}`];
  });
  return [
    ...files,
    ...functions,
    ...besideWeights('actor', actor),
    ...besideWeights('critic', critic),
    ...ofOracle(critic_sft),
    // Each has its own keys and folders of this user's.
    ...log.map((logger, i) => `log.${i}: metrics are sent by ${JSON.stringify(logger)}`),
  ];
}

/** What a built-in critic's options name: its plugin says so. */
export async function namedByCritic(critic: unknown, base: string): Promise<readonly string[]> {
  const use = typeof critic === 'string' ? critic : (critic as { use?: unknown } | null)?.use;
  if (typeof use !== 'string' || !builtIn('critic').includes(use)) return [];
  try {
    const { plugin, options } = await loadCritic(critic as PluginChoice, base);
    const own = (plugin.names?.(options) ?? []).map((named) => `critic: ${named}`);
    const parts = (plugin.parts?.(options) ?? []).map(async (part) => [
      ...namedBy({ critic: part }, base),
      ...(await namedByCritic(part, base)),
    ]);
    return [...own, ...(await Promise.all(parts)).flat()];
  } catch {
    return []; // options that are not valid are refused where they are used
  }
}

function ofOracle(critic_sft: Config['critic_sft'] | undefined): string[] {
  if (critic_sft === undefined || typeof critic_sft.traces === 'string') return [];
  const { base_url, api_key_env, cache } = critic_sft.traces.api;
  return [
    `critic_sft.traces.api: ${api_key_env === null ? 'prompts are' : `the key in ${api_key_env} is`} sent to ${base_url ?? 'the API'}`,
    ...(cache === null ? [] : [`critic_sft.traces.api.cache: ${cache} is written`]),
  ];
}

/** Folders of a run that are links: what a run writes there, it writes elsewhere. */
export function linksIn(folder: string): string[] {
  return ownFolders.flatMap((name) => {
    const path = join(folder, name);
    if (!lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) return [];
    return [`${name}: a link to ${readlinkSync(path)}`];
  });
}

function besideWeights(part: string, options: unknown): string[] {
  if (typeof options !== 'object' || options === null) return [];
  const { trust_remote_code, attn_implementation, engine } = options as Record<string, unknown>;
  const use = typeof engine === 'object' ? (engine as { use?: unknown } | null)?.use : engine;
  return [
    ...(trust_remote_code === true
      ? [`${part}: what lies beside its weights (trust_remote_code)`]
      : []),
    // A name with a slash is a kernel on the Hub.
    ...(typeof attn_implementation === 'string' && attn_implementation.includes('/')
      ? [`${part}: the kernel ${attn_implementation}`]
      : []),
    // Options of an engine can name code, too.
    ...(use === undefined || use === 'transformers'
      ? []
      : [`${part}: the engine ${typeof engine === 'string' ? engine : JSON.stringify(engine)}`]),
  ];
}

/**
 * Notes that this user's own config named this for this run. Where nothing can be written, consent
 * is asked for later.
 */
export function rememberOwnRun(folder: string, code: readonly string[]): void {
  try {
    mkdirSync(dirname(record()), { recursive: true, mode: 0o700 });
    appendFileSync(record(), `${JSON.stringify({ folder: resolve(folder), code })}\n`, {
      mode: 0o600,
    });
  } catch {}
}

/**
 * Throws where the code was neither named by the user's own config for this run nor is allowed.
 *
 * @param how words for how it is allowed, such as `--trust-code`
 */
export function refuseForeign(
  folder: string,
  code: readonly string[],
  allowed: boolean,
  how: string,
): void {
  if (allowed) return;
  const mine = ownRuns().filter((run) => run.folder === resolve(folder));
  const own = new Set(mine.flatMap((run) => run.code));
  // The user may add loggers to an own run after its end.
  const isOwn = (one: string) => own.has(one) || (mine.length > 0 && one.startsWith('log.'));
  const foreign = code.filter((one) => !isOwn(one));
  if (foreign.length === 0) return;
  throw new UserError(
    `${folder} is no run that you began on this machine, and what it names would run or be ` +
      `used with your rights: ${foreign.join('; ')}. Read it first; to allow it: ${how}`,
  );
}

const lineSchema = z.object({ folder: z.string(), code: z.array(z.string()) });

function ownRuns(): z.infer<typeof lineSchema>[] {
  let text: string;
  try {
    text = readFileSync(record(), 'utf8');
  } catch {
    return [];
  }
  return text.split('\n').flatMap((line) => {
    try {
      return [lineSchema.parse(JSON.parse(line))];
    } catch {
      return []; // an empty or torn line allows nothing
    }
  });
}

function record(): string {
  const { XDG_CONFIG_HOME: home } = process.env;
  return join(home || join(homedir(), '.config'), 'genac', 'own-runs.jsonl');
}
