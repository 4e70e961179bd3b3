/**
 * Starts the loggers of a config's `log` in the worker `python`. They read `metrics.jsonl`
 * themselves, so the run never waits for them.
 */
import { relative } from 'node:path';
import type { Config } from '../config/schema.ts';
import type { Json } from '../types.ts';
import type { PythonFunctions } from '../workers/python-functions.ts';
import { renamedMetrics } from './renamed-metrics.ts';

const module = 'genac_bridge.functions.loggers';
const LOOK_MS = 1000;
/** wandb sends the rest over the network; a stopped run should not wait long for it. */
const CLOSE_SECONDS = 60;

/** By logger. */
interface Told {
  readonly failed: Readonly<Record<string, string>>;
  readonly notices: Readonly<Record<string, string>>;
}

export interface Loggers {
  /** Lets the loggers send the rest, and ends them. Never rejects. */
  close(): Promise<void>;
}

/**
 * Returns after asking the loggers to start. A logger that fails is reported once, and the run
 * continues without it.
 *
 * @param folder of the run
 */
export async function openLoggers(
  config: Config,
  folder: string,
  python: PythonFunctions,
  tell: (text: string) => void,
): Promise<Loggers> {
  const told = new Set<string>();
  const noticed = new Set<string>();
  const report = ({ failed, notices }: Told) => {
    for (const [name, notice] of Object.entries(notices))
      if (!noticed.has(name)) {
        noticed.add(name);
        tell(`log: ${name}: ${notice}`);
      }
    for (const [name, error] of Object.entries(failed)) {
      if (told.has(name)) continue;
      told.add(name);
      tell(
        `log: ${name} failed and gets nothing more in this run: ${error.replace(/[.\s]+$/, '')}. ${remedy(name, error)} Nothing is lost: ` +
          `metrics.jsonl has it all, and once ${name} works, genac log ${shortest(folder)} ` +
          'gives it what it lacks.',
      );
    }
  };
  const ask = async (
    name: string,
    keywords: Record<string, Json>,
    deadlineMs: number,
  ): Promise<void> => {
    try {
      const answer = await python.call(
        `${module}:${name}`,
        { folder, ...keywords },
        { deadlineMs },
      );
      report((answer as Told | null) ?? { failed: {}, notices: {} });
    } catch (error) {
      const failed = config.log.map(({ use }) => [use, (error as Error).message] as const);
      report({ failed: Object.fromEntries(failed), notices: {} });
    }
  };
  await ask(
    'open_loggers',
    {
      config: config as unknown as Json,
      loggers: config.log as Json,
      renamed: renamedMetrics,
    },
    60_000,
  );
  let asking: Promise<void> | null = null;
  const timer = setInterval(() => {
    asking ??= ask('told', {}, 600_000).finally(() => {
      asking = null;
    });
  }, LOOK_MS).unref();
  return {
    async close() {
      clearInterval(timer);
      await asking;
      await ask('close_loggers', { seconds: CLOSE_SECONDS }, (CLOSE_SECONDS + 30) * 1000);
    },
  };
}

function remedy(name: string, error: string): string {
  if (/ModuleNotFoundError|ImportError/.test(error))
    return `Install it where the workers' Python is: pip install ${name}.`;
  if (name === 'wandb' && /api.?key|login|network|Comm|timed? ?out|did not end/i.test(error))
    return 'Run `wandb login`, or write {use: wandb, mode: offline} in `log`.';
  return 'The whole error is in logs/python.log.';
}

const shortest = (folder: string) => {
  const from = relative('.', folder);
  return from === '' ? '.' : from.startsWith('..') ? folder : from;
};
