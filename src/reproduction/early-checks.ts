/** Refuses, before anything is made, what a part would refuse after hours. */
import { checkEvaluation, type EvaluationInput } from '../comparison/config.ts';
import { keyFaults } from '../config/api.ts';
import { ConfigError } from '../config/error.ts';
import { refuseForCritic } from '../config/for-critic.ts';
import { checkConfig } from '../config/load.ts';
import type { ConfigInput } from '../config/schema.ts';
import { loadCritic, loadTask, type PluginChoice } from '../extensions/find-plugin.ts';
import { workersOfCritic } from '../run/configured-workers.ts';
import { oracleOf } from '../stages/traces.ts';
import { UserError } from '../user-error.ts';
import type { WorkerGroup } from '../workers/local.ts';
import { pythonFunctions, pythonWorkerSpec } from '../workers/python-functions.ts';
import { taskOf, workersOf } from './configs.ts';
import type { Family } from './families.ts';
import { inOrder, type Part } from './parts.ts';
import { baseOf, type Named, type Setup } from './setup.ts';

/** Everything of one kind in the options of a part, which are configs or lists of them. */
function found<T>(options: unknown, has: readonly string[]): T[] {
  if (Array.isArray(options)) return options.flatMap((one) => found<T>(one, has));
  const is = typeof options === 'object' && options !== null && has.every((key) => key in options);
  return is ? [options as T] : [];
}

/**
 * Checks the configs of all parts as their runs and evaluations will.
 *
 * @throws ConfigError with every problem once, and the first part that has it
 */
export async function checkParts(wanted: readonly Part[], base: string): Promise<void> {
  const problems = new Map<string, string>();
  for (const { name, options } of inOrder(wanted)) {
    const note = (error: unknown) => {
      if (!(error instanceof ConfigError)) throw error;
      for (const problem of error.problems)
        if (!problems.has(problem)) problems.set(problem, `${problem} (in "${name}")`);
    };
    for (const run of found<ConfigInput>(options, ['stages', 'sampling']))
      await checkRun(run, base).catch(note);
    for (const input of found<EvaluationInput>(options, ['prompts', 'icc_rollouts', 'sampling']))
      try {
        // The actor is made by an earlier part.
        const actor = { model: 'none' };
        const others = { folder: 'none', critics: { none: 'group-mean' }, actor };
        checkEvaluation({ ...input, ...others });
      } catch (error) {
        note(error);
      }
  }
  if (problems.size > 0)
    throw new ConfigError(
      [...problems.values()],
      undefined,
      'the config does not fit some of the runs that the tables are made of',
    );
}

async function checkRun(run: ConfigInput, base: string): Promise<void> {
  const config = checkConfig({ ...run, folder: 'none' });
  const { plugin } = await loadCritic(config.critic as PluginChoice, base);
  refuseForCritic(config, plugin);
}

/** @throws UserError for a critic that could not be asked */
export async function checkLargeModel(setup: Setup, critic: Named): Promise<void> {
  for (const icc of [true, false]) {
    const { plugin, options } = await loadCritic({ ...critic, icc }, baseOf(setup));
    const faults =
      'api_key_env' in (options as object)
        ? keyFaults(options as Parameters<typeof keyFaults>[0], '--large-model')
        : [];
    if (faults.length > 0) throw new ConfigError(faults);
    const names = Object.keys(workersOf(setup));
    const wanted = await workersOfCritic({ plugin, options }, baseOf(setup));
    const missing = wanted.find((name) => !names.includes(name));
    if (missing !== undefined)
      throw new UserError(
        `--large-model: there is no worker "${missing}" here: give its option \`worker\` one of ` +
          names.join(', '),
      );
  }
}

/**
 * Loads tasks with their files and packages.
 *
 * @throws what loading one throws; UserError where stage 1 has no traces
 */
export async function checkTasks(
  { setup, steps }: Pick<Family, 'setup' | 'steps'>,
  workers: WorkerGroup,
  log: (text: string) => void,
): Promise<void> {
  const python = pythonFunctions(() => workers.get(pythonWorkerSpec.name));
  const own = taskOf(setup, steps);
  for (const choice of [own, ...Object.values(setup.given?.shifts ?? {})]) {
    const { task } = await loadTask(choice as PluginChoice, { base: baseOf(setup), python, log });
    if (choice === own && setup.recipe.critic_sft.traces === 'oracle') oracleOf(task);
    await task.prepare?.();
  }
}
