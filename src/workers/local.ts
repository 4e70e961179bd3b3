/**
 * Starts workers on this machine, or expects ones that were started by hand, and ends them
 * together.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { CurveServer } from '../bridge/authentication.ts';
import { BridgeError } from '../bridge/errors.ts';
import { DEFAULT_MAX_MESSAGE_BYTES, Link, type LinkOptions } from '../bridge/link.ts';
import { endpointToken, type Token } from '../bridge/token.ts';
import type { Worker } from '../bridge/worker.ts';
import { bindZmq } from '../bridge/zmq-transport.ts';
import { Child } from './child.ts';
import { tailOf } from './log-file.ts';
import { findPython } from './python.ts';

const LAST_WORDS_MS = 200;

export interface WorkerSpec {
  /** Unique in the group. */
  readonly name: string;
  /** Sets `CUDA_VISIBLE_DEVICES`, such as `0` or `0,1`. Default: all devices are seen. */
  readonly device?: string;
  /**
   * Threads of the worker's mathematics (`OMP_NUM_THREADS`). Default: the libraries' own choice.
   */
  readonly threads?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** Python class that serves, `module:Class`. Default: the real operations. */
  readonly operations?: string;
  /** true: the user starts it with the command that `onCommand` receives. */
  readonly byHand?: boolean;
}

export interface StartOptions extends Omit<LinkOptions, 'transport'> {
  readonly workers: readonly WorkerSpec[];
  /** Default: `GENAC_PYTHON`, else the checkout's `.venv`. */
  readonly python?: string;
  /**
   * One `NAME.log` each. Default: a new temporary folder, removed by `close` unless a worker failed
   * or was lost.
   */
  readonly logDirectory?: string;
  /** Until all are ready. Default 300 000: importing PyTorch takes a while on a cold disk. */
  readonly startTimeoutMs?: number;
  /**
   * TCP endpoint for workers by hand, such as `tcp://127.0.0.1:5555`. Default: loopback, any free
   * port, if there are any.
   */
  readonly tcp?: string;
  /** Keys, needed for TCP beyond loopback. */
  readonly curve?: CurveServer;
  /** Receives the command of each such worker. Default: printed to stderr. */
  readonly onCommand?: (command: string) => void;
}

export interface WorkerGroup {
  readonly all: readonly Worker[];
  /** Where workers connect to. */
  readonly endpoints: readonly string[];
  readonly logDirectory: string;
  /** Throws for a name that the group doesn't have. */
  get(name: string): Worker;
  /** Process id of a worker that was started here. */
  pid(name: string): number | undefined;
  /**
   * Called once for each worker that dies, falls silent or leaves before `close`, after its
   * requests were rejected. Returns what ends that.
   */
  onLost(listener: (error: BridgeError) => void): () => void;
  /**
   * Lets workers finish what they have in hand (`drainMs`, default 5000), then ends them, with
   * their process groups. Bounded by `drainMs` + 12 s; may be called twice; never rejects.
   */
  close(drainMs?: number): Promise<void>;
}

/**
 * Starts all workers at once and resolves when every one is ready; if one fails, all are ended and
 * the error shows the end of its log.
 */
