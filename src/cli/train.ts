import { loadConfigFile } from '../load-config.ts';
import { startRun } from '../run.ts';
import { stopOnInterrupt } from './interrupt.ts';
import { showProgress } from './progress.ts';

export async function trainCommand(path: string, options: { folder?: string; seed?: number }): Promise<void> {
  const { config, base } = loadConfigFile(path);
  const run = startRun({ ...config, ...options }, { base });
  const release = stopOnInterrupt([run]);
  console.error(`run folder: ${run.folder}`);
  try {
    for await (const event of showProgress(run)) {
      if (event.type === 'end' && event.reason === 'stopped')
        console.error('stopped; the last checkpoint is whole');
    }
    await run.finished;
  } finally {
    release();
  }
}
