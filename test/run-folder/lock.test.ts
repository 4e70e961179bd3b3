import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  linkSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { lockRun } from '../../src/run-folder/lock.ts';

const folder = () => mkdtempSync(join(tmpdir(), 'genac-lock-'));
const root = new URL('../..', import.meta.url).pathname;

it('is held by one at a time, in this process too, and can be taken again once it was released', async () => {
  const path = join(folder(), 'not', 'there', 'yet');
  const first = await lockRun(path);
  await expect(lockRun(path)).rejects.toThrow(
    `${path} is in use by process ${process.pid} on ${hostname()}`,
  );
  first.release();
  first.release();
  const second = await lockRun(path);
  first.release(); // the lock is not its own any more
  await expect(lockRun(path)).rejects.toThrow('is in use by process');
  second.release();
  expect(readdirSync(path)).toEqual([]);
});

it('is taken over from the dead: a process that is gone, one with its number that began later, half a file', async () => {
  const dead = { pid: 2 ** 22 + 1, process_start: '1', host: hostname(), nonce: 'a' };
  for (const content of [
    JSON.stringify(dead),
    JSON.stringify({ ...dead, pid: process.pid }),
    '{"pid": 1',
  ]) {
    const path = folder();
    writeFileSync(join(path, 'run.lock'), content);
    (await lockRun(path)).release();
    // One that died while it took over.
    writeFileSync(join(path, 'run.lock'), content);
    const digest = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, 16);
    const right = join(path, `run.lock.${digest(content)}`);
    linkSync(join(path, 'run.lock'), right);
    (await lockRun(path)).release();
    expect(readdirSync(path)).toEqual([]);
  }
});

it('of another host is alive while it is renewed, and dead half a minute later', async () => {
  const path = folder();
  const lock = join(path, 'run.lock');
  const there = { pid: 7, process_start: '1', host: 'node-17', nonce: 'a' };
  writeFileSync(lock, JSON.stringify(there));
  await expect(lockRun(path)).rejects.toThrow('is in use by process 7 on node-17');
  const before = new Date(Date.now() - 31_000);
  utimesSync(lock, before, before);
  const mine = await lockRun(path);
  // The holder renews it, as long as it is its own.
  utimesSync(lock, before, before);
  const renewed = () => statSync(lock).mtimeMs > Date.now() - 10_000;
  await vi.waitFor(() => expect(renewed()).toBe(true), { timeout: 10_000, interval: 100 });
  writeFileSync(lock, JSON.stringify(there));
  utimesSync(lock, before, before);
  await new Promise((resolve) => setTimeout(resolve, 2500));
  expect(renewed()).toBe(false);
  mine.release();
  expect(existsSync(lock)).toBe(true);
}, 30_000);

it('of another host that takes over a dead one’s is not taken from it', async () => {
  const path = folder();
  const lock = join(path, 'run.lock');
  const dead = JSON.stringify({ pid: 7, process_start: '1', host: 'node-17', nonce: 'a' });
  writeFileSync(lock, dead);
  const before = new Date(Date.now() - 60_000);
  utimesSync(lock, before, before);
  const digest = createHash('sha256').update(dead).digest('hex').slice(0, 16);
  const taking = { pid: 8, process_start: '1', host: 'node-18', nonce: 'b' };
  writeFileSync(`${lock}.${digest}`, JSON.stringify(taking));
  await expect(lockRun(path)).rejects.toThrow("can't be taken over");
  expect(readFileSync(lock, 'utf8')).toBe(dead);
}, 30_000);

it('is taken by one alone of many processes that try at once, where a dead one held it', async () => {
  const script = `
    import { lockRun } from '${root}src/run-folder/lock.ts';
    process.stdin.once('data', async () => {
      try { await lockRun(process.argv[1]); console.log('mine'); } catch { console.log('refused'); }
    });
    console.log('ready');`;
  for (let round = 0; round < 3; round++) {
    const path = folder();
    writeFileSync(
      join(path, 'run.lock'),
      JSON.stringify({ pid: 2 ** 22 + 1, process_start: '1', host: hostname(), nonce: 'a' }),
    );
    const said: string[][] = [];
    const children: ChildProcess[] = Array.from({ length: 6 }, (_, i) => {
      const child = spawn(
        process.execPath,
        ['--import', 'tsx', '--input-type=module', '-e', script, path],
        {
          cwd: root,
        },
      );
      said[i] = [];
      child.stdout.on('data', (data: Buffer) =>
        said[i]!.push(...data.toString().trim().split('\n')),
      );
      return child;
    });
    const all = async (count: number) => {
      while (said.some((own) => own.length < count))
        await new Promise((resolve) => setTimeout(resolve, 20));
    };
    await all(1);
    for (const child of children) child.stdin!.write('go\n');
    await all(2);
    expect(said.filter((own) => own[1] === 'mine')).toHaveLength(1);
    for (const child of children) child.kill('SIGKILL');
    expect(existsSync(join(path, 'run.lock'))).toBe(true);
  }
}, 120_000);
