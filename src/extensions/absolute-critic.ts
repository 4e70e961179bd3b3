import { modelFrom } from '../config/absolute-paths.ts';
import { pathFrom } from '../files/paths.ts';
import { importCritic } from './find-plugin.ts';

type Choice = Readonly<Record<string, unknown>>;

/**
 * A critic's options, and those of its parts, with absolute paths instead of paths relative to the
 * working directory, so that its run can be resumed from anywhere.
 *
 * @param base folder that a user's own critic file is relative to
 * @throws ConfigError for a critic that there is not
 */
export async function withAbsoluteCritic(critic: unknown, base: string): Promise<unknown> {
  if (!isChoice(critic)) return critic;
  const { paths = [], parts } = await importCritic(critic.use, base);
  const changed = Object.entries(critic).map(async ([name, value]) => {
    if (typeof value === 'string' && paths.includes(name)) return [name, pathFrom('.', value)];
    if (typeof value === 'string' && (name === 'model' || name === 'tokenizer'))
      return [name, modelFrom(value)];
    // Where a critic has parts, options that name critics are they.
    if (parts && Array.isArray(value))
      return [name, await Promise.all(value.map((one) => withAbsoluteCritic(one, base)))];
    return [name, value];
  });
  return Object.fromEntries(await Promise.all(changed));
}

const isChoice = (value: unknown): value is Choice & { readonly use: string } =>
  typeof value === 'object' && value !== null && typeof (value as Choice).use === 'string';
