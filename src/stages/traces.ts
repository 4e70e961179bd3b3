/**
 * Stage 1's traces: from the task's oracle, a JSONL file or an oracle behind an API, filtered, with
 * a count of what was dropped and why.
 */
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { promptSchema } from '../bridge/operations.ts';
import { issuesOf } from '../config/error.ts';
import type { Config } from '../config/schema.ts';
import { type JsonLine, jsonLinesOf } from '../files/json-lines.ts';
import { deriveSeed, Random } from '../math/random.ts';
import { groupBy } from '../math/statistics.ts';
import { textState } from '../state.ts';
import type { OracleTrace, Task } from '../task.ts';
import { type CriticFormat, writeTrace } from '../text/critic-prompt.ts';
import { parseScore } from '../text/score.ts';
import { UserError } from '../user-error.ts';

/** Why traces were dropped, and how many. */
export type Dropped = Record<'unparsable' | 'disagrees', number>;

export class TraceSource {
  readonly dropped: Dropped = { unparsable: 0, disagrees: 0 };
  #kept = 0;
  #next = 0;
  readonly #read: (from: number, count: number) => readonly OracleTrace[];
  readonly #inBlocks: boolean;
  readonly #agreement: number;
  readonly #format: CriticFormat;

  /**
   * @param inBlocks they are made on demand, so that what is left of a block when enough are taken
   *   is no loss; else none is passed over
   */
  constructor(
    read: (from: number, count: number) => readonly OracleTrace[],
    inBlocks: boolean,
    agreement: number,
    format: CriticFormat,
  ) {
    this.#read = read;
    this.#inBlocks = inBlocks;
    this.#agreement = agreement;
    this.#format = format;
  }

  get kept(): number {
    return this.#kept;
  }

