/**
 * Makes traces for stage 1 with a rule-based oracle. The actor answers small sums, and the oracle,
 * which can add, writes about partial responses what a good critic would. Its scores are not
 * calibrated to the actor; stage 2 does that.
 *
 *     node --import tsx examples/smollm2/make-traces.ts [--problems 48] [--out traces.jsonl]
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import {
  loadConfigFile,
  loadTask,
  type Problem,
  pythonFunctions,
  pythonWorkerSpec,
  segmentResponse,
  startWorkers,
  textBefore,
  WorkerModel,
} from '../../src/index.ts';
import { judge } from './oracle.ts';

const { values } = parseArgs({
  options: {
    config: { type: 'string', default: 'examples/smollm2/run.yaml' },
    problems: { type: 'string', default: '48' },
    out: { type: 'string', default: 'runs/smollm2/traces.jsonl' },
  },
});
const { config, base } = loadConfigFile(values.config);
const { sampling, seed, credit, actor: options } = config;
if (!options || !credit.segmentation)
  throw new Error('the config names no actor, or no segmentation');

const workers = await startWorkers({ workers: [{ name: 'actor' }, pythonWorkerSpec] });
try {
  const python = pythonFunctions(() => workers.get('python'));
  const { task } = await loadTask(config.task, { base, python, log: console.error });
  await task.prepare?.();
  const actor = await WorkerModel.load(workers.get('actor'), 'actor', {
    source: options.model,
    kind: 'causal',
    initialization: 'pretrained',
    seed,
    device: 'auto',
    dtype: options.dtype,
    lora: null,
    optimizer: null,
  });
  const problems = await task.problems('train', seed, 0, Number(values.problems));
  console.error(`${problems.length} problems, ${sampling.num_generations} responses to each`);
  const { max_new_tokens, temperature, top_p, top_k, stop_strings } = sampling;
  const responses = await actor.sample({
    prompts: problems.map(({ prompt }) => prompt),
    completionsPerPrompt: sampling.num_generations,
    ...{ max_new_tokens, temperature, top_p, top_k, stop_strings },
    seed: (i) => [seed, i],
  });
  const rewards = await Promise.all(
    responses.map((response, i) => task.reward!({ ...response, problem: problems[groupOf(i)]! })),
  );
  const mean = (numbers: readonly number[]) =>
    numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
  const profile = {
    name: options.name ?? 'actor',
    parameters: actor.loaded.parameters,
    success_rate: mean(rewards),
  };
  const lines: string[] = [];
  const write = (problem: Problem, partial: string, observed: number) => {
    const trace = judge(
      String(problem.columns.question),
      Number(problem.columns.answer),
      partial,
      profile,
    );
    lines.push(
      JSON.stringify({
        prompt: problem.prompt,
        partial_response: partial,
        ...trace,
        observed_outcome: observed,
        actor: profile,
      }),
    );
  };
  for (const [g, problem] of problems.entries()) {
    const own = responses.map((_, i) => i).filter((i) => groupOf(i) === g);
    write(problem, '', mean(own.map((i) => rewards[i]!)));
    for (const i of own) {
      const response = responses[i]!;
      const states = segmentResponse(response, credit.segmentation).slice(1);
      for (const segment of states.slice(-2))
        write(problem, textBefore(response, segment), rewards[i]!);
    }
  }
  mkdirSync(dirname(values.out), { recursive: true });
  writeFileSync(values.out, `${lines.join('\n')}\n`);
  console.error(
    `${lines.length} traces in ${values.out}; the actor solves ` +
      `${(100 * profile.success_rate).toFixed(1)}%`,
  );
} finally {
  await workers.close();
}

function groupOf(response: number): number {
  return Math.floor(response / sampling.num_generations);
}
