/**
 * Options under the names that they had before: they are read for one version, with a warning.
 */
import { ConfigError } from './error.ts';

type Tree = Readonly<Record<string, unknown>>;

const schedule = { final: 'min_lr_ratio' };
const segmentation = { at_most: 'max_segments', minimum_tokens: 'min_tokens' };

/** Old name -> new name, by the path of its section. */
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

export interface PresentNames<T> {
  /** With the present names; of an option under both names, the value under the present one. */
  readonly options: T;
  /** One problem for each option that is given under both names. */
  readonly problems: readonly string[];
  /** Present path -> how an error names it, such as "sampling.problems (now batch_size)". */
  readonly written: ReadonlyMap<string, string>;
}

/** Finds the options that are given under old names. */
export function presentNames<T>(input: T): PresentNames<T> {
  const problems: string[] = [];
  const written = new Map<string, string>();
  const inSection = (options: Tree, path: string): Tree => {
    const names = renamed[path] ?? {};
    const under = (name: string) => (path === '' ? name : `${path}.${name}`);
    const found: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(options)) {
      const present = Object.hasOwn(names, name) ? names[name]! : name;
      const inner = under(present);
      if (present !== name) {
        if (Object.hasOwn(options, present)) {
          problems.push(`${under(name)}: is now ${inner}, which is given too; leave it out`);
          continue;
        }
        written.set(inner, `${under(name)} (now ${present})`);
      }
      const deeper = Object.keys(renamed).some(
        (key) => key === inner || key.startsWith(`${inner}.`),
      );
      found[present] = deeper && isTree(value) ? inSection(value, inner) : value;
    }
    return found;
  };
  const options = isTree(input) ? (inSection(input, '') as T) : input;
  return { options, problems, written };
}

/** Names options in errors as they were written. @param problems `sampling.batch_size: ...` */
export function asWritten(
  problems: readonly string[],
  { written }: Pick<PresentNames<unknown>, 'written'>,
): string[] {
  return problems.map((problem) => {
    const path = problem.slice(0, Math.max(problem.indexOf(': '), 0));
    const words = written.get(path);
    return words === undefined ? problem : `${words}${problem.slice(path.length)}`;
  });
}

const said = new Set<string>();

/** Warns once of all old names of a file by a `DeprecationWarning`. @param source of the options */
export function warnOfOldNames(
  { written }: Pick<PresentNames<unknown>, 'written'>,
  source?: string,
): void {
  if (written.size === 0) return;
  const text =
    `${source ?? 'the config'}: these options have new names, and the next version will not read ` +
    `the old ones: ${[...written.values()].join(', ')}`;
  if (said.has(text)) return;
  said.add(text);
  process.emitWarning(text, 'DeprecationWarning');
}

/**
 * Returns the options under their present names, with a warning of the old ones.
 *
 * @param source file of the options, for the warning and the error
 * @throws ConfigError if an option is given under both of its names
 */
export function withPresentNames<T>(input: T, source?: string): T {
  const names = presentNames(input);
  if (names.problems.length > 0) throw new ConfigError(names.problems, source);
  warnOfOldNames(names, source);
  return names.options;
}
