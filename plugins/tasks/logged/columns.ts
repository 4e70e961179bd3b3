/** Which columns of a log hold what: GenAC's own names, and those that other trainers write. */
import { z } from 'zod';
import type { Json } from '../../../src/plugin-api.ts';
import { BadRow, described, problemOfRow, type Row, type RowProblem } from '../rows/prompt.ts';

const name = z.string().min(1);

export const columnsSchema = z.strictObject({
  prompt: name.optional(),
  response: name.optional(),
  /** One column, or several, whose mean is the reward. */
  reward: z.union([name, z.array(name).min(1)]).optional(),
  /** Name of the actor. */
  actor: name.optional(),
  /** Its number of parameters. */
  parameters: name.optional(),
  /** Its success rate when it wrote the response, in [0, 1]. */
  success_rate: name.optional(),
  /** Training step of the actor; its success rate is computed up to that. */
  step: name.optional(),
  /** Id of the problem; without it equal prompts are one problem. */
  problem: name.optional(),
});

type Given = z.infer<typeof columnsSchema>;
type Columns = {
  readonly [Role in keyof Required<Given>]: Role extends 'reward'
    ? string | readonly string[]
    : string;
};

const own = {
  prompt: 'prompt',
  response: 'response',
  reward: 'reward',
  actor: 'actor',
  parameters: 'parameters',
  success_rate: 'success_rate',
  step: 'step',
  problem: 'problem',
};

/**
 * Column names by who wrote the log. TRL names a column after each reward function, so its `reward`
 * must be given.
 */
export const layouts = {
  genac: own,
  trl: { ...own, response: 'completion' },
  verl: { ...own, prompt: 'input', response: 'output', reward: 'score' },
} as const;

export interface LoggedRow extends RowProblem {
  readonly response: string;
  /** Before it is rescaled. */
  readonly reward: number;
  readonly actor: string | null;
  readonly parameters: number | null;
  readonly successRate: number | null;
  readonly step: number | null;
  readonly problem: string | null;
}

export interface ReadOptions {
  readonly layout: keyof typeof layouts;
  readonly columns: Given;
  readonly system?: string | undefined;
  readonly format?: 'text' | 'chat' | undefined;
}

/** @throws BadRow where the row is no rollout */
export function rolloutOfRow(
  row: Row,
  { layout, columns: given, system, format }: ReadOptions,
): LoggedRow {
  const named = Object.entries(given).filter(([, column]) => column !== undefined);
  const columns: Columns = { ...layouts[layout], ...Object.fromEntries(named) };
  const rewards = [columns.reward].flat();
  const roles = new Set(Object.values(columns).flat());
  const rest = Object.keys(row).filter((column) => !roles.has(column));
  const options = { prompt: columns.prompt, rename: {}, columns: rest, system, format };
  /** A column that may be missing, unless the config names it. */
  const optional = <T>(role: keyof Given, check: (value: Json, column: string) => T): T | null => {
    const column = columns[role] as string;
    const value = Object.hasOwn(row, column) ? row[column]! : null;
    if (value === null && given[role] !== undefined && !Object.hasOwn(row, column))
      return missing(column, row);
    return value === null ? null : check(value, column);
  };
  return {
    ...problemOfRow(row, options),
    response: responseOf(required(row, columns.response), columns.response),
    reward:
      rewards.reduce((sum, column) => sum + finite(required(row, column), column), 0) /
      rewards.length,
    actor: optional('actor', text),
    parameters: optional('parameters', atLeastZero),
    successRate: optional('success_rate', share),
    step: optional('step', finite),
    problem: optional('problem', (value, column) =>
      typeof value === 'number' ? String(value) : text(value, column),
    ),
  };
}

function required(row: Row, column: string): Json {
  return Object.hasOwn(row, column) ? row[column]! : missing(column, row);
}

function missing(column: string, row: Row): never {
  throw new BadRow(
    `there is no column "${column}"; there are: ${Object.keys(row).join(', ') || 'none'}`,
  );
}

/** Text, or chat messages of which the one is the actor's. */
function responseOf(value: Json, column: string): string {
  if (typeof value === 'string') return value;
  const [message, ...more] = Array.isArray(value) ? value : [];
  const content =
    message && typeof message === 'object' && !Array.isArray(message) ? message.content : null;
  if (typeof content === 'string' && more.length === 0) return content;
  if (Array.isArray(value) && more.length > 0)
    throw new BadRow(`column "${column}" holds several messages; a response is one text`);
  throw new BadRow(`column "${column}" is ${described(value)}, not text`);
}

function text(value: Json, column: string): string {
  if (typeof value === 'string' && value.trim() !== '') return value;
  throw new BadRow(`column "${column}" is ${described(value)}, not text`);
}

function finite(value: Json, column: string): number {
  if (typeof value === 'boolean') return value ? 1 : 0;
  if (typeof value === 'number') return value;
  throw new BadRow(`column "${column}" is ${described(value)}, not a number`);
}

function atLeastZero(value: Json, column: string): number {
  const number = finite(value, column);
  if (number >= 0) return number;
  throw new BadRow(`column "${column}" is ${number}, below 0`);
}

function share(value: Json, column: string): number {
  const number = atLeastZero(value, column);
  if (number <= 1) return number;
  throw new BadRow(`column "${column}" is ${number}, outside [0, 1]`);
}
