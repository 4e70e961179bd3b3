import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Worker } from '../../src/bridge/worker.ts';
import type { CriticModelOptions } from '../../src/critic.ts';
import {
  criticEnvironment,
  type EnvironmentParts,
} from '../../src/extensions/critic-environment.ts';
import { paperFormat } from '../../src/text/critic-prompt.ts';
import { plainLoading } from '../../src/workers/loading.ts';

const lora = { rank: 4 } as never;
const optimizer = { eps: 1e-8 } as never;
const wanted: CriticModelOptions = { model: 'm', worker: 'gpu', dtype: 'auto', lora, optimizer };

/** What workers were asked to load, and what was said. */
function recorded(parts: Partial<EnvironmentParts> = {}) {
  const asked: Record<string, unknown>[] = [];
  const said: string[] = [];
  const workerOf = (name: string) =>
    ({
      name,
      request: async (_: string, given: Record<string, unknown>) => {
        asked.push({ ...given, worker: name });
        return {
          result: {
            ...{ step: 0, has_chat_template: false, sampling: 'one-by-one' },
            reproducible: given.model !== 'unsteady',
            slow_because: given.model === 'refused' ? 'its attention is not sdpa' : null,
          },
          tensors: {},
        };
      },
    }) as unknown as Worker;
  const environment = criticEnvironment({
    ...{ seed: 7, format: paperFormat, runFolder: null, signal: new AbortController().signal },
    ...{ log: (text: string) => said.push(text), worker: workerOf, ...parts },
  });
  return { environment, asked, said };
}

describe('a critic’s environment', () => {
  it('says once why a GPU samples a model slowly', async () => {
    const { environment, said } = recorded();
    for (const name of ['refused', 'refused', 'm']) await environment.loadModel(name, wanted);
    expect(said.filter((text) => text.includes('copy'))).toEqual([
      'refused: m is not sampled from a copy of its weights, which is several times as fast on a ' +
        'GPU: its attention is not sdpa',
    ]);
  });
  it('loads models under names of the critic’s own, of either kind, each into its worker', async () => {
    const { environment, asked, said } = recorded({
      sourceOf: async (model) => `/models/${model}`,
    });
    await environment.loadModel('critic', wanted);
    await environment.loadModel('head', { ...wanted, worker: 'second', kind: 'value', lora: null });
    expect(asked).toMatchObject([
      {
        worker: 'gpu',
        model: 'critic',
        source: '/models/m',
        kind: 'causal',
        seed: 7,
        lora,
        optimizer,
      },
      {
        worker: 'second',
        model: 'head',
        source: '/models/m',
        kind: 'value',
        lora: null,
        optimizer,
      },
    ]);
    expect(asked[0]).toMatchObject({
      initialization: 'pretrained',
      device: 'auto',
      loading: plainLoading,
    });
    expect(said).toEqual([
      'critic: of m, to be exact, responses are sampled one after the other (docs/models.md)',
      'head: of m, to be exact, responses are sampled one after the other (docs/models.md)',
    ]);
    await environment.loadModel('critic', wanted);
    expect(said).toHaveLength(2); // once for each
    await environment.loadModel('unsteady', wanted);
    expect(said.at(-1)).toBe(
      "unsteady: its engine samples other responses each time, so the run can't be repeated exactly",
    );
  });

  it('keeps the names that a run’s own models have', async () => {
    const { environment } = recorded();
    await expect(environment.loadModel('actor', wanted)).rejects.toThrow('can\'t be named "actor"');
  });

  it('gives a folder that is an adapter no second one, and a frozen critic none', async () => {
    const adapter = mkdtempSync(join(tmpdir(), 'genac-adapter-'));
    writeFileSync(join(adapter, 'adapter_config.json'), '{}');
    const { environment, asked } = recorded();
    await environment.loadModel('critic', { ...wanted, model: adapter });
    const frozen = recorded({ frozen: true });
    await frozen.environment.loadModel('critic', wanted);
    expect([...asked, ...frozen.asked]).toMatchObject([
      { lora: null, optimizer },
      { lora: null, optimizer: null },
    ]);
  });

  it('has a folder in the run’s, made when it is asked for; outside of a run none', async () => {
    const run = mkdtempSync(join(tmpdir(), 'genac-run-'));
    const { environment } = recorded({ runFolder: run });
    expect(existsSync(join(run, 'critic'))).toBe(false);
    expect(await environment.folder()).toBe(join(run, 'critic'));
    expect(existsSync(join(run, 'critic'))).toBe(true);
    expect(await recorded().environment.folder()).toBeNull();
  });
});
