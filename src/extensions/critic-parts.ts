/** Critics that are made of others, such as an ensemble, seen through to their parts. */
import type { CriticPlugin } from '../critic.ts';
import { loadCritic } from './find-plugin.ts';

export interface ChosenCritic {
  readonly plugin: CriticPlugin;
  readonly options: unknown;
}

/**
 * A critic and all critics that are a part of it, at any depth, itself first.
 *
 * @param base folder that a part's own files are relative to
 * @throws ConfigError for options of a part that are not valid
 */
export async function withParts(
  { plugin, options }: ChosenCritic,
  base: string,
): Promise<ChosenCritic[]> {
  const parts = (plugin.parts?.(options) ?? []).map(async (part) =>
    withParts(await loadCritic(part, base), base),
  );
  return [{ plugin, options }, ...(await Promise.all(parts)).flat()];
}
