/**
 * Python functions by name, plain JSON in and out, as tasks, rewards and loggers call them: in a
 * worker without models, which serves the operation `call` alone.
 */

import type { Worker } from '../bridge/worker.ts';
import type { Json } from '../types.ts';
import type { WorkerSpec } from './local.ts';

export interface CallOptions {
  /** Milliseconds until the call is given up with a `BridgeError` of code `deadline`. */
  readonly deadlineMs?: number;
}

export interface PythonFunctions {
  /**
   * Calls `package.module:function`, or `/path/to/file.py:function`, with keywords; coroutines are
   * awaited. Throws a `BridgeError`: `function_error` with Python's traceback where the function
   * raised, `bad_arguments` where there is no such function, `deadline`, or `worker_lost`.
   */
  call(
    name: string,
    keywords: Readonly<Record<string, Json>>,
    options?: CallOptions,
  ): Promise<Json>;
}

/** Name of the worker in a config's `workers`. */
export const pythonWorkerName = 'python';

/** A worker that imports neither PyTorch nor Transformers, and so starts in a moment. */
export const pythonWorkerSpec: Pick<WorkerSpec, 'name' | 'operations'> = {
  name: pythonWorkerName,
  operations: 'genac_bridge.functions.call:FunctionOperations',
};

/** Calls go to the worker that `worker()` gives at that time; it throws while there is none. */
export function pythonFunctions(worker: () => Worker): PythonFunctions {
  return {
    async call(name, keywords, options = {}) {
      const { result } = await worker().request(
        'call',
        { function: name, keywords: { ...keywords } },
        options,
      );
      return result.value;
    },
  };
}
