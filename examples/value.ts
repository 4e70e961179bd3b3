// Prints a trained critic's value estimate after each prefix of a response, and the response that
// it ranks best.
//   node --import tsx examples/value.ts runs/demo/genac
import { openCritic } from '../src/index.ts';

/** @returns the lines that were printed */
export async function judge(
  folder: string,
  prompt: string,
  responses: readonly string[],
): Promise<string[]> {
  const critic = await openCritic(folder);
  try {
    const { prefixes } = await critic.value(prompt, responses[0]!);
    const [best] = await critic.rank(prompt, responses);
    return [
      ...prefixes.map(
        ({ value, response }) => `${value?.toFixed(2) ?? 'no score'} after "${response}"`,
      ),
      `best: "${best!.response}"`,
    ];
  } finally {
    await critic.close();
  }
}

if (process.argv[1] === import.meta.filename) {
  const problem = '5 | a -4 | b *3 | c +5 | d +1 | e +2 | f *4 | g +3 | h +5 | >';
  const lines = await judge(process.argv[2] ?? 'runs/demo/genac', problem, [
    'a 1 b 3 c 8',
    'a 1 b 4 c 8',
  ]);
  console.log(lines.join('\n'));
}
