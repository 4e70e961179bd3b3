/** `genac train` and `genac resume`: run in this terminal. */
import { loadConfigFile } from '../config/load.ts';
import { askRun } from '../run/control.ts';
import { type Run, resumeRun, startRun } from '../run/run.ts';
import { isAlive, readStatus } from '../run-folder/status.ts';
import { UserError } from '../user-error.ts';
import { stopOnInterrupt } from './interrupt.ts';
import { showProgress } from './progress.ts';

export async function trainCommand(
  path: string,
  options: { folder?: string; seed?: number },
): Promise<void> {
  const { config, base } = loadConfigFile(path);
  await follow(startRun({ ...config, ...options }, { base, file: path }));
}

/** A paused run continues in its process; an ended one continues here, from a checkpoint. */
export async function resumeCommand(
  folder: string,
  options: { from?: string; trustCode?: boolean },
): Promise<void> {
  const status = readStatus(folder);
  if (status && isAlive(status)) {
    if (options.from)
      throw new UserError(
        `the run in ${folder} is at work (process ${status.pid}): stop it before you go back ` +
          `to ${options.from}`,
      );
    console.error(await askRun(folder, { command: 'resume' }));
    return;
  }
  await follow(resumeRun(folder, options));
}

async function follow(run: Run): Promise<void> {
  const release = stopOnInterrupt([run]);
  console.error(`run folder: ${run.folder}`);
  try {
    for await (const event of showProgress(run)) {
      if (event.type === 'end' && event.reason === 'stopped')
        console.error(`stopped; the last checkpoint is whole: genac resume ${run.folder}`);
    }
    await run.finished;
  } finally {
    release();
  }
}
