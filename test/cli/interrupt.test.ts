/**
 * What a terminal, a shell and a person send to a run. In a process of its own: signals are the
 * process's.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const interrupt = fileURLToPath(new URL('../../src/cli/interrupt.ts', import.meta.url));
const script = `
  import { stopOnInterrupt } from ${JSON.stringify(interrupt)};
  const end = () => setTimeout(() => { console.log('checkpoint'); process.exit(); }, 600);
  stopOnInterrupt([{ stop: end }]);
  setInterval(() => {}, 1_000);
  console.log('ready');
`;

it.each([
  [['SIGHUP', 'SIGHUP'], 129, 'checkpoint'],
  [['SIGINT', 'SIGHUP'], 130, 'checkpoint'],
  [['SIGTERM'], 143, 'checkpoint'],
  [['SIGINT', 'SIGINT'], 130, ''],
  [['SIGHUP', 'SIGTERM'], 143, ''],
] as const)(
  '%j ends a run with code %d',
  async (signals, code, said) => {
    const args = ['--import', 'tsx', '--input-type=module', '-e', script];
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { ...process.env, TSX_DISABLE_CACHE: '1' },
    });
    const ended = once(child, 'exit');
    let out = '';
    child.stdout.on('data', (part) => (out += part));
    await once(child.stdout, 'data');
    for (const signal of signals) {
      child.kill(signal);
      await sleep(150); // two of a kind that wait together are one
    }
    expect((await ended)[0]).toBe(code);
    expect(out.slice('ready\n'.length).trim()).toBe(said);
  },
  30_000,
);
