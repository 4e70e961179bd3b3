/**
 * Settings of a run that no process works on: they are checked before a resume applies them again,
 * and can be replaced, so that a run which a setting ended can go on.
 */
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError } from '../config/error.ts';
import type { Config } from '../config/schema.ts';
import { changedConfig, type Settings } from '../config/settings.ts';
import type { CriticPlugin } from '../critic.ts';
import { namedBy, refuseForeign } from '../extensions/consent.ts';
import { loadCritic, type PluginChoice } from '../extensions/find-plugin.ts';
import { checkpointNames, newestCheckpoint, readCheckpoint } from '../run-folder/checkpoint.ts';
import type { SettingChange, StagePosition } from '../run-folder/events.ts';
import { RunFolder, refuseOtherKinds } from '../run-folder/folder.ts';
import { lockRun } from '../run-folder/lock.ts';
import { readSettings } from '../run-folder/read.ts';
import { UserError } from '../user-error.ts';
import { orderOf } from './steering.ts';

/**
 * @throws ConfigError that names the line whose values the run can't go on with, and how to replace
 * them
 */
export function checkPast(
  past: readonly SettingChange[],
  config: Config,
  critic: CriticPlugin,
): void {
  let now = config;
  for (const { stage, iteration, values } of past) {
    try {
      now = changedConfig(now, values, critic);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const named = Object.keys(values).map((name) => `${name}=VALUE`);
      throw new ConfigError(
        [
          ...error.problems,
          `Replace what was set: genac set ${config.folder} ${named.join(' ')}; then resume`,
        ],
        join(config.folder, 'settings.jsonl'),
        `what was set at ${stage}, iteration ${iteration} can't be used`,
      );
    }
  }
}

/**
 * Sets values of a run that is over, from where a resume will go on. What was set of these names
 * from there on is replaced, and so is what was set before and can't be used.
 *
 * @returns what was done, in words
 * @throws ConfigError where the values are refused; nothing changes then
 */
export async function setBetweenLives(
  folder: string,
  values: Settings,
  trustCode: boolean,
): Promise<string> {
  const { config, base } = await RunFolder.read(folder);
  // The critic's own file knows which values it takes.
  refuseForeign(folder, namedBy({ critic: config.critic }, base), trustCode, '--trust-code');
  const { plugin } = await loadCritic(config.critic as PluginChoice, base);
  changedConfig(config, values, plugin); // what is wrong with the new values themselves
  const place = await placeOfResume(folder, config);
  refuseOtherKinds(folder);
  const lock = await lockRun(folder);
  try {
    const past = readSettings(folder);
    const replaced: string[] = [];
    const kept = past.map((setting) => {
      const names = Object.keys(setting.values).filter(
        (name) =>
          name in values && (isFrom(place, setting) || !isUsable(setting, name, config, plugin)),
      );
      const all = Object.entries(setting.values);
      for (const [name, value] of all)
        if (names.includes(name)) replaced.push(`${name} = ${JSON.stringify(value)}`);
      const rest = all.filter(([name]) => !names.includes(name));
      return { ...setting, values: Object.fromEntries(rest) };
    });
    const next = [...kept, { ...place, values }]
      .filter((setting) => Object.keys(setting.values).length > 0)
      .sort((a, b) => orderOf(a) - orderOf(b));
    checkPast(next, config, plugin);
    const path = join(folder, 'settings.jsonl');
    writeFileSync(
      `${path}.unfinished`,
      next.map((setting) => `${JSON.stringify(setting)}\n`).join(''),
    );
    renameSync(`${path}.unfinished`, path);
    const what = Object.entries(values).map(
      ([name, value]) => `${name} = ${JSON.stringify(value)}`,
    );
    const instead = replaced.length > 0 ? ` (instead of ${replaced.join(', ')})` : '';
    return (
      `when it is resumed, from ${place.stage}, iteration ${place.iteration} on: ` +
      `${what.join(', ')}${instead}`
    );
  } finally {
    lock.release();
  }
}

const isFrom = (place: StagePosition, setting: SettingChange) => orderOf(setting) >= orderOf(place);

function isUsable(
  setting: SettingChange,
  name: string,
  config: Config,
  plugin: CriticPlugin,
): boolean {
  try {
    changedConfig(config, { [name]: setting.values[name as keyof Settings] } as Settings, plugin);
    return true;
  } catch {
    return false;
  }
}

/** After the newest checkpoint; at the beginning where there is none. */
async function placeOfResume(folder: string, { stages }: Config): Promise<StagePosition> {
  const checkpoints = join(folder, 'checkpoints');
  const name = existsSync(checkpoints)
    ? newestCheckpoint(await checkpointNames(checkpoints))
    : null;
  if (name === null) return { stage: stages[0]!, iteration: 0 };
  const { stage, iteration, complete } = await readCheckpoint(join(checkpoints, name));
  if (!complete) return { stage, iteration };
  const next = stages[stages.indexOf(stage) + 1];
  if (next === undefined) throw new UserError(`${folder} is finished: there is nothing to set`);
  return { stage: next, iteration: 0 };
}
