/** One run has one reward: what a task judged by its own is not used beside others. */
import { describe, expect, it } from 'vitest';
import miniature from '../../plugins/tasks/miniature.ts';
import { bareEnvironment } from '../../src/extensions/find-plugin.ts';
import { leftOut, refuseTracesOfAnotherReward, underRewards } from '../../src/rewards/replaced.ts';
import type { Task } from '../../src/task.ts';

const own = { rewards: [] };
const others = { rewards: [{ use: './rewards.ts' }] };

/** A task that is an instance, with what only its own methods see. */
class Counting implements Pick<Task, 'name' | 'problems' | 'reward' | 'frozenRollouts'> {
  readonly name = 'counting';
  #asked = 0;
  segmentation?: NonNullable<Task['segmentation']>;
  async prepare() {
    this.segmentation = { by: 'line', max_segments: 4, min_tokens: 1 };
  }
  problems() {
    this.#asked++;
    return new Array(this.#asked).fill({ id: 'p', prompt: '1 + 1', columns: {} });
  }
  reward() {
    return this.#asked;
  }
  frozenRollouts() {
    return [];
  }
}

describe('a task whose reward is replaced', () => {
  it('brings nothing that its own reward judged', async () => {
    const given = await miniature.create(miniature.options.parse({}), bareEnvironment('.'));
    const task = underRewards(given, others);
    const gone = ['reward', 'oracleTraces', 'frozenRollouts', 'referenceStates'] as const;
    for (const name of gone) expect([name, given[name] && task[name]]).toEqual([name, undefined]);
    expect(task.criticFormat).toBe(given.criticFormat);
    expect(task.segmentation).toEqual(given.segmentation);
    expect(await task.problems('train', 0, 0, 2)).toEqual(await given.problems('train', 0, 0, 2));
    expect(leftOut(given, others)).toEqual([
      expect.stringContaining('(oracleTraces, frozenRollouts, referenceStates)'),
    ]);
  });
  it('may be an instance of a class', async () => {
    const given = new Counting();
    expect(await underRewards(given, others).problems('train', 0, 0, 1)).toHaveLength(1);
    expect(leftOut(given, others)[0]).toContain('(frozenRollouts)');
  });
  it('may be frozen, and has what its preparation sets', async () => {
    expect(
      underRewards(Object.freeze({ name: 'f', problems: () => [], reward: () => 1 }), others),
    ).toHaveProperty('name', 'f');
    const task: Task = underRewards(new Counting(), others);
    await task.prepare!();
    expect(task.segmentation).toMatchObject({ by: 'line' });
    expect('frozenRollouts' in task).toBe(false);
  });
  it('has no oracle to imitate', () => {
    const given = { ...new Counting(), reward: () => 1, oracleTraces: () => [] } as unknown as Task;
    const config = { stages: ['critic-sft' as const], critic_sft: { traces: 'oracle' as const } };
    const refusal = (changes: object) => () =>
      refuseTracesOfAnotherReward({ ...config, ...others, ...changes } as never, given);
    expect(refusal({})).toThrow(
      'the oracle of the task "counting" scores by the task\'s own reward',
    );
    // A run that is past it goes on.
    const resumed = (stage: 'critic-sft' | 'joint', complete: boolean) => () =>
      refuseTracesOfAnotherReward(
        { ...config, ...others, stages: ['critic-sft', 'joint'] } as never,
        given,
        { stage, complete },
      );
    expect(resumed('critic-sft', false)).toThrow('the oracle of the task');
    expect(resumed('critic-sft', true)).not.toThrow();
    expect(resumed('joint', false)).not.toThrow();
    for (const fine of [own, { stages: ['joint'] }, { critic_sft: { traces: './traces.jsonl' } }])
      expect(refusal(fine)).not.toThrow();
  });
});

it('a task that judges itself, or that has no reward to replace, stays as it is', () => {
  const given: Task = new Counting();
  expect(underRewards(given, own)).toBe(given);
  const logged: Task = { name: 'logged', problems: () => [], frozenRollouts: () => [] };
  expect(underRewards(logged, others)).toBe(logged);
  expect([...leftOut(given, own), ...leftOut(logged, others)]).toEqual([]);
});
