/** Table 1 from evaluations by hand: its ladder, and what is said of it. */
import { expect, it } from 'vitest';
import type { Part, Results } from '../../src/reproduction/parts.ts';
import { setupOf } from '../../src/reproduction/read-setup.ts';
import type { Setup } from '../../src/reproduction/setup.ts';
import { expressiveness } from '../../src/reproduction/tables/1-expressiveness.ts';

const tiny = setupOf(undefined, 'tiny');
const [width, other] = ['32x1', '64x2'];

/** Explained variance of each size, by task. */
interface Explained {
  readonly words: readonly number[];
  readonly heads: readonly number[];
  readonly longer: readonly number[];
}

function tableOf(tasks: Readonly<Record<string, Explained>>, setup: Setup) {
  const figures = (explained_variance: number) => ({
    ...{ cost: null, calibration: [], by_state: [] },
    figures: {
      explained_variance: { value: explained_variance, low: 0, high: 1, n: 10 },
    },
  });
  const rows = (kind: string, values: readonly number[]) =>
    values.length === 1
      ? [[`${kind}-${other}`, figures(values[0]!)]]
      : values.map((value, i) => [`${kind}-${[width, other][i]}`, figures(value)]);
  const results = {
    folderOf: () => '',
    resultOf({ options }: Part) {
      const { steps, operations_per_step = 1 } = (options as { task: Record<string, number> }).task;
      const { words, heads, longer } = tasks[`${steps}x${operations_per_step}`]!;
      const critics = Object.fromEntries([
        ...rows('generative', words),
        ...rows('value-head', heads),
        ...rows('longer-value-head', longer),
        ['(state class)', figures(0.5)],
      ]);
      const parameters = { [`generative-${width}`]: 12_000, [`generative-${other}`]: 85_000 };
      return { evaluation: { distributions: { none: { critics } } }, parameters, seconds: {} };
    },
  } as unknown as Results;
  const blocks = expressiveness.blocks(setup, 0, results);
  return {
    blocks,
    plots: expressiveness.plots!(setup, 0, results),
    ...expressiveness.verdict(blocks),
  };
}

const sized = (depths: readonly (readonly [number, number])[]): Setup => ({
  ...tiny,
  size: { ...tiny.size, depths, longerHeads: { times: 10, depth: 3 } },
});

const failing = { words: [0, 0.4], heads: [-0.1, 0], longer: [0.01] };

it('has what each critic explains, by the operations of a chain', () => {
  const setup = sized([
    [2, 1],
    [3, 2],
  ]);
  const two = { words: [0.3, 0.4], heads: [0, 0.05], longer: [0.1, 0.3] };
  const { blocks, plots, seen, agrees } = tableOf({ '2x1': two, '3x2': failing }, setup);
  expect(blocks.map(({ title }) => title)).toEqual([
    ...['explained variance by depth', 'chains of 2: error', 'chains of 3 x 2: error'],
    'size and training',
  ]);
  const rows = blocks[0]!.rows.map(({ name, cells }) => [name, ...cells.map((c) => c?.value)]);
  expect(rows).toEqual([
    ...[
      ['generative-32x1', 0.3, 0],
      ['generative-64x2', 0.4, 0.4],
    ],
    ...[
      ['value-head-32x1', 0, -0.1],
      ['value-head-64x2', 0.05, 0],
    ],
    ...[
      ['longer-value-head-32x1', 0.1, undefined],
      ['longer-value-head-64x2', 0.3, 0.01],
    ],
    ['(state class)', 0.5, 0.5],
  ]);
  const points = (label: string) => plots[0]!.series.find((one) => one.label === label)!.points;
  expect(points('value-head-64x2, longer')).toEqual([
    [2, 0.3],
    [6, 0.01],
  ]);
  expect(points('best by state class')).toEqual([
    [2, 0.5],
    [6, 0.5],
  ]);
  expect(seen).toBe(
    'explained variance of the largest with words, and of the best head: chains of 2 0.40 and ' +
      '0.30, chains of 3 x 2 0.40 and 0.01; size helps words on 2 of 2 tasks, heads on 1',
  );
  // Of two operations, a head with more training grows with its size.
  expect(agrees).toBe('in part');
});

it('agrees where heads stop at every depth, and not where they explain as much', () => {
  const setup = sized([[3, 2]]);
  // Below 0 nothing is explained, so from -.1 to 0 nothing grows.
  expect(tableOf({ '3x2': failing }, setup).agrees).toBe('yes');
  const growing = { ...failing, heads: [-0.1, 0.2] };
  expect(tableOf({ '3x2': growing }, setup).agrees).toBe('in part');
  const patient = { ...failing, longer: [0.5] };
  expect(tableOf({ '3x2': patient }, setup).agrees).toBe('no');
});

it('trains longer heads of all sizes where chains are short, of one where they are long', () => {
  const full = setupOf(undefined, 'full');
  const [least, most] = [
    [2, 1],
    [3, 2],
  ].map((depth) => {
    const setup = { ...full, size: { ...full.size, depths: [depth as [number, number]] } };
    const [evaluation] = expressiveness.parts({ ...setup, size: { ...setup.size, theory: [] } }, 0);
    return evaluation!.after.filter(
      ({ name, options }) =>
        name === 'value-head' &&
        (options as [{ critic_rl: { steps: number } }])[0].critic_rl.steps === 600,
    );
  });
  expect([least!.length, most!.length]).toEqual([3, 1]);
});
