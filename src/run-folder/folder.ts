/**
 * A run's folder: `config.yaml` (resolved), `run.json`, `versions.json`, `status.json`,
 * `metrics.jsonl`, `trajectories.jsonl`, `logs/`, `checkpoints/`. Lines are appended whole, so that
 * the files can be read during the run.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { mkdir, rm, rmdir, truncate, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { z } from 'zod';
import packageJson from '../../package.json' with { type: 'json' };
import { loadConfigFile } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { LONGEST_LINE } from '../files/json-lines.ts';
import { appendText, readText, refuseNoFile, refuseNoFolder } from '../files/text-file.ts';
import { shortText } from '../text/printable.ts';
import type { Json } from '../types.ts';
import { UserError } from '../user-error.ts';
import type { Checkpoint } from './checkpoint.ts';
import type { RunEvent, StagePosition } from './events.ts';
import { readMetrics } from './read.ts';

/** What another process needs to resume the run. */
const runSchema = z.strictObject({
  genac: z.string(),
  /** Folder that a user's own files are relative to. */
  base: z.string(),
  /** The config's file as it was at the start of the run; null: there was none. */
  source: z.strictObject({ file: z.string(), sha256: z.string() }).nullable().default(null),
});

const ownFiles = [
  ...['config.yaml', 'run.json', 'versions.json', 'status.json', 'status.json.unfinished'],
  ...['metrics.jsonl', 'trajectories.jsonl', 'settings.jsonl', 'run.lock'],
];
export const ownFolders = ['checkpoints', 'logs', 'models', 'oracle', 'best-critic', 'critic'];

/**
 * Refuses a folder in which something else replaces a file of the run: a FIFO would block the run
 * for ever, and a folder would end it half way.
 */
export function refuseOtherKinds(path: string): void {
  for (const name of ownFolders) refuseNoFolder(join(path, name));
  const beside = existsSync(join(path, 'logs')) ? readdirSync(join(path, 'logs')) : [];
  const logs = beside.filter((name) => name.endsWith('.log')).map((name) => join('logs', name));
  for (const name of [...ownFiles, ...logs]) refuseNoFile(join(path, name));
}

/** Texts of several lines are not always read as they were written (yaml 2.9.1). */
const plain = {
  ...{ blockQuote: false, lineWidth: 0, aliasDuplicateObjects: false },
  doubleQuotedMinMultiLineLength: Number.MAX_SAFE_INTEGER,
} as const;

/** Files that a start writes before its first stage, without logs. */
const madeAtStart = 'config.yaml run.json versions.json status.json models checkpoints'.split(' ');
/** Files of a run that must not exist in a new run's folder. */
const replaced = 'run.json status.json versions.json metrics.jsonl trajectories.jsonl'.split(' ');

export class RunFolder {
  readonly path: string;
  /** The files of `madeAtStart` that this start makes; empty for a resume. */
  #made: readonly string[] = [];
  /** Seconds of earlier processes of this run. */
  readonly #secondsBefore: number;
  readonly #began = performance.now();
  #checkpointed = performance.now();
  #evaluated: Evaluated | null = null;

  private constructor(path: string, secondsBefore: number) {
    this.path = path;
    this.#secondsBefore = secondsBefore;
  }

  /** Makes the folder. Refuses one that already holds a run: nothing is overwritten. */
  static async create(config: Config, base: string, file?: string): Promise<RunFolder> {
    const folder = new RunFolder(resolve(config.folder), 0);
    if (existsSync(join(folder.path, 'config.yaml'))) {
      throw new UserError(
        `${folder.path} holds a run already: go on with it (genac resume ${config.folder}), name another \`folder\`, or remove that one`,
      );
    }
    const isThere = (name: string) => existsSync(join(folder.path, name));
    const found = replaced.find(isThere);
    if (found)
      throw new UserError(
        `${folder.path} has a file ${found}, which a run would replace: name another \`folder\`, or take it away`,
      );
    folder.#made = madeAtStart.filter((name) => !isThere(name));
    await mkdir(folder.checkpoints, { recursive: true });
    await writeFile(
      join(folder.path, 'run.json'),
      `${JSON.stringify({ genac: packageJson.version, base, source: sourceOf(file) })}\n`,
    );
    await writeFile(join(folder.path, 'config.yaml'), stringify(config, plain));
    return folder;
  }

