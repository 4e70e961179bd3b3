/** Tasks that call Python, with the real worker. */
import { loadTask, type PluginChoice } from '../../src/extensions/find-plugin.ts';
import type { Task } from '../../src/task.ts';
import { startWorkers, type WorkerGroup } from '../../src/workers/local.ts';
import { pythonFunctions, pythonWorkerSpec } from '../../src/workers/python-functions.ts';

export interface PythonTasks {
  /** Loads and prepares a task; `log` is what it said. */
  load(choice: PluginChoice): Promise<{ task: Task; log: string[] }>;
  /** What loading or preparing it fails with. */
  failure(choice: PluginChoice): Promise<string>;
  close(): Promise<void>;
}

/** @param env of the worker */
export async function pythonTasks(
  base: string,
  env: Record<string, string> = {},
): Promise<PythonTasks> {
  const group: WorkerGroup = await startWorkers({
    workers: [{ ...pythonWorkerSpec, env }],
    log: () => {},
  });
  const python = pythonFunctions(() => group.get(pythonWorkerSpec.name));
  const load = async (choice: PluginChoice) => {
    const log: string[] = [];
    const { task } = await loadTask(choice, { base, python, log: (text) => void log.push(text) });
    await task.prepare?.();
    return { task, log };
  };
  return {
    load,
    failure: (choice) =>
      load(choice).then(
        () => 'it did not fail',
        (error: Error) => error.message,
      ),
    close: () => group.close(200),
  };
}
