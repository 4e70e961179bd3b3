/** The GPU's comparison: its full size needs one, so its configs are held to their schema. */
import { expect, it } from 'vitest';
import { factors, runsOf } from '../../bench/gpu/smollm2-runs.ts';
import { refuseForCritic } from '../../src/config/for-critic.ts';
import { checkConfig, loadConfigFile } from '../../src/config/load.ts';
import { loadCritic, type PluginChoice } from '../../src/extensions/find-plugin.ts';

it.each([true, false])('every run of it is one that starts, tiny: %s', async (tiny) => {
  const { config } = loadConfigFile('bench/gpu/smollm2.yaml');
  const { runs } = runsOf(config, {
    ...{ family: 'sums', seed: 3, folder: '/out', model: '/model', problems: '/problems', tiny },
  });
  const { imitation, pretraining } = runs;
  const groupMean = factors.map(runs.groupMean);
  const joint = runs.joint(factors[1]!);
  for (const run of [imitation, pretraining, joint, ...groupMean]) {
    const checked = checkConfig(run);
    const { plugin } = await loadCritic(checked.critic as PluginChoice, '.');
    expect(() => refuseForCritic(checked, plugin)).not.toThrow();
    expect(checked).toMatchObject({ seed: 3, actor: { model: '/model' } });
  }
  // Equal but for the critic, its credit, the rate that is tried, and half of the iterations more.
  expect(groupMean.map((run) => run.actor!.learning_rate)).toEqual([2e-5, 5e-5]);
  expect(joint.actor!.learning_rate).toBe(5e-5);
  expect(groupMean[0]!.joint!.steps).toBe(Math.ceil(1.5 * joint.joint!.steps!));
  expect(groupMean[0]!.sampling).toEqual(joint.sampling);
  expect(joint.start_from).toBe('/out/critic-rl/checkpoints/critic-rl');
});
