/** `genac value`: a trained critic by itself. */
import { createReadStream, createWriteStream, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { ConfigError, issuesOf } from '../config/error.ts';
import { readValue } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { textOf } from '../files/text-file.ts';
import { answerLine } from '../standalone/lines.ts';
import {
  type OpenCriticOptions,
  type OpenedCritic,
  openCritic,
  type Ranked,
  type ValuedResponse,
} from '../standalone/open-critic.ts';
import { printable, printableLine } from '../text/printable.ts';
import { segmentationSchema } from '../text/segment.ts';
import type { ActorProfile } from '../types.ts';
import { UserError } from '../user-error.ts';

export interface ValueFlags {
  readonly prompt?: string;
  readonly response?: readonly string[];
  readonly input?: string;
  readonly output?: string;
  readonly task?: string;
  readonly segmentation?: string;
  readonly actorName?: string;
  readonly actorParameters?: number;
  readonly successRate?: number;
  readonly thinking: boolean;
  readonly completions?: number;
  readonly temperature?: number;
  readonly maxNewTokens?: number;
  readonly json?: boolean;
  readonly trustCode?: boolean;
}

export async function valueCommand(folder: string, flags: ValueFlags): Promise<void> {
  const { prompt, response = [], input } = flags;
  const single = prompt !== undefined && response.length > 0;
  if (
    single === (input !== undefined) ||
    (input !== undefined && (prompt ?? flags.response) !== undefined)
  )
    throw new UserError(
      'give either --prompt and --response (several: they are ranked), or --input FILE.jsonl',
    );
  if (flags.output !== undefined && input === undefined)
    throw new UserError('--output goes with --input');
  const critic = await openCritic(folder, optionsOf(flags));
  try {
    if (input !== undefined) await judgeLines(critic, input, flags.output ?? '-');
    else if (response.length > 1) show(await critic.rank(prompt!, response), flags, rankingText);
    else show(await critic.value(prompt!, response[0]!), flags, valueText);
  } finally {
    await critic.close();
  }
}

function optionsOf(flags: ValueFlags): OpenCriticOptions {
  const { task, segmentation, thinking, completions, temperature, maxNewTokens, trustCode } = flags;
  if (temperature !== undefined && (completions ?? 1) === 1)
    throw new UserError(
      '--temperature has no effect on the greedy completion: ask for several with --completions',
    );
  const actor = actorOf(flags);
  return {
    ...(task !== undefined && {
      task: readValue(task, '--task') as Config['task'],
      base: resolve('.'),
    }),
    ...(segmentation !== undefined && { segmentation: segmentationOf(segmentation) }),
    ...(actor && { actor }),
    ...(!thinking && { thinking }),
    ...(completions !== undefined && { completions }),
    ...(temperature !== undefined && { temperature }),
    ...(maxNewTokens !== undefined && { maxNewTokens }),
    ...(trustCode && { trustCode }),
  };
}

function actorOf({ actorName, actorParameters, successRate }: ValueFlags): ActorProfile | null {
  if ([actorName, actorParameters, successRate].every((given) => given === undefined)) return null;
  if (actorName === undefined || actorParameters === undefined)
    throw new UserError(
      'an actor is told of by --actor-name and --actor-parameters together (and --success-rate)',
    );
  return { name: actorName, parameters: actorParameters, successRate: successRate ?? null };
}

/** `line`, or YAML such as `{by: pattern, pattern: ";"}`. */
function segmentationOf(text: string) {
  const given = readValue(text, '--segmentation');
  const input = typeof given === 'string' ? { by: given } : given;
  const read = segmentationSchema.safeParse(input);
  if (!read.success)
    throw new ConfigError(issuesOf(read.error, segmentationSchema, input, 'segmentation'));
  return read.data;
}

/** Line by line, so that another process can write a line and wait for its result. */
async function judgeLines(critic: OpenedCritic, input: string, output: string): Promise<void> {
  if (isSameFile(input, output))
    throw new UserError(`--output ${output} is the input itself, which it would replace`);
  const from = input === '-' ? process.stdin : createReadStream(input);
  const to = output === '-' ? process.stdout : createWriteStream(output);
  let failed = 0;
  // An error of opening the file does not end the loop by itself.
  const broken = new Promise<never>((_, fail) => {
    from.once('error', fail);
    to.once('error', fail);
  });
  const judge = async () => {
    for await (const bytes of linesOf(from)) {
      const line = textOf(bytes);
      if (line?.trim() === '') continue;
      const answer = line === null ? { error: 'not UTF-8' } : await answerLine(critic, line);
      if ('error' in answer) failed++;
      to.write(`${JSON.stringify(answer)}\n`);
    }
    if (output !== '-') await new Promise<void>((done) => to.end(done));
  };
  await Promise.race([judge(), broken]);
  if (failed > 0) throw new UserError(`${failed} lines could not be judged: see their \`error\``);
}

/**
 * Cuts at line feeds only: `node:readline` also cuts at line separators, which JSON may contain.
 */
async function* linesOf(input: AsyncIterable<string | Buffer>): AsyncGenerator<Buffer> {
  let rest: Buffer[] = [];
  for await (const chunk of input) {
    let bytes = Buffer.from(chunk);
    for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10)) {
      yield Buffer.concat([...rest, bytes.subarray(0, end)]);
      bytes = bytes.subarray(end + 1);
      rest = [];
    }
    rest.push(bytes);
  }
  yield Buffer.concat(rest);
}

/** By whatever names. */
function isSameFile(input: string, output: string): boolean {
  if (input === '-' || output === '-') return false;
  const [from, to] = [input, output].map((path) => statSync(path, { throwIfNoEntry: false }));
  return from !== undefined && to !== undefined && from.dev === to.dev && from.ino === to.ino;
}

function show<T>(result: T, { json }: ValueFlags, text: (result: T) => string): void {
  console.log(json ? JSON.stringify(result, null, 2) : text(result));
}

const valueWords = (value: number | null) => (value === null ? '   -' : value.toFixed(2));

const words = (rationale: string) =>
  rationale.trim() === ''
    ? []
    : printable(rationale.trim())
        .split('\n')
        .map((line) => `        | ${line}`);

/** Prints each segment below the value before it. */
export function valueText({ prefixes }: ValuedResponse): string {
  return prefixes
    .flatMap(({ response, value, rationale }, i) => {
      const next = prefixes[i + 1];
      const segment = next
        ? printableLine(next.response.slice(response.length).trim())
        : '(the end)';
      return [`  ${valueWords(value)}  ${segment}`, ...words(rationale)];
    })
    .join('\n');
}

export const rankingText = (ranked: readonly Ranked[]): string =>
  ranked
    .flatMap(({ value, index, response, rationale }) => [
      `  ${valueWords(value)}  ${index + 1}. ${printableLine(response)}`,
      ...words(rationale),
    ])
    .join('\n');
