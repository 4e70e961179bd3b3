/**
 * A run's folder: `config.yaml` (resolved), `versions.json`, `metrics.jsonl`, `trajectories.jsonl`, `logs/`, `checkpoints/`. Lines are appended whole, so that it
 * can be read while the run writes.
 */
import { appendFileSync, existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { stringify } from 'yaml';
import type { Config } from '../config.ts';
import type { Json } from '../types.ts';
import type { RunEvent } from './events.ts';

export class RunFolder {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Makes the folder. One that holds a run already is refused: nothing is overwritten. */
  static async create(config: Config): Promise<RunFolder> {
    const folder = new RunFolder(resolve(config.folder));
    if (existsSync(folder.metrics)) {
      throw new Error(`${folder.path} holds a run already: name another \`folder\`, or remove that one`);
    }
    await mkdir(join(folder.path, 'checkpoints'), { recursive: true });
    await writeFile(join(folder.path, 'config.yaml'), stringify(config));
    return folder;
  }

  get metrics(): string {
    return join(this.path, 'metrics.jsonl');
  }
  get trajectories(): string {
    return join(this.path, 'trajectories.jsonl');
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

  async writeVersions(versions: Json): Promise<void> {
    await writeFile(join(this.path, 'versions.json'), `${JSON.stringify(versions, null, 2)}\n`);
  }

  /** Iterations and evaluations become lines of `metrics.jsonl`; numbers that are not finite are written as null. */
  record(event: RunEvent, seconds: number): void {
    if (event.type !== 'iteration' && event.type !== 'evaluation') return;
    const { type, stage, iteration, metrics } = event;
    appendFileSync(
      this.metrics,
      `${JSON.stringify({ type, stage, iteration, seconds: Math.round(seconds * 1000) / 1000, ...metrics })}\n`,
    );
  }

  recordTrajectory(trajectory: Json): void {
    appendFileSync(this.trajectories, `${JSON.stringify(trajectory)}\n`);
  }
}
