/** A critic of an evaluation: by name and options, or trained weights with their run's options. */
import { existsSync, statSync } from 'node:fs';
import { createCritic } from '../checked-critic.ts';
import { modelFrom } from '../config/absolute-paths.ts';
import { ConfigError } from '../config/error.ts';
import type { Critic, CriticPlugin } from '../critic.ts';
import { namedBy, namedByCritic, refuseForeign } from '../extensions/consent.ts';
import { type ChosenCritic, withParts } from '../extensions/critic-parts.ts';
import { builtIn, criticOfFolders, importCritic, loadCritic } from '../extensions/find-plugin.ts';
import { noExactValues } from '../iteration/exact-values.ts';
import { type FoundCritic, findCritic } from '../standalone/find-critic.ts';
import { type CriticEntry, groupOf } from './config.ts';
import type { Ground } from './ground.ts';
import { fingerprint } from './lines.ts';
import { namedFiles } from './named-files.ts';

export interface NamedCritic {
  readonly name: string;
  readonly plugin: CriticPlugin;
  readonly options: unknown;
  /** Folder that the files of its options are relative to. */
  readonly base: string;
  /** Folder of trained weights that `load` reads; null: the options name all. */
  readonly weights: string | null;
  /** What its values depend on, beyond the states. */
  readonly identity: unknown;
  /** The run that trained it; null: not known. */
  readonly run: string | null;
}

/**
 * Finds a critic without loading it.
 *
 * @param trustCode allows what the config of another user's run names
 */
export async function nameCritic(
  name: string,
  entry: CriticEntry,
  base: string,
  trustCode: boolean,
): Promise<NamedCritic> {
  const given = typeof entry === 'string' ? fromText(entry) : entry;
  if (!('from' in given) || typeof given.from !== 'string') {
    const choice = withModel(given as { use: string });
    const { plugin, options } = await loadCritic(choice, base);
    const models = await modelsOf({ plugin, options }, base);
    const identity = [choice, models, ...namedFiles(choice, base)];
    return { name, plugin, options, base, weights: null, identity, run: null };
  }
  const { from, ...changes } = given as { from: string; [option: string]: unknown };
  const found = await findCritic(from);
  if (found.run) await refuseForeignCritic(found, trustCode);
  const { choice, standalone } = await choiceOf(found, changes);
  const itsBase = found.run?.base ?? base;
  const { plugin, options } = await loadCritic(choice, itsBase);
  const own = standalone ? null : (plugin.startFrom?.(options, found.model) ?? null);
  return {
    ...{ name, plugin, options: own ?? options, base: itsBase },
    weights: standalone || own ? null : found.model,
    identity: [choice, fingerprint(found.model), ...namedFiles(choice, itsBase)],
    run: found.run?.config.folder ?? null,
  };
}

/** Of the models that a critic's options and those of its parts name. */
async function modelsOf(critic: ChosenCritic, base: string): Promise<unknown[]> {
  const critics = await withParts(critic, base);
  return critics.flatMap(({ plugin: { models }, options }) =>
    (models?.(options) ?? []).map(({ model }) => fingerprint(modelFrom(model))),
  );
}

/**
 * Whether it can value the states of a distribution, as far as that is known before anything is
 * loaded.
 *
 * @throws ConfigError for exact values that there are not, for an actor that is missing, and for a
 *   group of one response
 */
export async function refuseUnservable(
  { name, plugin, options, base }: NamedCritic,
  { task, options: given, references }: Ground,
): Promise<void> {
  const critics = await withParts({ plugin, options }, base);
  const problems = critics.flatMap(({ plugin: one }) => {
    const where = `critics.${name}: "${one.name}"`;
    if ((one.continues || one.exact) && given.actor === null)
      return [`${where} asks the actor about its own responses: name the actor's model`];
    if (one.needs === 'outcomes' && given.actor !== null && groupOf(given) < 2)
      return [
        `${where} compares responses to one problem, and gets one: set group_size to 2 or more`,
      ];
    if (one.needs === 'outcomes' && given.actor === null && references === 'exact')
      return [`${where} compares responses to one problem, and there are none: name an actor`];
    const missing = one.exact ? noExactValues(task, given) : null;
    return missing === null ? [] : [`${where} needs exact values, but ${missing}`];
  });
  if (problems.length > 0) throw new ConfigError([...new Set(problems)]);
}

/** A critic of this name, else a folder. */
function fromText(text: string): { use: string } | { from: string } {
  const isFolder = existsSync(text) && statSync(text).isDirectory();
  return !builtIn('critic').includes(text) && isFolder ? { from: text } : { use: text };
}

function withModel<T extends { use: string; model?: unknown }>(choice: T): T {
  return typeof choice.model === 'string' ? { ...choice, model: modelFrom(choice.model) } : choice;
}

/** Its run's options with the changes, as the plugin makes a trained critic of them by itself. */
async function choiceOf(
  { run, model }: FoundCritic,
  changes: Readonly<Record<string, unknown>>,
): Promise<{ choice: { use: string }; standalone: boolean }> {
  const critic = run?.config.critic ?? {};
  const given = { ...(typeof critic === 'string' ? { use: critic } : critic), ...changes };
  const use = typeof given.use === 'string' ? given.use : await criticOfFolders();
  const { use: _, ...rest } = { ...given, use };
  const { standalone } = await importCritic(use, run?.base ?? '.');
  // As many completions as in training; outside of a run, one.
  const completions = Number((rest as Record<string, unknown>).completions_per_state ?? 1);
  const thinking = typeof changes.thinking === 'boolean' ? { thinking: changes.thinking } : {};
  const own = standalone?.(rest, model, { completions, ...thinking });
  if (!own) return { choice: { ...rest, use }, standalone: false };
  // What this evaluation itself names stays, and is refused where it does not fit.
  return {
    choice: { ...own, ...changes, ...('model' in own && { model }), use },
    standalone: true,
  };
}

async function refuseForeignCritic({ run }: FoundCritic, trustCode: boolean): Promise<void> {
  const { folder, critic } = run!.config;
  const code = [...namedBy({ critic }, run!.base), ...(await namedByCritic(critic, run!.base))];
  refuseForeign(folder, code, trustCode, '--trust-code (TypeScript: trustCode: true)');
}

/** Loads it for a distribution. */
export async function openNamed(critic: NamedCritic, ground: Ground): Promise<Critic> {
  const made = await createCritic(critic.plugin, critic.options, await ground.environment());
  if (critic.weights !== null) await made.load?.(critic.weights);
  return made;
}
