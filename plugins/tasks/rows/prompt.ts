/**
 * From a row of data (columns by name) to a problem: the options that tasks with data of the user's
 * own share.
 */
import { z } from 'zod';
import { type Json, nearest, type Prompt, UserError, valueAt } from '../../../src/plugin-api.ts';

/** How a prompt is made from text. */
export const promptFields = {
  /**
   * `{column}` stands for a column's value, `{{column}}` for itself; every other brace is plain
   * text.
   */
  template: z.string().min(1).optional(),
  /** A system message; the prompt is then a chat. */
  system: z.string().min(1).optional(),
  /**
   * `chat`: the text is a user message. `text`: it is continued as it stands. Default: `chat` with
   * `system`, else `text`.
   */
  format: z.enum(['text', 'chat']).optional(),
};

export const rowFields = {
  /** Column with text or chat messages. Default: `prompt`. */
  prompt: z.string().min(1).optional(),
  ...promptFields,
  /** Other names for columns, `{theirs: ours}`; all other options use the new names. */
  rename: z.record(z.string(), z.string().min(1)).default({}),
  /** Columns that rewards get; null: all but `prompt`. */
  columns: z.array(z.string().min(1)).nullable().default(null),
};

export type PromptOptions = z.infer<z.ZodObject<typeof promptFields>>;
export type RowOptions = z.infer<z.ZodObject<typeof rowFields>>;
export type Row = Readonly<Record<string, Json>>;

/** Options that contradict each other: for `superRefine`. */
export function refusePromptOptions(
  options: PromptOptions & { prompt?: string | undefined },
  context: z.RefinementCtx,
) {
  const refuse = (path: string, message: string) =>
    context.addIssue({ code: 'custom', path: [path], message });
  if (options.prompt !== undefined && options.template !== undefined)
    refuse('prompt', 'has no effect with `template`, which names the columns itself');
  if (options.template !== undefined && promptColumns(options as RowOptions).length === 0)
    refuse('template', 'names no column, such as {question}, so that every prompt is the same');
  if (options.system !== undefined && options.format === 'text')
    refuse('format', 'a system message needs `format: chat`');
}

/** What is wrong with one row; whoever reads the row knows where it stands. */
export class BadRow extends UserError {}

export interface RowProblem {
  readonly prompt: Prompt;
  readonly columns: Readonly<Record<string, Json>>;
}

/** Names of the columns that a prompt is made of, after renaming. */
export function promptColumns(options: RowOptions): string[] {
  if (options.template === undefined) return [options.prompt ?? 'prompt'];
  return [
    ...new Set(
      [...options.template.matchAll(placeholder)].flatMap(([all, name]) =>
        all.startsWith('{{') ? [] : [name!],
      ),
    ),
  ];
}

const placeholder = /\{\{[\p{L}_][\p{L}\p{M}\p{N}_.-]*\}\}|\{([\p{L}_][\p{L}\p{M}\p{N}_.-]*)\}/gu;

/** `template` with its columns filled in. @throws BadRow */
export function fill(template: string, row: Row): string {
  return template.replace(placeholder, (all, name: string | undefined) => {
    if (name === undefined) return all.slice(1, -1);
    const value = columnOf(row, name);
    if (typeof value === 'string' && value.trim() !== '') return value;
    if (typeof value === 'number' || typeof value === 'boolean') return String(value);
    throw new BadRow(
      `column "${name}" of the template is ${described(value)}, not text or a number`,
    );
  });
}

/** Text as the options want it: as it stands, or as chat messages. */
export function promptOfText(text: string, { system, format }: PromptOptions): Prompt {
  if (text.trim() === '') throw new BadRow('the prompt is blank');
  if ((format ?? (system === undefined ? 'text' : 'chat')) === 'text') return text;
  return [
    ...(system === undefined ? [] : [{ role: 'system', content: system }]),
    { role: 'user', content: text },
  ];
}

/**
 * @param given a row, or what is wrong with it
 * @throws BadRow where it gives no problem
 */
export function problemOfRow(given: Row | BadRow, options: RowOptions): RowProblem {
  if (given instanceof BadRow) throw given;
  const row = renamed(given, options.rename);
  const { template, columns: kept } = options;
  const name = options.prompt ?? 'prompt';
  const prompt =
    template === undefined
      ? promptOf(row, name, options)
      : promptOfText(fill(template, row), options);
  const names =
    kept ?? Object.keys(row).filter((column) => template !== undefined || column !== name);
  return {
    prompt,
    columns: Object.fromEntries(names.map((column) => [column, columnOf(row, column)])),
  };
}

