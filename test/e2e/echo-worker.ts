import { delimiter, join } from 'node:path';
import type { WorkerSpec } from '../../src/workers/local.ts';
import { pythonBridge } from '../../src/workers/python.ts';

const PYTHONPATH = [pythonBridge, join(pythonBridge, 'tests')].join(delimiter);

/**
 * A real Python worker with `python_bridge/tests/bridge_operations.py` in place of models: it
 * starts in a moment.
 */
export function echoWorker(
  name: string,
  operations = 'bridge_operations:EchoOperations',
): WorkerSpec {
  return { name, operations, threads: 1, env: { PYTHONPATH } };
}
