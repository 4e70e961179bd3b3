/** The bench of the controller measures what it says. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { inMemory, measure, statesOf } from '../../bench/controller-run.ts';

it('has 16 states for each response, s_0 once for its group', async () => {
  expect(statesOf({ problems: 128, responses: 8 })).toBe(15_488);
  const folder = mkdtempSync(join(tmpdir(), 'genac-bench-'));
  const workers = await inMemory(folder);
  // Throws where an iteration has another number of states, or does not update the actor.
  const { cpu } = await measure(workers, join(folder, 'run'), { problems: 4, responses: 3 }, 2);
  expect(cpu).toBeGreaterThan(0);
  await workers.close();
  rmSync(folder, { recursive: true });
});
