/**
 * Calls a Python reward function from a script, with strings and small JSON, without a worker.
 *
 *     npx tsx examples/python-reward.ts
 */
import { openPython } from '../src/index.ts';

const python = await openPython();
try {
  const rewards = await python.call(`${import.meta.dirname}/rewards.py:closeness`, {
    prompts: ['2 + 2 =', '2 + 3 ='],
    completions: ['it is 4.', 'it is 6.'],
    completion_ids: [null, null],
    answer: [4, 5],
  });
  console.log(JSON.stringify(rewards));
} finally {
  await python.close();
}