  /** Reads the config of a folder's run, the base of its paths, and notes for the user. */
  static async read(
    path: string,
  ): Promise<{ config: Config; base: string; notes: readonly string[] }> {
    const file = join(path, 'run.json');
    if (!existsSync(file)) {
      const lacks = existsSync(path) ? 'it has no run.json' : 'there is no such folder';
      throw new UserError(`${path} holds no run that can be resumed: ${lacks}`);
    }
    let base: string;
    let source: z.infer<typeof runSchema>['source'];
    try {
      ({ base, source } = runSchema.parse(JSON.parse(readText(file))));
    } catch (error) {
      const why = error instanceof z.ZodError ? `${file} was edited` : (error as Error).message;
      throw new UserError(`${path} holds no run that can be resumed: ${why}`, { cause: error });
    }
    // The run wrote it itself: its options are what the user named them when it began.
    const { config } = loadConfigFile(join(path, 'config.yaml'), { warn: false });
    const isChanged =
      source !== null && (sourceOf(source.file)?.sha256 ?? source.sha256) !== source.sha256;
    const note =
      `${source?.file} was changed since the run began, and is not read: the run goes on by ` +
      `its own ${join(path, 'config.yaml')}`;
    return { config: { ...config, folder: path }, base, notes: isChanged ? [note] : [] };
  }

  /**
   * Opens the folder of a run that continues from a checkpoint, and cuts off what was written after
   * it.
   */
  static async reopen(
    path: string,
    from: Pick<Checkpoint, 'written' | 'seconds' | 'stage' | 'iteration'> | null,
  ): Promise<RunFolder> {
    const folder = new RunFolder(path, from?.seconds ?? 0);
    for (const [file, bytes] of [
      [folder.metrics, from?.written.metrics ?? 0],
      [folder.trajectories, from?.written.trajectories ?? 0],
    ] as const) {
      if (sizeOf(file) < bytes)
        throw new UserError(
          `${file} has ${sizeOf(file)} bytes, but ${bytes} were written before the ` +
            'checkpoint: it was cut off or edited',
        );
      if (existsSync(file)) await truncate(file, bytes);
    }
    await mendLastLine(folder.settings);
    await mkdir(folder.checkpoints, { recursive: true });
    if (from !== null) folder.#evaluated = evaluationsAt(from, folder.metrics);
    return folder;
  }

  /**
   * Was this measured at this place before the checkpoint that the run goes on from? Then it is not
   * measured again.
   */
  wasMeasured({ stage, iteration }: StagePosition, metric: string): boolean {
    const known = this.#evaluated;
    if (known?.place.stage !== stage || known.place.iteration !== iteration) return false;
    return known.metrics.includes(metric);
  }

  /**
   * Removes what `create` and a failed start have written, without logs, so that the next start is
   * not refused. Removes nothing of a resumed run.
   */
  async takeBack(): Promise<void> {
    for (const name of this.#made) {
      if (name !== 'checkpoints') await rm(join(this.path, name), { recursive: true, force: true });
      else await rmdir(this.checkpoints).catch(() => {}); // stays if it is not empty
    }
  }

  get metrics(): string {
    return join(this.path, 'metrics.jsonl');
  }
  get trajectories(): string {
    return join(this.path, 'trajectories.jsonl');
  }
  /**
   * File of values that changed during the run; a resume keeps it, because the values are applied
   * again.
   */
  get settings(): string {
    return join(this.path, 'settings.jsonl');
  }
  get checkpoints(): string {
    return join(this.path, 'checkpoints');
  }
  get logs(): string {
    return join(this.path, 'logs');
  }
  models(name: string): string {
    return join(this.path, 'models', name);
  }

  /** Seconds of the run, without the time between its processes. */
  seconds(): number {
    return this.#secondsBefore + (performance.now() - this.#began) / 1000;
  }

  /**
   * Returns a checkpoint's notes on this folder. @throws UserError if the folder is gone, because a
   * checkpoint would make another
   */
  position(): Pick<Checkpoint, 'written' | 'seconds'> {
    this.#refuseGone();
    const written = { metrics: sizeOf(this.metrics), trajectories: sizeOf(this.trajectories) };
    return { written, seconds: this.seconds() };
  }

