/** A host's options, the file beside them and the run of the critic: one config, or an error. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { HostArguments } from '../../src/bridge/host-operations.ts';
import { loadHostConfig, refuseForHost } from '../../src/host/config.ts';
import { scratch } from './host.ts';

type Options = HostArguments<'open'>['options'];

function load(options: Options, inFile: object | null = null) {
  const file = inFile && join(scratch, 'controller.yaml');
  if (file) writeFileSync(file, JSON.stringify(inFile));
  return loadHostConfig({
    ...{ options, config_file: file, base: scratch, logs: scratch },
    ...{ actor: { name: 'a', parameters: 1 }, critic_default: { model: 'Qwen/x' } },
    ...{ trust_code: false, continues: false, max_new_tokens: null },
  });
}

describe('the critic', () => {
  it.each([['value-head'], [{ use: 'language-model', lora: { rank: 8 } }]])(
    'of the file, %j, is not replaced by the trainer’s: both name it, or one alone',
    async (critic) => {
      await expect(load({ critic: { use: 'generative' } }, { critic })).rejects.toThrow(
        /controller\.yaml[\s\S]*critic: it is "(value|language)-\w+" in the file, and "generative" by/,
      );
      const use = typeof critic === 'string' ? critic : critic.use;
      const { config } = await load({ critic: { use } }, { critic });
      expect(config.critic).toMatchObject({ use, model: 'Qwen/x' });
      const { config: own } = await load({}, { critic });
      expect(own.critic).toMatchObject({ use, model: 'Qwen/x' });
    },
  );

  it('of the file without a name adds options to the trainer’s', async () => {
    const { config } = await load(
      { critic: { use: 'generative' } },
      { critic: { lora: { rank: 8 } } },
    );
    expect(config.critic).toEqual({ use: 'generative', lora: { rank: 8 }, model: 'Qwen/x' });
  });

  it('behind an API has a model that is no folder', async () => {
    const model = 'accounts/fireworks/models/llama-v3p1-8b';
    const { config } = await load({
      critic: { use: 'api', base_url: 'http://localhost:1/v1', model },
    });
    expect(config.critic).toMatchObject({ use: 'api', model });
    await expect(load({ critic: { use: 'generative', model } })).rejects.toThrow(
      `there is no folder ${model}`,
    );
  });
});

it.each([
  [
    { joint: { critic: 'frozen', learning_rate: 1e-4 } },
    'joint.learning_rate (TRL: critic_learning_rate): has no effect with joint.critic: frozen',
  ],
  [
    { joint: { min_lr_ratio: 0.5 } },
    'joint.min_lr_ratio: has no effect with joint.decay: constant',
  ],
  [
    { critic_rl: { decay: 'constant', min_lr_ratio: 0.5 } },
    'critic_rl.min_lr_ratio: has no effect',
  ],
])('options without effect are refused: %j', async (given, words) => {
  const { config } = await load({ critic: { use: 'generative' }, ...given } as Options);
  expect(() => refuseForHost(config, { name: 'x', needs: 'states', learns: true }, null)).toThrow(
    words,
  );
});

it('a critic that does not learn has no updates', async () => {
  const critic = { name: 'monte-carlo', needs: 'states' } as const;
  const refused = async (joint: object) => {
    const { config } = await load({ critic: { use: 'monte-carlo' }, joint } as Options);
    return () => refuseForHost(config, critic, null);
  };
  expect(await refused({})).not.toThrow();
  expect(await refused({ critic: 'frozen' })).toThrow(
    'joint.critic (TRL: critic_update): has no effect with the critic "monte-carlo"',
  );
  expect(await refused({ learning_rate: 1e-4 })).toThrow('joint.learning_rate (TRL: critic_lear');
});