function promptOf(row: Row, name: string, options: RowOptions): Prompt {
  const value = columnOf(row, name);
  if (typeof value === 'string') return promptOfText(value, options);
  if (!Array.isArray(value))
    throw new BadRow(`column "${name}" is ${described(value)}, not text or chat messages`);
  if (options.format === 'text')
    throw new BadRow(`column "${name}" holds chat messages, but \`format\` is text`);
  if (value.length === 0) throw new BadRow(`column "${name}" holds no messages`);
  const messages = value.map((message, i) =>
    messageOf(message, `column "${name}", message ${i + 1}`),
  );
  if (options.system === undefined) return messages;
  if (messages[0]!.role === 'system')
    throw new BadRow(
      `column "${name}" begins with a system message of its own; leave \`system\` out`,
    );
  return [{ role: 'system', content: options.system }, ...messages];
}

function messageOf(value: Json, where: string): { role: string; content: string } {
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new BadRow(`${where} is ${described(value)}, not {role, content}`);
  const { role, content } = value;
  if (typeof role !== 'string' || role === '')
    throw new BadRow(`${where}: role is ${described(role)}, not text`);
  const text = Array.isArray(content) ? textOfParts(content, where) : content;
  if (typeof text !== 'string')
    throw new BadRow(`${where}: content is ${described(content)}, not text`);
  if (role === 'user' && text.trim() === '') throw new BadRow(`${where}: content is blank`);
  return { role, content: text };
}

/**
 * Content parts `[{type: 'text', text}, ...]`, as OpenAI and Transformers have them, laid end to
 * end.
 */
function textOfParts(parts: readonly Json[], where: string): string {
  return parts
    .map((part, i) => {
      const at = `${where}, part ${i + 1}`;
      if (part === null || typeof part !== 'object' || Array.isArray(part))
        throw new BadRow(`${at} is ${described(part)}, not {type, text}`);
      const { type = null, text = null } = part;
      if (type !== 'text')
        throw new BadRow(`${at} is of type ${JSON.stringify(type)}; models here read text`);
      if (typeof text !== 'string') throw new BadRow(`${at}: text is ${described(text)}, not text`);
      return text;
    })
    .join('');
}

function renamed(row: Row, names: Readonly<Record<string, string>>): Row {
  const pairs = Object.entries(names);
  if (pairs.length === 0) return row;
  for (const [theirs] of pairs) columnOf(row, theirs);
  const nested = pairs.filter(([theirs]) => !Object.hasOwn(row, theirs));
  const result = [
    ...Object.entries(row).map(
      ([name, value]) => [Object.hasOwn(names, name) ? names[name]! : name, value] as const,
    ),
    ...nested.map(([theirs, ours]) => [ours, columnOf(row, theirs)] as const),
  ];
  const twice = result.find(([name], i) => result.findIndex(([other]) => other === name) !== i);
  if (twice) throw new BadRow(`\`rename\` gives two columns the name "${twice[0]}"`);
  return Object.fromEntries(result);
}

/** The column that a path such as `reward_model.ground_truth` begins in. */
export const rootOf = (path: string): string => path.split('.', 1)[0]!;

/**
 * A column by its name, else by its path: `a.b` is `b` within the object that column `a` holds.
 * @throws BadRow
 */
function columnOf(row: Row, name: string): Json {
  const found = valueAt(row, name);
  if (found !== undefined) return found;
  const names = Object.keys(row);
  const root = row[rootOf(name)];
  if (name.includes('.') && root !== undefined) {
    const within =
      root !== null && typeof root === 'object' ? Object.keys(root).join(', ') : described(root);
    throw new BadRow(
      `there is no "${name}": column "${rootOf(name)}" holds ${within || 'nothing'}`,
    );
  }
  const close = nearest(name, names);
  throw new BadRow(
    `there is no column "${name}"; ${close ? `did you mean "${close}"?` : `there are: ${names.join(', ') || 'none'}`}`,
  );
}

/** `null`, `a number`, `an array`, ...: of any value, `undefined` included. */
export function described(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object') return 'an object';
  if (typeof value === 'string') return value.trim() === '' ? 'blank' : 'text';
  return typeof value === 'boolean' ? 'true or false' : `a ${typeof value}`;
}
