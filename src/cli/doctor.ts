/**
 * `genac doctor`: prints versions, devices, and whether a worker starts and answers; for each
 * missing thing, what to do. With a config, also what its models will take of their devices.
 */
import { execFileSync } from 'node:child_process';
import { checkNode } from '../setup/ensure.mjs';
import { startWorkers } from '../workers/local.ts';
import { findPython } from '../workers/python.ts';
import { memoryReport } from './doctor-memory.ts';

interface Finding {
  readonly ok: boolean;
  readonly what: string;
  readonly remedy?: string;
}

/** @returns the exit code: 0 if nothing is missing */
export async function doctorCommand(
  print: (line: string) => void = console.log,
  config?: string,
): Promise<number> {
  const findings: Finding[] = [];
  const say = (finding: Finding) => {
    findings.push(finding);
    print(`${finding.ok ? 'ok     ' : 'MISSING'}  ${finding.what}`);
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
    const { lines, problems } = await memoryReport(config);
    for (const line of lines) print(line);
    for (const problem of problems) say({ ok: false, ...problem });
  }
  const missing = findings.filter(({ ok }) => !ok).length;
  print(missing === 0 ? 'all is there' : `${missing} missing`);
  return missing === 0 ? 0 : 1;
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
