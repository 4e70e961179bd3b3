/** `genac doctor --config`: whether a run of the config would start. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withAbsolutePaths } from '../config/absolute-paths.ts';
import type { LoadedConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { withAbsoluteCritic } from '../extensions/absolute-critic.ts';
import { runLifecycle } from '../run/lifecycle.ts';
import { EventStream } from '../run-folder/events.ts';

/**
 * Checks all that a run checks before it makes its folder and starts workers. Whether its folder
 * holds a run already is not looked at.
 *
 * @throws what the run would throw
 */
export async function checkStart({ config, base }: LoadedConfig): Promise<void> {
  const given = withAbsolutePaths(config);
  const critic = (await withAbsoluteCritic(given.critic, base)) as Config['critic'];
  const folder = await mkdtemp(join(tmpdir(), 'genac-doctor-'));
  const checked = new Error('all is checked');
  const stop = () => {
    throw checked;
  };
  try {
    await runLifecycle(
      {
        ...{ config: { ...given, critic, folder }, base, checkpoint: null, past: [], notes: [] },
        open: async () => stop(),
      },
      {
        ...{ events: new EventStream(), signal: new AbortController().signal },
        ...{ workers: undefined, ready: stop, run: stop },
      },
    );
  } catch (error) {
    if (error !== checked) throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
