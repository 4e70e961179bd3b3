/**
 * One worker as a child process in a process group of its own, which is killed on every way out of
 * this process.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { delimiter } from 'node:path';
import { atMost } from '../bridge/link.ts';
import { pythonBridge } from './python.ts';

export interface ChildOptions {
  readonly name: string;
  readonly endpoint: string;
  readonly python: string;
  /** Where its stdout and stderr go. */
  readonly logPath: string;
  /** `module:Class`; null: the worker's default. */
  readonly operations: string | null;
  /** Added to this process's environment. */
  readonly env: Readonly<Record<string, string>>;
}

// As `-m genac_bridge`, but for what lies in the working directory: a `torch.py` there is no
// package of the worker's.
const START = [
  "import sys; sys.path[:1] = [] if sys.path[:1] == [''] else sys.path[:1]",
  'from genac_bridge.worker import main; main()',
].join('; ');

const living = new Set<Child>();

// `exit` comes after process.exit(), an uncaught exception and the end of work. A signal that
// nobody handles skips it: then the workers see their stdin end, on Linux they are killed by the
// kernel, and a shell in each worker's group kills the rest of the group (`orphan.py`).
process.on('exit', () => {
  for (const child of living) child.killGroup('SIGKILL');
});

export class Child {
  readonly pid: number | undefined;
  /** How it ended, in words, once it has. */
  readonly ended: Promise<string>;
  readonly #process: ChildProcess;

  constructor(options: ChildOptions) {
    const log = openSync(options.logPath, 'a');
    const operations = options.operations === null ? [] : ['--operations', options.operations];
    this.#process = spawn(
      options.python,
      [
        '-c',
        START,
        '--connect',
        options.endpoint,
        '--name',
        options.name,
        '--parent',
        String(process.pid),
        ...operations,
      ],
      // stdin stays open as long as this process lives: its end tells the worker.
      { detached: true, stdio: ['pipe', log, log], env: environment(options.env) },
    );
    closeSync(log);
    this.pid = this.#process.pid;
    living.add(this);
    this.#process.stdin?.on('error', () => {});
    this.ended = new Promise((resolve) => {
      this.#process.once('error', (error) => resolve(`could not be started: ${error.message}`));
      this.#process.once('exit', (code, signal) =>
        resolve(signal === null ? `exited with code ${code}` : `was killed by ${signal}`),
      );
    });
    void this.ended.then(() => {
      // Its own children may be left.
      this.killGroup('SIGKILL');
      living.delete(this);
    });
  }

  /** Signals the whole process group; nothing happens if it is gone. */
  killGroup(signal: NodeJS.Signals): void {
    if (this.pid === undefined) return;
    try {
      process.kill(process.platform === 'win32' ? this.pid : -this.pid, signal);
    } catch {
      // There is no such process any more.
    }
  }

  /** Ends it: waits, asks, kills. At most `graceMs` + 2 s + the kernel's time. */
  async end(graceMs: number): Promise<void> {
    if (await atMost(this.ended, graceMs)) return;
    this.killGroup('SIGTERM');
    if (await atMost(this.ended, 2_000)) return;
    this.killGroup('SIGKILL');
    await atMost(this.ended, 5_000);
  }
}

function environment(own: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const { PYTHONPATH: before } = process.env;
  return {
    ...process.env,
    PYTHONUNBUFFERED: '1',
    // What walks over sets of strings, as some problems' generators do, else differs by process.
    PYTHONHASHSEED: '0',
    PYTHONPATH:
      before === undefined || before === '' ? pythonBridge : `${pythonBridge}${delimiter}${before}`,
    ...own,
  };
}
