/** `genac doctor --config`: "all is there" is said only where a run would start and fit. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { doctorCommand } from '../../src/cli/doctor.ts';
import { memoryReport } from '../../src/cli/doctor-memory.ts';
import { loadConfigFile } from '../../src/config/load.ts';

const folder = mkdtempSync(join(tmpdir(), 'genac-doctor-test-'));
const model = {
  ...{ model_type: 'llama', architectures: ['LlamaForCausalLM'], vocab_size: 128 },
  ...{ hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2, num_attention_heads: 4 },
};
writeFileSync(join(folder, 'config.json'), JSON.stringify(model));

function written(changes: object): string {
  const options = { folder: join(folder, 'run'), task: 'miniature', stages: ['joint'] };
  const actor = { model: folder };
  const file = join(folder, 'run.yaml');
  writeFileSync(file, JSON.stringify({ ...options, critic: 'group-mean', actor, ...changes }));
  return file;
}

async function doctorOf(changes: object) {
  const lines: string[] = [];
  const config = written(changes);
  const code = await doctorCommand((line) => lines.push(line), { config });
  const findings = lines.filter((line) => /^[A-Z]{7} /.test(line));
  return { code, lines, findings, end: lines.at(-1) };
}

it('a model that is planned and fits is all that there has to be', async () => {
  const { code, lines, end } = await doctorOf({});
  expect([code, end]).toEqual([0, 'all is there']);
  expect(lines.join('\n')).toMatch(/^actor: actor +0\.0 .* \d+\.\d on (cpu|cuda:0|mps)/m);
});

it('a config that can’t start is missing something, in the words of the run', async () => {
  const critic = { use: 'generative', model: folder, worker: 'second' };
  const { code, end, findings } = await doctorOf({ critic });
  expect([code, end]).toEqual([1, '1 missing']);
  expect(findings).toEqual([
    'MISSING  a run would not start: the config is not valid\n' +
      '  workers: has no "second" (it has actor, critic, python)',
  ]);
});

it('a model that can’t be planned is unknown, and the last line says so', async () => {
  const actor = { model: join(folder, 'nothing') };
  const { code, end, findings } = await doctorOf({ actor });
  expect([code, end]).toEqual([0, 'nothing is known to be missing; 1 unknown']);
  expect(findings).toEqual([expect.stringMatching(/^UNKNOWN {2}actor: actor is not planned: /)]);
});

it('for another machine, the memory of its GPUs counts, and bfloat16', async () => {
  const loaded = loadConfigFile(written({ workers: { actor: { devices: '1' } } }));
  const { problems } = await memoryReport(loaded, 2 ** 20);
  expect(problems.map(({ what }) => what)).toEqual([
    'actor: actor leaves no room for activations in its part of GPU 1',
    '0.0 GiB of actor do not fit into 0.0 on GPU 1',
  ]);
  const large = await memoryReport(loaded, 80 * 2 ** 30);
  expect(large.problems).toEqual([]);
  expect(large.lines.join()).toMatch(/80\.0 on cuda:0.*, bfloat16;/);
  await expect(doctorCommand(() => {}, { memory: 80 })).rejects.toThrow('--memory: has an effect');
});
