import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { doctorCommand } from '../../src/cli/doctor.ts';
import { atLeast, checkNode, findBasePython } from '../../src/setup/ensure.mjs';

const root = new URL('../..', import.meta.url).pathname;

/** A folder with a program that answers as a Python of this version would. */
function pretendPython(version: string, withVenv: boolean): string {
  const path = join(mkdtempSync(join(tmpdir(), 'genac-python-')), 'python3');
  writeFileSync(
    path,
    `#!/bin/sh\ncase "$2" in *platform*) echo ${version};; *venv*) exit ` +
      `${withVenv ? 0 : 1};; esac\n`,
  );
  chmodSync(path, 0o755);
  return path;
}

describe('the set-up', () => {
  it('compares versions by number', () => {
    expect(atLeast('20.19.0', [20, 19])).toBe(true);
    expect(atLeast('20.9.0', [20, 19])).toBe(false);
    expect(atLeast('22.0.0', [20, 19])).toBe(true);
    expect(atLeast('3.9.18', [3, 10])).toBe(false);
  });

  it('says in one sentence what a machine lacks', () => {
    expect(() => checkNode('18.20.0')).toThrow(
      /^GenAC needs Node 20\.19 or newer, and this is Node 18\.20\.0: install/,
    );
    const old = pretendPython('3.9.2', true);
    expect(() => findBasePython([old])).toThrow(
      `GenAC needs Python 3.10 or newer (${old} is 3.9.2): install one, or name it in ` +
        'GENAC_BASE_PYTHON.',
    );
    expect(() => findBasePython(['/no/python'])).toThrow(
      "and /no/python can't be run: install one",
    );
    expect(() => findBasePython(['no-python', 'nor-this'])).toThrow('and none is on the PATH');
    expect(() => findBasePython([pretendPython('hello', true)])).toThrow("can't be run");
    expect(() => findBasePython([pretendPython('3.11.7', false)])).toThrow(
      "can't make virtual environments",
    );
    expect(findBasePython(['no-such-python', old, 'python3'])).toBe('python3');
  });

  it('installs nothing that is not pinned, and nothing without a hash but PyTorch', () => {
    const read = (name: string) => readFileSync(join(root, 'python_bridge', name), 'utf8');
    const locked = read('requirements.lock')
      .replaceAll('\\\n', ' ')
      .split('\n')
      .filter((line) => line !== '' && !/^\s*#/.test(line));
    expect(locked.length).toBeGreaterThan(100);
    for (const line of locked) expect(line).toMatch(/^[\w.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}/);
    const pins = read('constraints.txt').matchAll(/^([\w-]+==[\w.]+) ; python_version/gm);
    for (const [, pin] of pins)
      expect(
        locked.some((line) => line.startsWith(`${pin} `)),
        pin,
      ).toBe(true);
  });

  it('costs next to nothing the second time, and says nothing', () => {
    const { status, stderr } = spawnSync(process.execPath, ['src/setup/ensure.mjs'], {
      cwd: root,
      encoding: 'utf8',
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });
});

describe('genac doctor', () => {
  it('tells versions and devices, starts a worker and asks it something', async () => {
    const lines: string[] = [];
    expect(await doctorCommand((line) => lines.push(line))).toBe(0);
    const text = lines.join('\n');
    for (const expected of [
      'Node 2',
      'ZeroMQ 4',
      'Python 3',
      'a worker starts in',
      'and answers in',
      'torch 2',
      'device cpu',
      'all is there',
    ]) {
      expect(text).toContain(expected);
    }
  });

  it('says what to do where Python is missing', () => {
    const run = () =>
      execFileSync(process.execPath, ['src/cli/genac.mjs', 'doctor'], {
        cwd: root,
        encoding: 'utf8',
        env: { ...process.env, GENAC_PYTHON: '/no/such/python' },
      });
    let output = '';
    try {
      run();
    } catch (error) {
      output = (error as { stdout: string }).stdout;
    }
    expect(output).toContain('MISSING  Python');
    expect(output).toContain('-> run `npm run setup`, or name a Python in GENAC_PYTHON');
    expect(output).toContain('1 missing');
  });
});
