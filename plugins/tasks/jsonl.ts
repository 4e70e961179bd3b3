/** Problems from a JSONL file. The config's `rewards` judge the responses. */
import { statSync } from 'node:fs';
import { z } from 'zod';
import {
  ConfigError,
  DataError,
  defineTask,
  type Problem,
  pathFrom,
  type Split,
  type Task,
} from '../../src/plugin-api.ts';
import { BadRows } from './rows/bad-rows.ts';
import {
  digestOf,
  keyOf,
  refuseShare,
  shareFields,
  shareOf,
  splitByKey,
  tellOfLeak,
} from './rows/held-out.ts';
import { linesOf, rowOfLine } from './rows/json-lines.ts';
import { ProblemOrder } from './rows/order.ts';
import { BadRow, problemOfRow, refusePromptOptions, rowFields } from './rows/prompt.ts';

const options = z
  .strictObject({
    /** Path, relative to the config file. */
    file: z.string().min(1),
    ...rowFields,
    /** A file of its own, or a share of the prompts. */
    heldout: z.strictObject({ file: z.string().min(1).optional(), ...shareFields }).prefault({}),
    /** Lines that give no problem: an error that names them, or dropped and counted. */
    bad_lines: z.enum(['error', 'drop']).default('error'),
  })
  .superRefine((given, context) => {
    refusePromptOptions(given, context);
    if (given.heldout.file !== undefined) refuseShare(given.heldout, 'file', context);
  });

type Options = z.infer<typeof options>;

/** A problem without its split, and the line that it stands in. */
interface Read extends Omit<Problem, 'id'> {
  readonly line: number;
}

export default defineTask({
  name: 'jsonl',
  options,
  async create(given, { base, log }): Promise<Task> {
    const read = (file: string, option: string) =>
      readProblems(pathFrom(base, file), option, given, log);
    const rows = await read(given.file, 'file');
    const own =
      given.heldout.file === undefined ? null : await read(given.heldout.file, 'heldout.file');
    const sets = own ? { train: rows, heldout: own } : byShare(rows, given);
    if (own) tellOfLeak(rows.map(keyOf), own.map(keyOf), log);
    log(
      `task: ${sets.train.length} problems to train on, ${sets.heldout.length} held out, ` +
        `from ${given.file}`,
    );
    const orders = {
      train: new ProblemOrder(sets.train.length, 'train'),
      heldout: new ProblemOrder(sets.heldout.length, 'heldout'),
    };
    return {
      name: 'jsonl',
      problems: (split, seed, from, count) =>
        orders[split].indices(seed, from, count).map((index) => {
          const { line, prompt, columns } = sets[split][index]!;
          return { id: `${split}-${line}`, prompt, columns };
        }),
    };
  },
});

async function readProblems(
  file: string,
  option: string,
  given: Options,
  log: (text: string) => void,
): Promise<Read[]> {
  if (!statSync(file, { throwIfNoEntry: false })?.isFile()) {
    throw new ConfigError([`task.${option}: there is no file ${file}`]);
  }
  const bad = new BadRows(file, 'bad_lines', given.bad_lines);
  const problems: Read[] = [];
  const lines = new Map<string, number>();
  for await (const { number, bytes } of linesOf(file)) {
    try {
      const problem = problemOfRow(rowOfLine(bytes), given);
      const content = digestOf(problem);
      const first = lines.get(content);
      if (first !== undefined) throw new BadRow(`the same problem as line ${first}`);
      lines.set(content, number);
      problems.push({ ...problem, line: number });
    } catch (error) {
      if (!(error instanceof BadRow)) throw error;
      bad.add(`line ${number}`, error.message);
    }
  }
  bad.settle(problems.length, log);
  return problems;
}

function byShare(rows: readonly Read[], { heldout }: Options): Record<Split, Read[]> {
  try {
    const { train, heldout: held } = splitByKey(rows.map(keyOf), shareOf(heldout, false)!);
    return { train: train.map((i) => rows[i]!), heldout: held.map((i) => rows[i]!) };
  } catch (error) {
    throw new DataError([
      `task.heldout: ${(error as Error).message}; name a file of held-out problems`,
    ]);
  }
}
