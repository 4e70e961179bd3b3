/** The bridge with real processes and sockets. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import type { BridgeError } from '../../src/bridge/errors.ts';
import { tensor } from '../../src/bridge/tensor.ts';
import type { RequestOptions, Worker } from '../../src/bridge/worker.ts';
import { type StartOptions, startWorkers, type WorkerGroup } from '../../src/workers/local.ts';
import { echoWorker } from './echo-worker.ts';

const groups: WorkerGroup[] = [];
afterEach(async () => {
  for (const group of groups.splice(0)) {
    const pids = group.all.map(({ name }) => group.pid(name));
    await group.close(200);
    expect(pids.filter(isAlive)).toEqual([]);
    expect(existsSync(group.endpoints[0]!.replace('ipc://', ''))).toBe(false);
  }
});

async function start(options: Partial<StartOptions> = {}): Promise<WorkerGroup> {
  const group = await startWorkers({ workers: [echoWorker('a')], log: () => {}, ...options });
  groups.push(group);
  return group;
}

async function run(
  worker: Worker,
  name: string,
  keywords: object = {},
  options: RequestOptions = {},
) {
  return (
    await worker.request('call', { function: `test:${name}`, keywords: keywords as never }, options)
  ).result.value;
}

async function failure(promise: Promise<unknown>): Promise<BridgeError> {
  return promise.then(
    () => {
      throw new Error('it did not fail');
    },
    (error) => error,
  );
}

function isAlive(pid: number | undefined): boolean {
  try {
    process.kill(pid!, 0);
    return true;
  } catch {
    return false;
  }
}

async function gone(pids: number[], milliseconds: number): Promise<boolean> {
  const end = Date.now() + milliseconds;
  while (pids.some(isAlive) && Date.now() < end)
    await new Promise((resolve) => setTimeout(resolve, 20));
  return !pids.some(isAlive);
}

describe('half of a surrogate pair', () => {
  test('in a short text, an answer or an exception is an answer, and the worker lives on', async () => {
    const [worker] = (await start()).all;
    const halves = ['hm \ud83d', '\udc00', `${'x'.repeat(100)}\ud83d`, 'fine \u{1f600}'];
    for (const text of halves) {
      const echoed = (await run(worker!, 'echo', { text, [text]: [text] })) as object;
      expect(echoed).toEqual({
        text: text.toWellFormed(),
        [text.toWellFormed()]: [text.toWellFormed()],
      });
    }
    for (const unit of [0xd83d, 0xdc00]) {
      expect(await run(worker!, 'half', { unit })).toEqual({ 'k\ufffd': ['\ufffd'] });
      const error = await failure(run(worker!, 'fail_in_words', { unit }));
      expect(error.message).toContain('ValueError: no \ufffd');
    }
    expect(await run(worker!, 'count')).toBe(1);
  }, 60_000);
});

describe('requests', () => {
  test('numbers, text, big integers and tensors come back from Python as they were', async () => {
    const group = await start();
    const keywords = {
      text: 'é😀',
      list: [1, -2.5, null, true],
      large: 2 ** 40,
      nested: { a: [] },
    };
    const tensors = {
      ids: tensor(new Int32Array([1, 2, 3, 4, 5, 6]), [2, 3]),
      empty: tensor(new Float32Array(0), [0, 4]),
      scalar: tensor(new Float64Array([0.5]), []),
      wide: tensor(new BigInt64Array([-(2n ** 40n)])),
    };
    const reply = await group
      .get('a')
      .request('call', { function: 'test:echo', keywords }, { tensors });
    expect(reply.result.value).toEqual(keywords);
    expect({ ...reply.tensors }).toEqual(tensors);
    expect(group.get('a').ready.devices).toEqual([
      { name: 'cpu', description: 'none', memory_bytes: null, bfloat16: false },
    ]);
  });

  test('partials arrive in order, before the answer', async () => {
    const group = await start();
    const squares: unknown[] = [];
    const onPartial: RequestOptions['onPartial'] = ({ tensors }) =>
      squares.push(tensors.squares!.data[0]);
    expect(await run(group.get('a'), 'parts', { number: 5 }, { onPartial })).toBe(5);
    expect(squares).toEqual([0, 1, 4, 9, 16]);
  });

  test('two workers compute at the same time; one serves in order', async () => {
    const group = await start({ workers: [echoWorker('a'), echoWorker('b')] });
    const began = performance.now();
    const sleeps = group.all.map((worker) =>
      run(worker, 'sleep', { seconds: 0.6, cooperative: false }),
    );
    await Promise.all(sleeps);
    expect(performance.now() - began).toBeLessThan(1100);
    const counts = await Promise.all(
      Array.from({ length: 50 }, () => run(group.get('b'), 'count')),
    );
    expect(counts).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
  });

  test('a long operation ends when it is cancelled, one that waits is never begun, and the worker serves on', async () => {
    const group = await start();
    const worker = group.get('a');
    const [first, second] = [new AbortController(), new AbortController()];
    const long = failure(
      run(worker, 'sleep', { seconds: 60, cooperative: true }, { signal: first.signal }),
    );
    const waiting = failure(run(worker, 'count', {}, { signal: second.signal }));
    second.abort();
    expect(await waiting).toMatchObject({
      code: 'cancelled',
      message: 'call on worker a: cancelled before it began',
    });
    first.abort();
    expect(await long).toMatchObject({ code: 'cancelled', worker: 'a' });
    expect(await run(worker, 'count')).toBe(1);
  });

  test('a deadline ends an operation in the worker too', async () => {
    const group = await start();
    const worker = group.get('a');
    const late = failure(
      run(worker, 'sleep', { seconds: 60, cooperative: true }, { deadlineMs: 100 }),
    );
    expect(await late).toMatchObject({ code: 'deadline' });
    expect(await run(worker, 'count')).toBe(1);
  });

  test('failures of operations come with code and traceback', async () => {
    const group = await start();
    const worker = group.get('a');
    const raised = await failure(run(worker, 'fail'));
    expect(raised).toMatchObject({
      code: 'internal',
      message: 'call on worker a: ZeroDivisionError: on purpose',
    });
    expect(raised.traceback).toContain('in fail');
    expect(await failure(worker.request('publish', { model: 'm' }))).toMatchObject({
      code: 'bad_state',
      traceback: null,
    });
    expect(await failure(run(worker, 'not_finite'))).toMatchObject({ code: 'bad_message' });
    expect(await run(worker, 'count')).toBe(1);
  });

  test('an answer over the limit is an error, not a silence', async () => {
    const group = await start({ maxMessageBytes: 100_000 });
    const worker = group.get('a');
    const large = await failure(run(worker, 'large', { size: 200_000 }));
    expect(large.message).toMatch(/the answer has 200\d\d\d bytes, the limit is 100000/);
    expect(await run(worker, 'large', { size: 50_000 })).toBe(50_000);
  });
});

describe('workers that go', () => {
  test('by SIGKILL: its requests end at once, with the end of its log; the other serves on', async () => {
    const group = await start({ workers: [echoWorker('a'), echoWorker('b')] });
    const lost: string[] = [];
    group.onLost(({ worker }) => lost.push(worker!));
    const grandchild = (await run(group.get('a'), 'spawn')) as number;
    const long = failure(run(group.get('a'), 'sleep', { seconds: 60, cooperative: false }));
    process.kill(group.pid('a')!, 'SIGKILL');
    expect(await long).toMatchObject({
      code: 'worker_lost',
      worker: 'a',
      message: expect.stringMatching(
        /^call on worker a: no answer after [\d.]+ s, for worker a was killed by SIGKILL/,
      ),
    });
    expect(lost).toEqual(['a']);
    expect(await run(group.get('b'), 'count')).toBe(1);
    expect(await gone([grandchild], 2000)).toBe(true);
  });

  test('by itself: the error shows its last words', async () => {
    const group = await start();
    const dead = await failure(run(group.get('a'), 'die', { text: 'out of luck' }));
    expect(dead.message).toMatch(/worker a exited with code 9; the end of its log:\nout of luck$/);
  });

  test('stopped (SIGSTOP): its silence is noticed, and the process is removed', async () => {
    const group = await start({ heartbeatMs: 100, busySilenceMs: 800 });
    const pid = group.pid('a')!;
    process.kill(pid, 'SIGSTOP');
    const error = await failure(run(group.get('a'), 'count'));
    expect(error).toMatchObject({ code: 'worker_lost' });
    expect(error.message).toMatch(/has said nothing for (0\.[89]|1\.\d) s/);
    expect(await gone([pid], 2000)).toBe(true);
  });

  test('code that holds Python up says nothing for long, and is answered all the same', async () => {
    const group = await start({ heartbeatMs: 100, silenceMs: 500 });
    expect(await run(group.get('a'), 'hold', { seconds: 1.5 })).toBe('held');
  });

  test('asked by SIGTERM, in the middle of work, it says goodbye', async () => {
    const group = await start();
    const long = failure(run(group.get('a'), 'sleep', { seconds: 60, cooperative: false }));
    process.kill(group.pid('a')!, 'SIGTERM');
    expect((await long).message).toContain('worker a said goodbye: SIGTERM');
  });

  test('closing waits for what is in hand, and not for what has no end', async () => {
    const group = await start({ workers: [echoWorker('a'), echoWorker('b')] });
    const short = run(group.get('a'), 'sleep', { seconds: 0.3, cooperative: false });
    const endless = failure(run(group.get('b'), 'sleep', { seconds: 600, cooperative: false }));
    const began = performance.now();
    await group.close(1000);
    expect(performance.now() - began).toBeLessThan(4000);
    expect(await short).toBe('slept');
    expect(await endless).toMatchObject({ code: 'worker_lost' });
  });
});

describe('starting', () => {
  test('a worker that dies while it starts: one error with its last words, and nothing is left', async () => {
    const workers = [echoWorker('a'), echoWorker('broken', 'bridge_operations:BrokenOperations')];
    const error = await failure(startWorkers({ workers, log: () => {} }));
    expect(error).toMatchObject({ code: 'start_failed', worker: 'broken' });
    expect(error.message).toContain('RuntimeError: there is no such model');
  });

  test('a Python that is not there', async () => {
    const error = await failure(
      startWorkers({ workers: [echoWorker('a')], python: '/no/such/python', log: () => {} }),
    );
    expect(error).toMatchObject({ code: 'start_failed' });
    expect(error.message).toContain('could not be started: spawn /no/such/python ENOENT');
  });

  test('a Python without the packages: what to do comes first', async () => {
    const python = join(mkdtempSync(join(tmpdir(), 'genac-python-')), 'python');
    const words = "ModuleNotFoundError: No module named 'msgspec'";
    writeFileSync(python, `#!/bin/sh\necho "${words}" >&2\nexit 1\n`, { mode: 0o755 });
    const error = await failure(
      startWorkers({ workers: [echoWorker('a')], python, log: () => {} }),
    );
    expect(error).toMatchObject({ code: 'start_failed', worker: 'a' });
    expect(error.message).toMatch(
      /^.*python has no package "msgspec": run `npm run setup`.*\n.*exited with code 1/,
    );
    expect(error.message).toContain(words);
  });

  test('names that are taken twice or are no names', async () => {
    expect(
      await failure(startWorkers({ workers: [echoWorker('a'), echoWorker('a')] })),
    ).toMatchObject({
      code: 'refused',
    });
    expect((await failure(startWorkers({ workers: [echoWorker('../a')] }))).message).toContain(
      `can't name a worker`,
    );
  });

  test('a worker by hand comes by the command that was printed', async () => {
    let child: ChildProcess | undefined;
    const { env } = echoWorker('hand');
    const group = await start({
      workers: [{ ...echoWorker('hand'), byHand: true }],
      onCommand: (command) => {
        const [program, ...args] = command.split(' ');
        child = spawn(program!, args, { env: { ...process.env, ...env }, stdio: 'inherit' });
      },
    });
    expect(group.endpoints[1]).toMatch(/^tcp:\/\/127\.0\.0\.1:\d+$/);
    expect(await run(group.get('hand'), 'count')).toBe(1);
    const exit = once(child!, 'exit');
    await group.close();
    expect((await exit)[0]).toBe(0);
  });
});

describe('a controller that goes takes its workers with it', () => {
  const script = fileURLToPath(new URL('./controller.ts', import.meta.url));

  test('unless it is stopped and continued (Ctrl-Z, fg): then nothing is lost', async () => {
    const { child, lines } = await started('pause');
    child.kill('SIGSTOP');
    await new Promise((resolve) => setTimeout(resolve, 1500));
    child.kill('SIGCONT');
    expect(await once(lines, 'line')).toEqual(['counted 1']);
  });

  async function started(...args: string[]) {
    const child = spawn(process.execPath, ['--import', 'tsx', script, ...args], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const lines = createInterface(child.stdout!);
    const [line] = await once(lines, 'line');
    return { child, lines, line };
  }

  async function controller(...args: string[]) {
    const { child, line } = await started(...args);
    const exit = once(child, 'exit');
    const { pids, grandchild } = JSON.parse(line) as { pids: number[]; grandchild: number };
    return { child, exit, pids, grandchild };
  }

  test('by SIGKILL', async () => {
    const { child, exit, pids, grandchild } = await controller();
    expect(pids.every(isAlive)).toBe(true);
    child.kill('SIGKILL');
    await exit;
    expect(await gone([...pids, grandchild], 10_000)).toBe(true);
  });

  test('by an error that nobody caught', async () => {
    const { exit, pids, grandchild } = await controller('throw');
    await exit;
    expect(await gone([...pids, grandchild], 10_000)).toBe(true);
  });

  test('by SIGTERM', async () => {
    const { child, exit, pids, grandchild } = await controller();
    child.kill('SIGTERM');
    await exit;
    expect(await gone([...pids, grandchild], 10_000)).toBe(true);
  });
});
