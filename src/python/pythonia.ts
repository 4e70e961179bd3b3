/**
 * Calls small Python functions from a TypeScript script, through pythonia. pythonia has one Python
 * process for each Node process and starts it when it is imported; it does not report an error of
 * that process or a call that never returns. This file handles all of that: one JSON text goes in
 * and one comes out.
 */
import { type ChildProcess, execFile } from 'node:child_process';
import { delimiter } from 'node:path';
import { promisify } from 'node:util';
import { BridgeError, type BridgeErrorCode } from '../bridge/errors.ts';
import type { Json } from '../types.ts';
import { findPython, pythonBridge } from '../workers/python.ts';
import type { PythonFunctions } from '../workers/python-functions.ts';
import { maxCharacters, maxItems, refuseWhatIsNotSmallJson } from './small-json.ts';

export interface PythonOptions {
  /**
   * An executable that has the worker's packages. Default: `GENAC_PYTHON`, else the checkout's
   * `.venv`.
   */
  readonly python?: string;
  /** Milliseconds until a call is given up and the process is ended. Default 60 000. */
  readonly timeoutMs?: number;
}

export interface Python extends PythonFunctions {
  /** Process id. */
  readonly pid: number;
  /**
   * Ends the process and rejects its pending calls. Resolves when the process is gone. May be
   * called twice.
   */
  close(): Promise<void>;
}

interface Pythonia {
  python: {
    (module: string): Promise<Helper>;
    exit(): void;
  };
  com: { proc: ChildProcess | null };
}

/**
 * The Python module `genac_bridge.functions.pythonia`. A `$` passes options, here the one that
 * switches pythonia's own time limit off.
 */
interface Helper {
  follow(parent: number): Promise<unknown>;
  answer$(text: string, options: { $timeout: number }): Promise<string>;
}

let open = false;

/**
 * Starts Python, one at a time in a Node process. `call` takes `file.py:function` or
 * `package.module:function` and keywords of small JSON. @throws BridgeError of code `start_failed`
 * if Python can't be started, `refused` if one is open already
 */
export async function openPython({
  python = findPython(),
  timeoutMs = 60_000,
}: PythonOptions = {}): Promise<Python> {
  if (open)
    throw new BridgeError(
      'refused',
      'Python is open already, and pythonia has but one: close it first',
    );
  open = true;
  try {
    await promisify(execFile)(python, ['-c', '']).catch((error: Error) => {
      throw new BridgeError('start_failed', `${python} can't be run: ${error.message}`, {
        cause: error,
      });
    });
    return await connect(python, timeoutMs);
  } catch (error) {
    open = false;
    throw error;
  }
}

async function connect(executable: string, timeoutMs: number): Promise<Python> {
  const { pythonia, loading } = await spawn(executable);
  const child = pythonia.com.proc!;
  let ended: BridgeError | null = null;
  const pending = new Set<(error: BridgeError) => void>();
  const end = (code: BridgeErrorCode, message: string) => {
    if (ended) return;
    ended = new BridgeError(code, message);
    pythonia.python.exit(); // its timer would write to a process that is gone
    for (const reject of pending) reject(ended);
  };
  const gone = new Promise<void>((resolve) => {
    child.once('exit', (exitCode, signal) => {
      end(
        'worker_lost',
        `Python ended: ${signal ? `killed by ${signal}` : `exit code ${exitCode}`}`,
      );
      open = false;
      resolve();
    });
    child.on('error', (error) => {
      end('worker_lost', `Python: ${error.message}`);
      if (child.pid === undefined) resolve(); // it never started, so it will not exit
    });
  });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  void gone.then(() => process.off('exit', kill));

  /** Resolves with `work`, unless the process ends or the time is over before. */
  async function guarded<T>(work: Promise<T>, what: string, milliseconds: number): Promise<T> {
    work.catch(() => {});
    let timer: NodeJS.Timeout | undefined;
    let stop: (error: BridgeError) => void = () => {};
    const stopped = new Promise<never>((_, reject) => {
      stop = reject;
      if (ended) reject(ended);
      pending.add(stop);
      timer = setTimeout(() => {
        kill();
        end(
          'deadline',
          `${what} had no answer within ${milliseconds} ms; Python was ended: open it again`,
        );
      }, milliseconds);
    });
    try {
      return await Promise.race([work, stopped]);
    } finally {
      clearTimeout(timer);
      pending.delete(stop);
    }
  }

  let helper: Helper;
  try {
    helper = await guarded(loading, 'the start of Python', 120_000);
    await guarded(helper.follow(process.pid), 'the start of Python', 120_000);
  } catch (error) {
    kill();
    end('start_failed', 'Python did not start');
    await gone;
    const words = error instanceof Error ? error.message || error.stack : String(error);
    throw new BridgeError('start_failed', `Python (${executable}) did not start: ${words}`, {
      cause: error,
    });
  }
  return {
    pid: child.pid!,
    async call(name, keywords, options = {}) {
      if (ended) throw ended;
      refuseWhatIsNotSmallJson(keywords, 'keywords');
      const limits = { characters: maxCharacters, items: maxItems };
      const text = JSON.stringify({ function: name, keywords, ...limits });
      if (text.length > maxCharacters) {
        throw new TypeError(
          `${name} is called with ${text.length} characters, more than ${maxCharacters}`,
        );
      }
      const asked = helper.answer$(text, { $timeout: Number.POSITIVE_INFINITY });
      const answer = await guarded(asked, name, options.deadlineMs ?? timeoutMs);
      const { value, error, code } = JSON.parse(answer) as {
        value: Json;
        error?: string;
        code: BridgeErrorCode;
      };
      if (error !== undefined) throw new BridgeError(code, error, { traceback: error });
      return value;
    },
    async close() {
      const running = child.exitCode === null && child.signalCode === null;
      end('closed', 'Python was closed');
      if (!running) return;
      const late = setTimeout(kill, 2_000);
      await gone;
      clearTimeout(late);
    },
  };
}

/**
 * pythonia reads from the environment which Python to start; both variables are restored before any
 * other code runs.
 */
async function spawn(
  executable: string,
): Promise<{ pythonia: Pythonia; loading: Promise<Helper> }> {
  const { PYTHON_BIN, PYTHONPATH } = process.env;
  process.env.PYTHON_BIN = executable;
  process.env.PYTHONPATH = PYTHONPATH ? `${pythonBridge}${delimiter}${PYTHONPATH}` : pythonBridge;
  try {
    const module = (await import('pythonia')) as unknown as { default: Pythonia };
    const pythonia = module.default;
    return { pythonia, loading: pythonia.python('genac_bridge.functions.pythonia') };
  } finally {
    for (const [name, value] of Object.entries({ PYTHON_BIN, PYTHONPATH })) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}
