/**
 * `genac doctor`: prints versions, devices, and whether a worker starts and answers; for each
 * missing thing, what to do. With a config, also whether its run would start, and what its models
 * will take of their devices.
 */
import { execFileSync } from 'node:child_process';
import { loadConfigFile } from '../config/load.ts';
import { checkNode } from '../setup/ensure.mjs';
import { UserError } from '../user-error.ts';
import { startWorkers } from '../workers/local.ts';
import { findPython } from '../workers/python.ts';
import { memoryReport } from './doctor-memory.ts';
import { checkStart } from './doctor-start.ts';

interface Finding {
  /** null: not known. */
  readonly ok: boolean | null;
  readonly what: string;
  readonly remedy?: string;
}

/**
 * @param memory GiB of each GPU of another machine, to plan the config's models for
 * @returns the exit code: 0 if nothing is known to be missing
 */
export async function doctorCommand(
  print: (line: string) => void = console.log,
  { config, memory }: { readonly config?: string; readonly memory?: number } = {},
): Promise<number> {
  if (memory !== undefined && config === undefined)
    throw new UserError('--memory: has an effect with --config FILE only');
  const findings: Finding[] = [];
  const say = (finding: Finding) => {
    findings.push(finding);
    const mark = { true: 'ok     ', false: 'MISSING', null: 'UNKNOWN' }[`${finding.ok}`];
    print(`${mark}  ${finding.what}`);
    if (finding.remedy) print(`         -> ${finding.remedy}`);
  };
  say(
    attempt(
      'Node',
      () => {
        checkNode(process.versions.node);
        return `Node ${process.versions.node}`;
      },
      'install Node 20.19 or newer',
    ),
  );
  const zeromq = await import('zeromq').then(
    (m) => m.version,
    (error: Error) => error,
  );
  say(
    zeromq instanceof Error
      ? {
          ok: false,
          what: `zeromq does not load: ${zeromq.message}`,
          remedy: 'run `npm ci` in the checkout',
        }
      : { ok: true, what: `ZeroMQ ${zeromq}` },
  );
  const python = findPython();
  say(
    attempt(
      'Python',
      () => {
        const version = execFileSync(
          python,
          ['-c', 'import platform; print(platform.python_version())'],
          {
            encoding: 'utf8',
            stdio: ['ignore', 'pipe', 'pipe'],
          },
        );
        return `Python ${version.trim()} (${python})`;
      },
      'run `npm run setup`, or name a Python in GENAC_PYTHON',
    ),
  );
  if (findings.every(({ ok }) => ok)) {
    for (const finding of await examineWorker()) say(finding);
  }
  if (config !== undefined && findings.every(({ ok }) => ok)) {
    for (const finding of await examineConfig(config, memory, print)) say(finding);
  }
  const missing = findings.filter(({ ok }) => ok === false).length;
  const unknown = findings.filter(({ ok }) => ok === null).length;
  const good =
    unknown === 0 ? 'all is there' : `nothing is known to be missing; ${unknown} unknown`;
  print(missing === 0 ? good : `${missing} missing`);
  return missing === 0 ? 0 : 1;
}

async function examineConfig(
  file: string,
  memory: number | undefined,
  print: (line: string) => void,
): Promise<Finding[]> {
  try {
    const loaded = loadConfigFile(file);
    await checkStart(loaded);
    const gpu = memory === undefined ? null : memory * 2 ** 30;
    const { lines, problems, unknown } = await memoryReport(loaded, gpu);
    for (const line of lines) print(line);
    return [
      ...problems.map((problem) => ({ ok: false, ...problem })),
      ...unknown.map((what) => ({ ok: null, what })),
    ];
  } catch (error) {
    if (!(error instanceof UserError) && !(error instanceof Error && 'syscall' in error))
      throw error;
    return [{ ok: false, what: `a run would not start: ${error.message}` }];
  }
}

function attempt(name: string, look: () => string, remedy: string): Finding {
  try {
    return { ok: true, what: look() };
  } catch (error) {
    return { ok: false, what: `${name}: ${(error as Error).message.split('\n')[0]}`, remedy };
  }
}

async function examineWorker(): Promise<Finding[]> {
  const began = performance.now();
  try {
    const group = await startWorkers({ workers: [{ name: 'doctor' }] });
    try {
      const worker = group.get('doctor');
      const ready = performance.now();
      const { result } = await worker.request(
        'call',
        { function: 'json:loads', keywords: { s: '{"answer": 42}' } },
        { deadlineMs: 20_000 },
      );
      const answered = JSON.stringify(result.value) === '{"answer":42}';
      const { versions, devices } = worker.ready;
      return [
        { ok: true, what: `a worker starts in ${((ready - began) / 1000).toFixed(1)} s` },
        answered
          ? { ok: true, what: `and answers in ${(performance.now() - ready).toFixed(1)} ms` }
          : {
              ok: false,
              what: `but answers wrongly: ${JSON.stringify(result.value)}`,
              remedy: 'run `npm run setup` again',
            },
        {
          ok: true,
          what: `worker: ${Object.entries(versions)
            .map(([name, version]) => `${name} ${version}`)
            .join(', ')}`,
        },
        ...devices.map((device) => ({
          ok: true,
          what: `device ${device.name}: ${device.description}${device.memory_bytes ? `, ${(device.memory_bytes / 2 ** 30).toFixed(1)} GiB` : ''}${device.bfloat16 ? ', bfloat16' : ''}`,
        })),
      ];
    } finally {
      await group.close();
    }
  } catch (error) {
    const remedy = 'run `npm run setup`; it installs what the worker imports';
    return [{ ok: false, what: `a worker does not start: ${(error as Error).message}`, remedy }];
  }
}