  /** Returns the error that ended the run, with its cause if the folder is gone. */
  explained(error: unknown): unknown {
    return this.#isGone() ? new UserError(this.#goneWords(), { cause: error }) : error;
  }

  #append(file: string, line: string): void {
    this.#refuseGone();
    appendText(file, `${line}\n`);
  }

  #refuseGone(): void {
    if (this.#isGone()) throw new UserError(this.#goneWords());
  }

  #isGone(): boolean {
    return !existsSync(join(this.path, 'config.yaml'));
  }

  #goneWords(): string {
    return (
      `the run's folder ${this.path} was removed or renamed while the run went on: it can't be ` +
      'written any more, and the run ends here'
    );
  }

  checkpointed(): void {
    this.#checkpointed = performance.now();
  }

  secondsSinceCheckpoint(): number {
    return (performance.now() - this.#checkpointed) / 1000;
  }

  async writeVersions(versions: Json): Promise<void> {
    await writeFile(join(this.path, 'versions.json'), `${JSON.stringify(versions, null, 2)}\n`);
  }

  /**
   * Writes iterations and evaluations to `metrics.jsonl`, and changed values to `settings.jsonl`.
   * Numbers that are not finite are written as null.
   */
  record(event: RunEvent): void {
    if (event.type === 'set') {
      const { stage, iteration, values } = event;
      this.#append(this.settings, JSON.stringify({ stage, iteration, values }));
    }
    if (event.type !== 'iteration' && event.type !== 'evaluation') return;
    const { type, stage, iteration, metrics } = event;
    const seconds = Math.round(this.seconds() * 1000) / 1000;
    this.#append(this.metrics, JSON.stringify({ type, stage, iteration, seconds, ...metrics }));
  }

  /** Cuts texts, with a mark, if the line would be too long to read. */
  recordTrajectory(trajectory: Json): void {
    this.#append(this.trajectories, readableLine(trajectory));
  }
}

interface Evaluated {
  readonly place: StagePosition;
  readonly metrics: readonly string[];
}

/** @param metrics the run's file of them, up to the checkpoint */
function evaluationsAt({ stage, iteration }: StagePosition, metrics: string): Evaluated {
  const own = readableMetrics(dirname(metrics)).filter(
    (line) => line.type === 'evaluation' && line.stage === stage && line.iteration === iteration,
  );
  return { place: { stage, iteration }, metrics: own.flatMap((line) => Object.keys(line)) };
}

/** None where a line is damaged: to evaluate once too often costs less than the run. */
function readableMetrics(folder: string) {
  try {
    return readMetrics(folder);
  } catch {
    return [];
  }
}

const LONGEST_SOURCE = 16 * 2 ** 20;

/** null: there is no file that can be read again (a pipe can't), or it is no config. */
function sourceOf(file: string | undefined): { file: string; sha256: string } | null {
  if (file === undefined || !statSync(file, { throwIfNoEntry: false })?.isFile()) return null;
  if (statSync(file).size > LONGEST_SOURCE) return null;
  const sha256 = createHash('sha256').update(readFileSync(file)).digest('hex');
  return { file: resolve(file), sha256 };
}

/** UTF-16 units of a line: at most three times as many bytes in UTF-8, which readers accept. */
const LONGEST_RECORD = LONGEST_LINE / 4;

function readableLine(record: Json): string {
  for (const longest of [1e6, 1e4, 100]) {
    const cut = (_: string, value: unknown) =>
      typeof value === 'string' ? shortText(value, longest) : value;
    try {
      const line = JSON.stringify(record, cut);
      if (line.length <= LONGEST_RECORD) return line;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error; // longer than any string
    }
  }
  throw new UserError(
    'a trajectory of so many segments that no line holds them: set sampling.record: 0',
  );
}

/** A line that was cut off goes, as readers pass over it: more are appended. */
async function mendLastLine(file: string): Promise<void> {
  if (!existsSync(file)) return;
  const bytes = readFileSync(file);
  await truncate(file, bytes.lastIndexOf(10) + 1);
}

const sizeOf = (file: string) => (existsSync(file) ? statSync(file).size : 0);
