/** Every config of a run in examples/ gets as far as its workers' start. */
import { mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { checkStart } from '../../src/cli/doctor-start.ts';
import { checkConfig, loadConfigFile } from '../../src/config/load.ts';

const examples = fileURLToPath(new URL('../../examples', import.meta.url));
/** Not of runs: an evaluation, and options of a controller whose host trains. */
const others = ['evaluate.yaml', 'trl/controller.yaml'];
const names = readdirSync(examples, { recursive: true, encoding: 'utf8' }).filter((name) =>
  name.endsWith('.yaml'),
);

it('all are found', () => {
  expect(names).toEqual(expect.arrayContaining([...others, 'qwen-7b.yaml', 'smollm2/run.yaml']));
});

it.each(names.filter((name) => !others.includes(name)))('examples/%s can start', async (name) => {
  const { config, base } = loadConfigFile(join(examples, name));
  const { traces } = config.critic_sft;
  const critic_sft = {
    ...config.critic_sft,
    traces: typeof traces === 'string' ? made(traces) : traces,
  };
  await expect(checkStart({ config: { ...config, critic_sft }, base })).resolves.toBeUndefined();
});

/** A file in the place of traces that a script of the example makes. */
function made(traces: string): string {
  if (traces === 'oracle') return traces;
  const file = join(mkdtempSync(join(tmpdir(), 'genac-examples-')), 'traces.jsonl');
  const trace = { prompt: '1 + 1', partial_response: '2', rationale: 'It is right.', score: 9 };
  writeFileSync(file, `${JSON.stringify({ ...trace, observed_outcome: 1 })}\n`);
  return file;
}

it('a config that no run could start from is refused, for what the run would say', async () => {
  const config = checkConfig({
    ...{ folder: 'runs/x', task: 'miniature', actor: { model: 'task:base-actor' } },
    critic: { use: 'generative', model: 'task:blank', worker: 'second' },
  });
  await expect(checkStart({ config, base: '.' })).rejects.toThrow(
    'workers: has no "second" (it has actor, critic, python)',
  );
});
