/**
 * Code that a run's config names (a task, a critic, rewards, code beside a model's weights) runs with the rights of
 * whoever goes on with the run. Of one's own runs that is what one asked for; of a folder that came from
 * somebody else it takes consent.
 */
import { appendFileSync, mkdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { kindOf } from '../config/rewards.ts';
import type { Config } from '../config/schema.ts';
import { isWrittenAsPath, pathFrom } from '../files/paths.ts';
import { UserError } from '../user-error.ts';

interface Naming {
  readonly task?: unknown;
  readonly critic?: unknown;
  readonly rewards?: Config['rewards'];
  readonly actor?: unknown;
}

/** What these parts of a config name: `task: /home/me/task.ts`, one for each. */
export function codeNamedBy({ task, critic, rewards = [], actor }: Naming, base: string): string[] {
  const useOf = (choice: unknown) =>
    typeof choice === 'string' ? choice : (choice as { use?: string } | undefined)?.use;
  const files = Object.entries({ task: useOf(task), critic: useOf(critic) }).flatMap(([part, use]) =>
    use !== undefined && isWrittenAsPath(use) ? [`${part}: ${pathFrom(base, use)}`] : [],
  );
  const functions = rewards.flatMap(({ use }, i) => {
    const kind = kindOf(use, base);
    if (typeof kind === 'string' || kind.kind === 'math-verify') return [];
    return [`rewards.${i}: ${kind.kind === 'python' ? kind.target : kind.file}`];
  });
  return [...files, ...functions, ...besideWeights('actor', actor), ...besideWeights('critic', critic)];
}

function besideWeights(part: string, options: unknown): string[] {
  if (typeof options !== 'object' || options === null) return [];
  const { trust_remote_code, attn_implementation } = options as Record<string, unknown>;
  return [
    ...(trust_remote_code === true ? [`${part}: what lies beside its weights (trust_remote_code)`] : []),
    // A name with a slash is a kernel on the Hub.
    ...(typeof attn_implementation === 'string' && attn_implementation.includes('/')
      ? [`${part}: the kernel ${attn_implementation}`]
      : []),
  ];
}

/** Notes that this user's own config named this code for this run. Where nothing can be written, consent is asked for later. */
export function rememberOwnRun(folder: string, code: readonly string[]): void {
  if (code.length === 0) return;
  try {
    mkdirSync(dirname(record()), { recursive: true, mode: 0o700 });
    appendFileSync(record(), `${JSON.stringify({ folder: resolve(folder), code })}\n`, { mode: 0o600 });
  } catch {}
}

/**
 * Throws where the code was neither named by the user's own config for this run nor is allowed.
 *
 * @param how words for how it is allowed, such as `--trust-code`
 */
export function refuseForeignCode(
  folder: string,
  code: readonly string[],
  allowed: boolean,
  how: string,
): void {
  if (allowed) return;
  const own = new Set(ownRuns().flatMap((run) => (run.folder === resolve(folder) ? run.code : [])));
  const foreign = code.filter((one) => !own.has(one));
  if (foreign.length === 0) return;
  throw new UserError(
    `${folder} is no run that you began on this machine, and its config names code that would run with your rights: ${foreign.join('; ')}. Read it first; to allow it: ${how}`,
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
