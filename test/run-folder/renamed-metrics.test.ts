/** A run that the version before wrote is shown under the present names. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { statusText } from '../../src/cli/control.ts';
import { configSchema } from '../../src/config/schema.ts';
import { pointsOf } from '../../src/reports/demo-summary.ts';
import { inspectRun } from '../../src/reports/inspect.ts';
import { jointPlots } from '../../src/reports/report-plots.ts';
import { openLoggers } from '../../src/run-folder/loggers.ts';
import { readMetrics } from '../../src/run-folder/read.ts';
import { statusOf } from '../../src/run-folder/status.ts';

const evaluation = {
  'critic/mse': 0.15,
  'critic/mse_of_mean': 0.05,
  'critic/parse_rate': 1,
  'critic/bias': 0.25,
  'critic/greedy_mse': 0.3,
  'critic/greedy_parse_rate': 0.75,
};
const iteration = {
  reward: 0.5,
  success_rate: 0.4,
  'critic/parse_rate': 0.9,
  'gate/fell_back_to_group_mean': 1,
};
const place = { stage: 'joint', iteration: 0, seconds: 2 };
const lines = [
  { type: 'evaluation', ...place, 'gate/mse': 0.1, 'gate/mse_of_mean': 0.2 },
  { type: 'evaluation', ...place, 'evaluation/success': 0.25, ...evaluation },
  { type: 'iteration', ...place, ...iteration },
];
const status = {
  ...{ state: 'done', pid: 1, process_start: null, host: 'h', stage: 'joint', phase: null },
  ...{ since: '2026-01-01T00:00:00Z', updated: '2026-01-01T00:01:00Z' },
  ...{ iteration: 1, iterations: 1, metrics: { ...evaluation, ...iteration } },
};

let folder: string;
const writeStatus = (metrics: object) =>
  writeFileSync(join(folder, 'status.json'), JSON.stringify({ ...status, metrics }));

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'genac-renamed-'));
  writeFileSync(join(folder, 'config.yaml'), '');
  const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
  writeFileSync(join(folder, 'metrics.jsonl'), text);
});

it('readMetrics gives the present names, and an iteration keeps its own parse rate', () => {
  expect(readMetrics(folder)).toEqual([
    { type: 'evaluation', ...place, 'gate/mse': 0.1, 'gate/mse_of_constant': 0.2 },
    {
      ...{ type: 'evaluation', ...place, 'evaluation/success': 0.25 },
      'critic/heldout_mse': 0.15,
      'critic/heldout_mse_of_constant': 0.05,
      'critic/heldout_parse_rate': 1,
      'critic/heldout_bias': 0.25,
      'critic/heldout_greedy_mse': 0.3,
      'critic/heldout_greedy_parse_rate': 0.75,
    },
    {
      ...{ type: 'iteration', ...place, reward: 0.5, 'critic/parse_rate': 0.9 },
      'actor/success_rate': 0.4,
      'gate/fallback': 1,
    },
  ]);
});

it('genac inspect shows them', () => {
  expect(inspectRun(folder, { count: 0 }).table).toEqual([
    [
      'stage',
      'iteration',
      'reward',
      'success rate',
      'held-out success',
      'critic mse',
      'parse rate',
    ],
    ['joint', '0', '0.500', '0.400', '0.250', '0.150', '0.900'],
  ]);
});

it('reports have the error of the critic, and say how often the gate closed', () => {
  const read = readMetrics(folder);
  expect(pointsOf(read)).toMatchObject([{ success: 0.25, mse: 0.15, constant: 0.05 }]);
  const plots = jointPlots(read);
  const points = plots.flatMap(({ series }) => series.map(({ label, points }) => [label, points]));
  expect(points).toContainEqual(['critic', [[0, 0.15]]]);
  expect(points).toContainEqual(['best constant', [[0, 0.05]]]);
});

it('genac status shows them', () => {
  writeStatus(status.metrics);
  const read = statusOf(folder);
  expect(read.metrics).toMatchObject({ 'critic/heldout_mse': 0.15, 'critic/parse_rate': 0.9 });
  expect(read.metrics).not.toHaveProperty('critic/mse');
  expect(statusText(folder, read, false, 0)).toContain('critic mse 0.150');
  expect(read.metrics).toMatchObject({ 'actor/success_rate': 0.4, 'gate/fallback': 1 });
});

it('a critic of your own may have an "mse" of its updates', () => {
  const own = { 'critic/mse': 0.2, 'critic/bias': 0.1, 'critic/heldout_mse': 0.3 };
  writeStatus(own);
  expect(statusOf(folder).metrics).toEqual(own);
});

it('loggers get the names in both languages from one table', async () => {
  const calls: { name: string; keywords: unknown }[] = [];
  const python = {
    call: async (name: string, keywords: unknown) => {
      calls.push({ name, keywords });
      return null;
    },
  };
  const config = configSchema.parse({ folder, task: 't', critic: 'c', actor: null });
  const loggers = await openLoggers(config, folder, python as never, () => {});
  await loggers.close();
  expect(calls[0]).toMatchObject({
    name: 'genac_bridge.functions.loggers:open_loggers',
    keywords: {
      renamed: {
        evaluation: { 'critic/mse': 'critic/heldout_mse' },
        iteration: { success_rate: 'actor/success_rate' },
      },
    },
  });
});