export async function startWorkers(options: StartOptions): Promise<WorkerGroup> {
  refuseBadNames(options.workers);
  const logDirectory = options.logDirectory ?? mkdtempSync(join(tmpdir(), 'genac-logs-'));
  mkdirSync(logDirectory, { recursive: true });
  const byHand = options.workers.some((spec) => spec.byHand);
  const tcp = options.tcp ?? (byHand ? 'tcp://127.0.0.1:*' : undefined);
  // Children get it by their environment, workers by hand from a file.
  const token = tcp === undefined || options.curve !== undefined ? null : endpointToken();
  const transport = await bindZmq({
    tcp,
    curve: options.curve,
    token: token?.token,
    maxMessageBytes: options.maxMessageBytes ?? DEFAULT_MAX_MESSAGE_BYTES,
  });
  const link = new Link({ ...options, transport });
  const children = new Map<string, Child>();
  let failed = false;
  const close = async (drainMs?: number) => {
    await link.close(drainMs);
    token?.forget();
    await Promise.all([...children.values()].map((child) => child.end(3_000)));
    if (options.logDirectory === undefined && !failed)
      rmSync(logDirectory, { recursive: true, force: true });
  };
  // A process that is declared dead by its silence may still be there, stopped or stuck.
  link.onLost(({ worker }) => {
    failed = true;
    children.get(worker ?? '')?.killGroup('SIGKILL');
  });
  let timer: NodeJS.Timeout | undefined;
  try {
    const [local, remote] = transport.endpoints;
    const starting = options.workers.map((spec) => {
      const logPath = join(logDirectory, `${spec.name}.log`);
      if (spec.byHand) {
        announce(options, remote!, spec, token);
        return link.expect(spec.name);
      }
      const startId = randomUUID();
      const ready = link.expect(spec.name, { logTail: () => tailOf(logPath), startId });
      const env = { ...spec.env, ...secretsOf(token, startId) };
      children.set(spec.name, startChild(options, { ...spec, env }, local!, logPath, link));
      return ready;
    });
    const startTimeoutMs = options.startTimeoutMs ?? 300_000;
    timer = setTimeout(() => {
      for (const { name } of options.workers) {
        if (!link.isReady(name)) link.lose(name, `was not ready within ${startTimeoutMs / 1000} s`);
      }
    }, startTimeoutMs);
    const workers = new Map((await Promise.all(starting)).map((worker) => [worker.name, worker]));
    return {
      all: [...workers.values()],
      endpoints: transport.endpoints,
      logDirectory,
      get(name) {
        const worker = workers.get(name);
        if (worker !== undefined) return worker;
        throw new BridgeError(
          'refused',
          `there is no worker named ${name} (there are ${[...workers.keys()].join(', ')})`,
        );
      },
      pid: (name) => children.get(name)?.pid,
      onLost: (listener) => link.onLost(listener),
      close,
    };
  } catch (error) {
    failed = true;
    for (const child of children.values()) child.killGroup('SIGKILL');
    await close(0);
    throw withAdvice(error, options.python ?? findPython());
  } finally {
    clearTimeout(timer);
  }
}

/** What to do where the workers' Python lacks a package. */
function withAdvice(error: unknown, python: string): unknown {
  const lacking =
    error instanceof BridgeError && /No module named '?([\w.]+)/.exec(error.message)?.[1];
  if (!lacking) return error;
  const advice = `${python} has no package "${lacking}": run \`npm run setup\` (\`npx genac doctor\` says what else is missing), or name another Python in GENAC_PYTHON`;
  return new BridgeError('start_failed', `${advice}\n${error.message}`, {
    worker: error.worker,
    cause: error,
  });
}

function startChild(
  options: StartOptions,
  spec: WorkerSpec,
  endpoint: string,
  logPath: string,
  link: Link,
): Child {
  writeFileSync(logPath, '', { flag: 'a' });
  const child = new Child({
    name: spec.name,
    endpoint,
    python: options.python ?? findPython(),
    logPath,
    operations: spec.operations ?? null,
    env: {
      ...(spec.device === undefined ? {} : { CUDA_VISIBLE_DEVICES: spec.device }),
      ...(spec.threads === undefined ? {} : { OMP_NUM_THREADS: String(spec.threads) }),
      // Logs of what the worker starts go to the same folder.
      GENAC_WORKER_LOG: resolve(logPath),
      ...spec.env,
    },
  });
  // Its last words may still be on their way when the news of its end is there.
  void child.ended.then((how) => setTimeout(() => link.lose(spec.name, how), LAST_WORDS_MS));
  return child;
}

/**
 * What a child shows: the token (where there is none, none of this process's own environment, for a
 * socket that asks for none takes none), and the `start_id` by which it is known from anyone else
 * who says its name.
 */
const secretsOf = (token: Token | null, startId: string): Record<string, string> => ({
  GENAC_TOKEN: token?.token ?? '',
  GENAC_TOKEN_FILE: '',
  GENAC_START_ID: startId,
});

function announce(
  options: StartOptions,
  endpoint: string,
  { name, operations }: WorkerSpec,
  token: Token | null,
): void {
  const file = token?.file ? `env GENAC_TOKEN_FILE=${token.file} ` : '';
  const command = `${file}${options.python ?? findPython()} -m genac_bridge --connect ${endpoint} --name ${name}${operations === undefined ? '' : ` --operations ${operations}`}`;
  if (options.onCommand === undefined) console.error(`Start worker ${name} with: ${command}`);
  else options.onCommand(command);
}

/** Names become file names and arguments. */
function refuseBadNames(workers: readonly WorkerSpec[]): void {
  for (const { name } of workers) {
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(name)) {
      throw new BridgeError(
        'refused',
        `${JSON.stringify(name)} can't name a worker: letters, digits, dots, dashes and ` +
          'underscores, a letter or digit first',
      );
    }
  }
  if (new Set(workers.map(({ name }) => name)).size < workers.length) {
    throw new BridgeError(
      'refused',
      `worker names must differ: ${workers.map(({ name }) => name).join(', ')}`,
    );
  }
}
