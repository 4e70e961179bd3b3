/**
 * `genac log`: sends loggers the metrics that they lack after the end of a run, because a logger
 * failed or `log` was added to its config.yaml later.
 */
import { join, resolve } from 'node:path';
import { namedBy, refuseForeign } from '../extensions/consent.ts';
import { refuseNoFile } from '../files/text-file.ts';
import { RunFolder } from '../run-folder/folder.ts';
import { openLoggers } from '../run-folder/loggers.ts';
import { isAlive, readStatus } from '../run-folder/status.ts';
import { UserError } from '../user-error.ts';
import { startWorkers } from '../workers/local.ts';
import {
  pythonFunctions,
  pythonWorkerName,
  pythonWorkerSpec,
} from '../workers/python-functions.ts';

export async function logCommand(
  given: string,
  { trustCode = false }: { trustCode?: boolean },
): Promise<void> {
  const folder = resolve(given);
  const { config } = await RunFolder.read(folder);
  refuseForeign(folder, namedBy({ log: config.log }, '.'), trustCode, '--trust-code');
  if (config.log.length === 0)
    throw new UserError(`${given}/config.yaml names no loggers: write them to its \`log\``);
  refuseNoFile(join(folder, 'metrics.jsonl'));
  const status = readStatus(folder);
  if (status && isAlive(status))
    throw new UserError(
      `the run in ${given} is at work (process ${status.pid}), and feeds its loggers itself`,
    );
  const workers = await startWorkers({
    workers: [pythonWorkerSpec],
    logDirectory: `${folder}/logs`,
  });
  try {
    const failed: string[] = [];
    const python = pythonFunctions(() => workers.get(pythonWorkerName));
    const loggers = await openLoggers(config, folder, python, (text) => failed.push(text));
    await loggers.close();
    if (failed.length > 0) throw new UserError(failed.join('\n'));
    console.log(`${config.log.map(({ use }) => use).join(', ')}: all of metrics.jsonl is there`);
  } finally {
    await workers.close();
  }
}
