/** Reads what all tables are made of. */
import { loadConfigFile } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { UserError } from '../user-error.ts';
import { exampleFile } from './families.ts';
import { givenSetup } from './given.ts';
import { type Setup, twoSampled, withOptions } from './setup.ts';
import { type Size, sizes } from './sizes.ts';

/**
 * @param path of the recipe; absent: `examples/miniature.yaml`, with a critic that draws twice and
 *   shares no prefixes: the savings are rows of the tables
 * @param shifts files by name, whose `task` is a further shift of table 3
 * @throws UserError for a config that no table can be made of
 */
export function setupOf(
  path: string | undefined,
  size: Size['name'],
  shifts: Readonly<Record<string, string>> = {},
): Setup {
  const { config, base } = loadConfigFile(path ?? exampleFile('miniature'));
  const [task, critic] = [config.task, config.critic].map(withOptions);
  if (task!.use !== 'miniature') return givenSetup(path!, config, base, size, shifts);
  if (Object.keys(shifts).length > 0)
    throw new UserError('--shift: has no effect on the task "miniature", whose shifts are its own');
  if ((task as { readonly modulus?: number }).modulus === 11)
    throw new UserError(`${path}: task.modulus is 11, and the tables need 7; leave it out`);
  const measured = path === undefined && { ...twoSampled, share_prefixes: false };
  const recipe: Config = { ...config, task: task!, critic: { ...critic!, ...measured } };
  return { recipe, size: sizes[size] };
}