  /** The position, for a checkpoint. */
  get position(): Readonly<Record<string, number>> {
    return { next: this.#next, kept: this.#kept, ...this.dropped };
  }

  /** Continues from a checkpoint's position. */
  seek(position: Readonly<Record<string, number>>): void {
    this.#next = position.next ?? 0;
    this.#kept = position.kept ?? 0;
    for (const cause of Object.keys(this.dropped) as (keyof Dropped)[])
      this.dropped[cause] = position[cause] ?? 0;
  }

  /**
   * The next `count` traces that pass the filter. Throws where hardly any does: then oracle and
   * outcomes have nothing to do with each other.
   */
  take(count: number): OracleTrace[] {
    const taken: OracleTrace[] = [];
    for (let looked = 0; taken.length < count; ) {
      const batch = this.#read(this.#next, this.#inBlocks ? count : count - taken.length);
      this.#next += batch.length;
      looked += batch.length;
      for (const trace of batch) {
        const cause = this.#fault(trace);
        if (cause) this.dropped[cause]++;
        else if (taken.length < count) taken.push(trace);
      }
      if (looked >= 50 * count) {
        throw new UserError(
          `of ${looked} traces only ${taken.length} pass the filter (${this.dropped.unparsable} unparsable, ` +
            `${this.dropped.disagrees} further than ${this.#agreement} from the observed ` +
            'outcome): check where they come from, or raise critic_sft.agreement',
        );
      }
    }
    this.#kept += taken.length;
    return taken;
  }

  /** Those of these traces that pass the filter, uncounted. */
  passing(traces: readonly OracleTrace[]): OracleTrace[] {
    return traces.filter((trace) => this.#fault(trace) === null);
  }

  /**
   * A trace is what the critic will be asked to write: it must parse to its own score, and agree
   * with what was observed.
   */
  #fault(trace: OracleTrace): keyof Dropped | null {
    const parsed = parseScore(
      writeTrace(trace.rationale, trace.score, this.#format),
      this.#format.score,
    );
    if (parsed?.score !== trace.score) return 'unparsable';
    return Math.abs(parsed.value - trace.observed) > this.#agreement + 1e-9 ? 'disagrees' : null;
  }
}

const meanReward = 'the mean reward of the responses that went on from here, mapped to [0, 1]';

const line = z.strictObject({
  prompt: promptSchema,
  partial_response: z.string(),
  rationale: z.string(),
  /** null: the oracle gave none that can be read; the trace is dropped and counted. */
  score: z.number().nullable(),
  observed_outcome: z.number().min(0, meanReward).max(1, meanReward),
  actor: z
    .strictObject({
      name: z.string(),
      parameters: z.number().nonnegative(),
      success_rate: z.number().min(0).max(1).nullable(),
    })
    .default({ name: 'unknown', parameters: 0, success_rate: null }),
});

/**
 * Reads a JSONL file of traces: prompt, partial_response, rationale, score, observed_outcome, and
 * the actor's profile if known.
 */
export function readTraceFile(path: string): OracleTrace[] {
  const traces: OracleTrace[] = [];
  for (const { number, value } of tracesIn(path)) {
    const read = line.safeParse(value);
    if (!read.success)
      throw new UserError(
        `${path}, line ${number} is no trace:\n  ${issuesOf(read.error, line, value).join('\n  ')}`,
      );
    const { prompt, partial_response, rationale, score, observed_outcome, actor } = read.data;
    const profile = {
      name: actor.name,
      parameters: actor.parameters,
      successRate: actor.success_rate,
    };
    const id = `trace-${number - 1}`;
    traces.push({
      state: textState({
        ...{ id, problem: { id, prompt, columns: {} }, response: partial_response },
        ...{ group: number - 1, actor: profile },
      }),
      rationale,
      score: score ?? Number.NaN,
      observed: observed_outcome,
    });
  }
  if (traces.length === 0) throw new UserError(`${path}: no traces in it`);
  return traces;
}

/** Bytes of a trace: far more than a critic can write, and few enough for a tokenizer. */
const LONGEST_TRACE = 16 * 2 ** 20;

/** Names the option where the file, or a line of it, can't be read. */
function* tracesIn(path: string): Generator<JsonLine> {
  try {
    yield* jsonLinesOf(path, { last: 'read', longest: LONGEST_TRACE });
  } catch (error) {
    throw new UserError(`critic_sft.traces: ${(error as Error).message}`, { cause: error });
  }
}

/** Writes traces as `readTraceFile` reads them. Whole or not at all. */
export async function writeTraceFile(path: string, traces: readonly OracleTrace[]): Promise<void> {
  const lines = function* () {
    for (const { state, rationale, score, observed } of traces) {
      const { name, parameters, successRate } = state.actor;
      const trace = {
        prompt: state.problem.prompt,
        partial_response: state.response,
        rationale,
        score: Number.isNaN(score) ? null : score,
        observed_outcome: observed,
        actor: { name, parameters, success_rate: successRate },
      };
      yield `${JSON.stringify(trace)}\n`;
    }
  };
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.unfinished`, lines());
  await rename(`${path}.unfinished`, path);
}

/**
 * Training traces and held-out ones: those of a twentieth of a file (or a little more, for all of
 * one problem go together: up to some 30%), or an oracle's further ones.
 * @param gathered what an oracle behind an API wrote
 */
export function traceSources(
  config: { readonly seed: number; readonly critic_sft: Config['critic_sft'] },
  task: Task | null,
  format: CriticFormat,
  gathered: readonly OracleTrace[] = [],
): { train: TraceSource; heldOut: OracleTrace[] } {
  const { traces, agreement, batch } = config.critic_sft;
  if (traces !== 'oracle') {
    const given = typeof traces === 'string' ? readTraceFile(traces) : gathered;
    const all = new Random(deriveSeed(config.seed, 'traces')).shuffled(given);
    const { train, held } = splitByProblem(all);
    const read = (from: number, count: number) =>
      Array.from({ length: count }, (_, i) => train[(from + i) % train.length]!);
    const source = new TraceSource(read, false, agreement, format);
    return { train: source, heldOut: source.passing(held) };
  }
  const oracle = oracleOf(task);
  const heldOutFrom = 1e9;
  const source = new TraceSource(
    (from, count) => oracle(config.seed, from, count),
    true,
    agreement,
    format,
  );
  return { train: source, heldOut: source.passing(oracle(config.seed, heldOutFrom, 2 * batch)) };
}

/** A rationale is hardly held out where another of the same problem is learned from. */
function splitByProblem(all: readonly OracleTrace[]): {
  train: readonly OracleTrace[];
  held: readonly OracleTrace[];
} {
  const least = Math.max(1, Math.floor(all.length / 20));
  const keyOf = ({ state }: OracleTrace) => JSON.stringify(state.problem.prompt);
  // Of a problem with more traces than these, too few would be left to learn from.
  const most = Math.max(least, all.length / 4);
  const problems = [...groupBy(all, keyOf).values()]
    .filter(({ length }) => length <= most)
    .sort((a, b) => a.length - b.length);
  const held = new Set<OracleTrace>();
  for (const own of problems) {
    if (held.size >= least) break;
    for (const trace of own) held.add(trace);
  }
  if (held.size < least || all.length === 1)
    return { train: all.length > 1 ? all.slice(least) : all, held: all.slice(0, least) };
  return { train: all.filter((trace) => !held.has(trace)), held: [...held] };
}

/** @throws UserError where the task has no oracle of its own */
export function oracleOf(task: Task | null): NonNullable<Task['oracleTraces']> {
  const oracle = task?.oracleTraces?.bind(task);
  if (oracle) return oracle;
  const none = task
    ? `the task "${task.name}" has no oracle of its own`
    : 'there is no task, so no oracle of its own';
  throw new UserError(
    `critic_sft.traces: ${none}; name a JSONL file of traces, a model behind an API, or a task ` +
      'that has one',
  );
}
