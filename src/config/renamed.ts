/**
 * Options under the names that they had before: they are read for one version, with a warning.
 */
import { ConfigError } from './error.ts';

type Tree = Readonly<Record<string, unknown>>;

const schedule = { final: 'min_lr_ratio' };
const segmentation = { at_most: 'max_segments', minimum_tokens: 'min_tokens' };

/** Old name -> new name, by the section in which it stands; a deeper section by its path. */
const renamed: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  actor: schedule,
  critic_sft: schedule,
  critic_rl: { ...schedule, updates: 'steps' },
  joint: { ...schedule, iterations: 'steps' },
  sampling: { problems: 'batch_size', responses: 'num_generations' },
  evaluation: { problems: 'prompts', responses: 'num_generations' },
  'credit.segmentation': segmentation,
};

const isTree = (value: unknown): value is Tree =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * The options under their present names. An old name is reported once by a `DeprecationWarning`.
 *
 * @throws ConfigError where an option stands under both of its names
 */
export function withPresentNames<T>(input: T): T {
  if (!isTree(input)) return input;
  const problems: string[] = [];
  const found = inSection(input, '', problems);
  if (problems.length > 0) throw new ConfigError(problems);
  return found as T;
}

function inSection(options: Tree, path: string, problems: string[]): Tree {
  const names = renamed[path] ?? {};
  const under = (name: string) => (path === '' ? name : `${path}.${name}`);
  return Object.fromEntries(
    Object.entries(options).map(([name, value]) => {
      const present = Object.hasOwn(names, name) ? names[name]! : name;
      if (present !== name) {
        if (Object.hasOwn(options, present))
          problems.push(
            `${under(name)}: is now ${under(present)}, which is given too; leave it out`,
          );
        warn(`${under(name)} is now ${under(present)}; the old name will not be read any more`);
      }
      const inner = under(present);
      const deeper = Object.keys(renamed).some(
        (key) => key === inner || key.startsWith(`${inner}.`),
      );
      return [present, deeper && isTree(value) ? inSection(value, inner, problems) : value];
    }),
  );
}

const said = new Set<string>();

function warn(text: string): void {
  if (said.has(text)) return;
  said.add(text);
  process.emitWarning(text, 'DeprecationWarning');
}
