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
  for (const [option, needed] of Object.entries({ modulus: 7, operations_per_step: 1 })) {
    const given = (task as { readonly [name: string]: unknown })[option] ?? needed;
    if (given !== needed)
      throw new UserError(
        `${path}: task.${option} is ${given}, and the tables need ${needed}; leave it out`,
      );
  }
  const measured = path === undefined && { ...twoSampled, share_prefixes: false };
  const recipe: Config = { ...config, task: task!, critic: { ...critic!, ...measured } };
  return { recipe, size: sizes[size] };
}
