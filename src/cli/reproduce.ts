/** `genac reproduce`: the paper's tables, each from nothing. */
import { join, resolve } from 'node:path';
import { readValue } from '../config/load.ts';
import { configSchema } from '../config/schema.ts';
import { sentencesOf } from '../reproduction/report.ts';
import { type ReproduceOptions, reproduce } from '../reproduction/reproduce.ts';
import { withOptions } from '../reproduction/setup.ts';
import { printable } from '../text/printable.ts';
import { UserError } from '../user-error.ts';
import { stopOnInterrupt } from './interrupt.ts';

export interface ReproduceFlags {
  readonly tables?: readonly number[];
  readonly seeds: number;
  readonly folder: string;
  readonly config?: string;
  readonly shift?: Readonly<Record<string, string>>;
  readonly largeModel?: string;
  readonly size: NonNullable<ReproduceOptions['size']>;
}

/** `{use: api, model: ...}`, or a name. */
function criticIn(text: string): NonNullable<ReproduceOptions['largeModel']> {
  const critic = readValue(text, `--large-model ${text}`);
  const { data } = configSchema.shape.critic.safeParse(critic);
  if (data === undefined) throw new UserError(`--large-model ${text}: write {use: ...}, or a name`);
  return withOptions(data);
}

export async function reproduceCommand(flags: ReproduceFlags): Promise<void> {
  const stopping = new AbortController();
  const release = stopOnInterrupt([{ stop: async () => stopping.abort() }]);
  const began = performance.now();
  const log = (text: string) => {
    const seconds = ((performance.now() - began) / 1000).toFixed(0).padStart(4);
    console.error(printable(`${seconds} s  ${text}`));
  };
  try {
    const { shift: shifts, largeModel, ...options } = flags;
    const { tables } = await reproduce({
      ...{ ...options, signal: stopping.signal, log },
      ...(shifts !== undefined && { shifts }),
      ...(largeModel !== undefined && { largeModel: criticIn(largeModel) }),
    });
    for (const table of tables)
      console.log(`Table ${table.number}. ${sentencesOf(table).join(' ')}\n`);
    console.error(`${join(resolve(flags.folder), 'index.html')}: all tables`);
  } catch (error) {
    if (!stopping.signal.aborted) throw error;
    console.error('stopped: what is done is kept, and the same command goes on from there');
  } finally {
    release();
  }
}
