/**
 * pythonia behind its adapter: what may pass, what is refused, and that no process stays or hangs.
 */
import { execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openPython, type Python } from '../../src/python/pythonia.ts';
import type { Json } from '../../src/types.ts';

const root = new URL('../..', import.meta.url).pathname;
const file = join(root, 'test/fixtures/rewards/small.py');
const run = promisify(execFile);

const isThere = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

describe('one Python', () => {
  let python: Python;
  beforeAll(async () => {
    python = await openPython();
  });
  afterAll(() => python?.close());

  it.each([
    ['a ü 😀 \u2028 "\n'],
    [{ prompts: ['p'], weights: [0.5, -1e-300], nested: { deep: [null, true] } }],
    [null],
    [0.1 + 0.2],
  ])('strings and small JSON come back as they went: %j', async (value) => {
    expect(await python.call(`${file}:echo`, { value: value as Json })).toEqual(value);
  });

  it('awaits coroutines, and finds functions of packages', async () => {
    expect(await python.call(`${file}:later`, { a: 1 })).toBe(2);
    expect(await python.call('json:dumps', { obj: [1] })).toBe('[1]');
  });

  it.each([
    [Number.NaN, 'keywords.value is NaN; numbers must be finite'],
    [[1, Number.POSITIVE_INFINITY], 'keywords.value[1] is Infinity'],
    [
      { ids: new Int32Array(3) },
      'keywords.value.ids is a Int32Array; arrays do not go through pythonia',
    ],
    [Buffer.from('a'), 'keywords.value is a Buffer'],
    [new Array(257).fill(1), 'keywords.value is a list of 257 items, more than 256'],
    [new Date(0), 'keywords.value is a Date; only plain JSON'],
    [undefined, 'keywords.value is a undefined'],
    ['x'.repeat(70_000), 'characters, more than 65536'],
  ])('refuses on the way in: %#', async (value, message) => {
    await expect(python.call(`${file}:echo`, { value: value as Json })).rejects.toThrow(message);
  });

  it.each([
    ['nan', 'answer is nan, which JSON has no word for'],
    ['inf', "answer['a'][0] is -inf"],
    ['array', 'answer is a numpy.ndarray, not plain JSON'],
    ['scalar', 'answer is a numpy.float32, not plain JSON'],
    ['list', 'answer is a list of 257 items, more than 256'],
    ['text', 'characters of JSON, more than 65536'],
    ['number', 'too large to survive as a JSON number'],
  ])('refuses on the way out: %s', async (kind, message) => {
    await expect(python.call(`${file}:strange`, { kind })).rejects.toThrow(message);
  });

  it('an exception arrives with its traceback, and the next call is served', async () => {
    await expect(python.call(`${file}:fail`, {})).rejects.toMatchObject({
      code: 'function_error',
      message: expect.stringMatching(
        /small\.py:fail raised KeyError: 'gone'\nTraceback.*in fail\n/s,
      ),
    });
    await expect(python.call(`${file}:leave`, {})).rejects.toThrow('SystemExit: 3');
    await expect(python.call(`${file}:nothing`, {})).rejects.toMatchObject({
      code: 'bad_arguments',
    });
    expect(await python.call(`${file}:echo`, { value: 1 })).toBe(1);
  });

  it('is one in a process', async () => {
    await expect(openPython()).rejects.toMatchObject({ code: 'refused' });
  });
});

describe('a Python that ends', () => {
  it('by itself rejects what was asked, and can be opened again', async () => {
    const python = await openPython();
    const calls = [
      python.call(`${file}:die`, { code: 7 }),
      python.call(`${file}:echo`, { value: 1 }),
    ];
    for (const call of calls) {
      await expect(call).rejects.toMatchObject({
        code: 'worker_lost',
        message: 'Python ended: exit code 7',
      });
    }
    await expect(python.call(`${file}:echo`, { value: 1 })).rejects.toThrow(
      'Python ended: exit code 7',
    );
    await python.close();
    const again = await openPython();
    expect(await again.call(`${file}:echo`, { value: 2 })).toBe(2);
    await again.close();
    await again.close();
    expect(isThere(again.pid)).toBe(false);
    await expect(again.call(`${file}:echo`, { value: 2 })).rejects.toMatchObject({
      code: 'closed',
    });
  });

  it('for its time is killed', async () => {
    const python = await openPython({ timeoutMs: 300 });
    await expect(python.call(`${file}:hang`, {})).rejects.toMatchObject({
      code: 'deadline',
      message: expect.stringContaining('small.py:hang had no answer within 300 ms'),
    });
    await python.close();
    expect(isThere(python.pid)).toBe(false);
  });

  it('in the middle of a call by close() leaves nothing behind', async () => {
    const python = await openPython();
    const call = python.call(`${file}:hang`, {});
    const rejected = expect(call).rejects.toMatchObject({ code: 'closed' });
    await python.close();
    await rejected;
    expect(isThere(python.pid)).toBe(false);
  });

  it('with a Node that is killed does so in the middle of a call', async () => {
    const script = `import { openPython } from ${JSON.stringify(join(root, 'src/index.ts'))};
      const python = await openPython();
      console.log(python.pid);
      await python.call(${JSON.stringify(`${file}:hang`)}, {});`;
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', '--input-type=module', '-e', script],
      {
        cwd: root,
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    const pid = await new Promise<number>((resolve) =>
      child.stdout.once('data', (data: Buffer) => resolve(Number(data))),
    );
    expect(isThere(pid)).toBe(true);
    child.kill('SIGKILL');
    for (let i = 0; i < 100 && isThere(pid); i++)
      await new Promise((resolve) => setTimeout(resolve, 50));
    expect(isThere(pid)).toBe(false);
  });

  it('before it began says why', async () => {
    await expect(openPython({ python: '/no/such/python' })).rejects.toMatchObject({
      code: 'start_failed',
      message: expect.stringContaining('/no/such/python'),
    });
    const bare = openPython({ python: '/bin/true' });
    await expect(bare).rejects.toMatchObject({ code: 'start_failed' });
    const python = await openPython();
    await python.close();
  });
});

it('pythonia is loaded only when Python is opened', async () => {
  const script = `const { openPython } = await import(${JSON.stringify(join(root, 'src/index.ts'))});
    const loaded = () => globalThis.__pythonBridge !== undefined;
    const before = loaded();
    const python = await openPython();
    console.log(before, loaded());
    await python.close();`;
  const { stdout } = await run(
    process.execPath,
    ['--import', 'tsx', '--input-type=module', '-e', script],
    {
      cwd: root,
    },
  );
  expect(stdout).toBe('false true\n');
});

it('examples/python-reward.ts calls a Python reward function from a script, and ends', async () => {
  const script = join(root, 'examples/python-reward.ts');
  const { stdout } = await run(process.execPath, ['--import', 'tsx', script], { cwd: root });
  expect(stdout).toBe('[1,0]\n');
});
