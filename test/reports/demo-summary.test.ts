import { describe, expect, it } from 'vitest';
import {
  demoTable,
  at as pointAt,
  pointsOf,
  summarizeDemo,
  verdict,
} from '../../src/reports/demo-summary.ts';
import type { MetricsLine } from '../../src/run-folder/read.ts';
import { at, critic, genac, writeDemo } from './demo-folder.ts';

describe('summarizeDemo', () => {
  it('reads the figures of the three runs', async () => {
    expect(await summarizeDemo(writeDemo())).toEqual({
      seed: 3,
      seconds: 61.4,
      // Stage 2 ends with the best critic (0.04), not with the last one (0.05).
      critic: { mean: 0.16, afterStage1: 0.09, afterStage2: 0.04, seconds: 20 },
      genac: [
        { iteration: 0, actorTokens: 0, seconds: 2, success: 0.2, mse: 0.03, constant: 0.06 },
        { iteration: 1, actorTokens: 1000, seconds: 4, success: 0.4, mse: 0.02, constant: 0.04 },
        { iteration: 2, actorTokens: 4000, seconds: 7, success: 0.75, mse: 0.01, constant: 0.02 },
      ],
      groupMean: [
        { iteration: 0, actorTokens: 0, seconds: 1, success: 0.2, mse: null, constant: null },
        { iteration: 1, actorTokens: 1000, seconds: 2.5, success: 0.25, mse: null, constant: null },
        { iteration: 2, actorTokens: 2000, seconds: 3.5, success: 0.3, mse: null, constant: null },
        { iteration: 3, actorTokens: 4000, seconds: 5, success: 0.5, mse: null, constant: null },
      ],
      criticTokens: 6000,
    });
  });

  it('counts no token behind the last evaluation, of either model', async () => {
    const after = { 'actor/tokens': 900, 'critic/tokens': 9000 };
    const going = [...genac, at('iteration', 'joint', 3, 8, after)];
    expect(await summarizeDemo(writeDemo({ genac: going }))).toMatchObject({ criticTokens: 6000 });
    const begun = await summarizeDemo(
      writeDemo({ genac: [...genac.slice(0, 2), at('iteration', 'joint', 1, 3, after)] }),
    );
    expect(begun).toMatchObject({ criticTokens: 0 });
    expect(demoTable(begun)).not.toMatch(/NaN|Infinity/);
  });

  it('says that a critic is not finished', async () => {
    const folder = writeDemo({ critic: critic.slice(0, 2) });
    await expect(summarizeDemo(folder)).rejects.toThrow(`${folder} holds no finished critic`);
  });
});

it('the gate’s own evaluation is no point of the curve', () => {
  expect(pointsOf(genac as MetricsLine[]).map((p) => p.iteration)).toEqual([0, 1, 2]);
});

it('a share of the budget is the nearest evaluation', async () => {
  const { genac: points } = await summarizeDemo(writeDemo());
  // Of 4000 tokens: 1000 is nearer to 0.5 (2000) than 4000 is; 0.7 (2800) is nearer to 4000.
  expect([0, 0.25, 0.5, 0.7, 1].map((share) => pointAt(points, share)?.actorTokens)).toEqual([
    0, 1000, 1000, 4000, 4000,
  ]);
  expect(pointAt([], 0.5)).toBeUndefined();
});

describe('demoTable', () => {
  it('has the figures, rounded', async () => {
    const table = demoTable(await summarizeDemo(writeDemo()));
    expect(table).toContain('Measured on one seed (3), in 61 s.');
    const row = (words: string) =>
      table
        .split('\n')
        .find((line) => line.startsWith(words))
        ?.slice(words.length)
        .trim()
        .split(/\s{2,}/);
    expect(row('actor success at the start')).toEqual(['20.0%', '20.0%']);
    // GenAC has no evaluation nearer to either share than that of 1000 tokens.
    expect(row('nearest to a quarter of the actor tokens')).toEqual([
      '40.0% (iteration 1)',
      '25.0% (iteration 1)',
    ]);
    expect(row('nearest to half of them')).toEqual(['40.0% (iteration 1)', '30.0% (iteration 2)']);
    expect(row('at the end')).toEqual(['75.0%', '50.0%']);
    expect(row('actor tokens')).toEqual(['4k', '4k']);
    expect(row('critic tokens in stage 3')).toEqual(['6k', '0']);
    expect(row('seconds of stage 3')).toEqual(['7', '5']);
    expect(row('held-out actors: after stage 2 (REINFORCE)')).toEqual(['0.0400', '0.1600']);
    expect(row('the actor at hand in stage 3, half way (iteration 1)')).toEqual([
      '0.0200',
      '0.0400',
    ]);
  });

  it('says where GenAC is ahead and what that costs', async () => {
    const words = verdict(await summarizeDemo(writeDemo()));
    // At 1000 tokens, GenAC's evaluation nearest to half, 40 - 25; at 4000, 75 - 50 points. 6000
    // critic tokens for 4000 actor tokens.
    expect(words).toContain('+15.0 points half way (iteration 1), +25.0 points at the end');
    expect(words).toContain(
      '1.5 critic tokens for each actor token, 7 s against 5 s of training the actor, and 20 ' +
        's before that',
    );
  });

  it('compares no end with that of a run that ended long before', async () => {
    const points = await summarizeDemo(writeDemo());
    const short = { ...points, groupMean: points.groupMean.slice(0, -1) };
    expect(verdict(short)).toBe(
      'The group mean ended at 2000 actor tokens, and GenAC at 4000: there is nothing to compare ' +
        'its end with.',
    );
  });

  it('does without the group mean', async () => {
    const table = demoTable(await summarizeDemo(writeDemo({ groupMean: null })));
    expect(table).toContain('There is no group mean to compare with.');
  });
});
