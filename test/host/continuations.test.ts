/** A critic asks the host's actor for continuations, while the host waits for credit. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { tensor } from '../../src/bridge/tensor.ts';
import { batch, type Host, opened, scratch } from './host.ts';

const use = fileURLToPath(new URL('./continuing-critic.ts', import.meta.url));
const open = (continues = true) => opened({ critic: { use } }, { continues });

const [given, responses] = batch();
const tensors = {
  ...responses,
  prompt_ids: tensor(Int32Array.of(7, 8)),
  prompt_cu_seqlens: tensor(Int32Array.of(0, 2)),
};

/** Two for each of the states '', 'ab' and '2c'. */
const rewards = [1, 0, 1, 1, 0, Number.NaN];

function answer(host: Host, id: string, changes: object = {}): void {
  const texts = rewards.map((_, i) => `text ${i}`);
  host.send(
    { type: 'result', id, result: { texts }, seconds: 0 },
    {
      rewards: tensor(Float64Array.from(rewards)),
      completion_ids: tensor(Int32Array.from(rewards, (_, i) => i)),
      completion_cu_seqlens: tensor(Int32Array.from({ length: 7 }, (_, i) => i)),
      ...changes,
    },
  );
}

it('is answered by the host, by the exact ids of the prefix', async () => {
  const { host } = await open();
  const credit = host.ask('assign_credit', given, tensors);
  const { message, tensors: asked } = await host.next('reverse_request');
  expect(message).toMatchObject({
    operation: 'continue_responses',
    arguments: { count: 2, seed: expect.any(Number) },
  });
  // '' of any row of the group, 'ab' of the first, '2c' of the second.
  expect([...(asked.rows!.data as Int32Array)]).toEqual([0, 0, 1]);
  expect([...(asked.prefix_cu_seqlens!.data as Int32Array)]).toEqual([0, 0, 2, 4]);
  expect([...(asked.prefix_ids!.data as Int32Array)]).toEqual([1, 2, 4, 5]);
  answer(host, message.id);
  const { result } = await credit;
  const told = result.valuations as unknown as { value: number; rationale: string }[][];
  expect(told.map((own) => own.map(({ value }) => value))).toEqual([
    [0.5, 1],
    [0.5, 0],
  ]);
  expect(told[0]![0]!.rationale).toBe('text 0|text 1');
  expect(result.metrics).toMatchObject({ 'critic/continuation_tokens': 6 });
});

it('is asked again when the host comes back, and takes one answer', async () => {
  const { host, log } = await open();
  const credit = host.ask('assign_credit', given, tensors);
  const first = await host.next('reverse_request');
  host.hello();
  const second = await host.next('reverse_request');
  expect(second.message).toEqual(first.message);
  answer(host, first.message.id);
  answer(host, first.message.id);
  await credit;
  expect(log.filter((line) => line.includes('what was not asked'))).toHaveLength(1);
});

it('says what the host says is wrong, and refuses an answer that does not fit', async () => {
  const { host } = await open();
  const ask = () => {
    const credit = host.ask('assign_credit', given, tensors);
    credit.catch(() => {});
    return credit;
  };
  const failed = ask();
  const { message } = await host.next('reverse_request');
  const wrong = { code: 'internal', message: 'no sampler', traceback: null } as const;
  host.send({ type: 'error', id: message.id, ...wrong });
  await expect(failed).rejects.toThrow('the host: no sampler');
  for (const [changes, said] of [
    [{ rewards: tensor(Float64Array.of(1)) }, '"rewards" has 1 entries, not 6'],
    [{ rewards: tensor(Float64Array.from(rewards, () => 2)) }, 'the reward 2, which is not in [0'],
    [
      { completion_cu_seqlens: tensor(Int32Array.of(0, 6)) },
      'gave 1 completions and 6 texts for 6',
    ],
  ] as const) {
    const refused = ask();
    answer(host, (await host.next('reverse_request')).message.id, changes);
    await expect(refused).rejects.toThrow(said);
  }
});

it('is refused where the host does not continue responses, or sends no ids of prompts', async () => {
  await expect(open(false)).rejects.toThrow('there is no actor here that can');
  const { host } = await open();
  await expect(host.ask('assign_credit', given, responses)).rejects.toThrow(
    "can't be continued: only its text is known",
  );
});

it('ends when the host leaves', async () => {
  const { host, served } = await open();
  host.ask('assign_credit', given, tensors).catch(() => {});
  await host.next('reverse_request');
  host.send({ type: 'bye', reason: 'done' });
  expect(await served).toContain('goodbye');
});

it('gives the same draws for the same states, and other ones for others, in one request', async () => {
  const { host } = await open();
  const seeds: number[] = [];
  for (const ask of [given, given, { ...given, iteration: 1 }]) {
    const credit = host.ask('assign_credit', ask, tensors);
    const { message } = await host.next('reverse_request');
    seeds.push((message.arguments as { seed: number }).seed);
    answer(host, message.id);
    await credit;
  }
  expect(seeds[0]).toBe(seeds[1]);
  expect(seeds[0]).not.toBe(seeds[2]);
});

it('draws for each evaluation anew, also where a checkpoint lies between', async () => {
  const folder = join(scratch, 'between-evaluations');
  const seedOf = async (host: Host) => {
    // A host that was started again begins with 0.
    const credit = host.ask('assign_credit', { ...given, purpose: 'evaluation' }, tensors);
    const { message } = await host.next('reverse_request');
    answer(host, message.id);
    await credit;
    return (message.arguments as { seed: number }).seed;
  };
  const { host } = await open();
  const before = await seedOf(host);
  const place = { stage: 'joint', iteration: 1, complete: false };
  await host.ask('save', { folder, optimizer: true, ...place });
  const after = await seedOf(host);
  const { host: again } = await open();
  await again.ask('restore', { folder });
  expect(await seedOf(again)).toBe(after);
  expect(after).not.toBe(before);
  expect((await again.ask('fence', {})).result).toEqual({ metrics: {} });
});
