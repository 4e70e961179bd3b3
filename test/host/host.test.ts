/**
 * The controller for a host: credit by hand, the fence around the critic's update, what it refuses;
 * over the transport without sockets.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { MemoryTransport } from '../../src/bridge/memory-transport.ts';
import { tensor } from '../../src/bridge/tensor.ts';
import { HostLink } from '../../src/host/host-link.ts';
import { batch, critic, Host, limits, opened, scratch, start } from './host.ts';

describe('credit', () => {
  it('is that of the values, computed by hand', async () => {
    const { host } = await opened();
    const { result, tensors } = await host.ask('assign_credit', ...batch());
    // States: '' (0.5), 'ab' (1); '' (0.5), '2c' (0.5). gamma = lambda = 1: A = r - V.
    expect([...(tensors.advantages!.data as Float32Array)]).toEqual([
      0.5, 0.5, 0, -0.5, -0.5, -0.5,
    ]);
    const [first] = result.valuations as unknown as [
      { from: number; value: number; advantage: number }[],
    ];
    expect(first).toMatchObject([
      { from: 0, tokens: 2, value: 0.5, advantage: 0.5, rationale: 'rate null' },
      { from: 2, tokens: 1, value: 1, advantage: 0 },
    ]);
    expect(result.metrics).toMatchObject({ 'critic/states': 3, 'actor/success_rate': 0.5 });
  });

  it('is scaled by one number for the batch where a critic values states, also where a host says "group"', async () => {
    const { host } = await opened();
    const scaled = await host.ask('assign_credit', ...batch({ scale: 'group-std' }));
    // Advantages .5, .5, 0, -.5, -.5, -.5: mean square 1.25 / 6.
    const size = Math.sqrt(1.25 / 6);
    const expected = [0.5, 0.5, 0, -0.5, -0.5, -0.5].map((a) => Math.fround(a / size));
    expect([...(scaled.tensors.advantages!.data as Float32Array)]).toEqual(expected);
  });

  it('learns who the actor is after it was opened', async () => {
    const { host } = await opened();
    await host.ask('set_actor', { name: 'b', parameters: 7 });
    await host.ask('assign_credit', ...batch());
    await expect(host.ask('set_actor', { name: '', parameters: 7 })).rejects.toThrow(
      'bad_arguments',
    );
  });

  it('spreads segments over the tokens that the host says a response can have', async () => {
    const words = 50;
    const ask = batch({ texts: [' word'.repeat(words)], finished: [true], report: 1 })[0];
    const tensors = {
      completion_ids: tensor(new Int32Array(words)),
      cu_seqlens: tensor(Int32Array.of(0, words)),
      text_ends: tensor(Int32Array.from({ length: words }, (_, i) => 5 * (i + 1))),
      problems: tensor(Int32Array.of(0)),
      rewards: tensor(Float64Array.of(1)),
    };
    const tokensOf = async (more: object) => {
      const { host } = await opened(
        { credit: { segmentation: { by: 'sentence', max_segments: 2 } } },
        more,
      );
      const { result } = await host.ask('assign_credit', ask, tensors);
      return (result.valuations as unknown as { tokens: number }[][])[0]!.map(
        ({ tokens }) => tokens,
      );
    };
    // Not known: 64 tokens. Else half of 50, but at least 32; nine tenths of that, at the end of a
    // word.
    expect(await tokensOf({})).toEqual([50]);
    expect(await tokensOf({ max_new_tokens: 50 })).toEqual([29, 21]);
  });

  it('tells the critic how the actor did before, and of the update with the next batch', async () => {
    const { host } = await opened({ joint: { learning_rate: 0.5, decay: 'linear' } });
    await host.ask('assign_credit', ...batch());
    const { result } = await host.ask('assign_credit', ...batch({ iteration: 1 }));
    const valuations = result.valuations as unknown as { rationale: string }[][];
    expect(valuations[0]![0]!.rationale).toBe('rate 0.5');
    // Three states; the first rate of a linear fall is its peak.
    expect(result.metrics).toMatchObject({ 'critic/outcomes': 3, 'critic/learning_rate': 0.5 });
  });

  it('reports what the critic says also where the gate closes, and what trains', async () => {
    const { host } = await opened({ gates: { explained_variance: true } });
    const [ask, tensors] = batch({ scale: 'group-std' });
    const rewards = tensor(Float64Array.of(0, 1)); // the critic has it the other way round
    const { result, tensors: trained } = await host.ask('assign_credit', ask, {
      ...tensors,
      rewards,
    });
    const told = result.valuations as unknown as { value: number; advantage: number }[][];
    expect(told.map((own) => own.map(({ value }) => value))).toEqual([
      [0.5, 1],
      [0.5, 0.5],
    ]);
    expect(result.metrics).toMatchObject({
      ...{ 'gate/fallback': 1, 'value/last_wrong': 1, 'value/last_right': 0.5 },
    });
    const advantages = [...(trained.advantages!.data as Float32Array)];
    expect(told.flatMap((own) => own.map(({ advantage }) => advantage))).toEqual(
      [0, 2, 3, 5].map((t) => advantages[t]),
    );
  });

  it('keeps the metrics of an update for the next batch, whatever is asked between', async () => {
    const { host } = await opened();
    await host.ask('assign_credit', ...batch());
    await host.ask('value', { prompts: ['p'], responses: ['ab'] });
    const { result } = await host.ask('assign_credit', ...batch({ iteration: 1 }));
    expect(result.metrics).toMatchObject({ 'critic/outcomes': 3 });
  });

  it.each([
    ['frozen', { joint: { critic: 'frozen' } }],
    ['learning', {}],
  ])('counts as idle what lies between two works of a critic that is %s', async (_, options) => {
    const { host } = await opened(options);
    const began = performance.now();
    const idle: number[] = [];
    for (let iteration = 0; iteration < 5; iteration++) {
      const { result } = await host.ask('assign_credit', ...batch({ iteration }));
      idle.push((result.metrics as unknown as Record<string, number>)['critic/seconds_idle']!);
      await new Promise((resolve) => setTimeout(resolve, 150));
    }
    const between = idle.slice(1);
    for (const seconds of between) expect(seconds).toBeGreaterThan(0.14);
    // They are of one batch each, and not a sum.
    const passed = (performance.now() - began) / 1000;
    expect(between.reduce((sum, seconds) => sum + seconds, 0)).toBeLessThan(passed);
  });

  it('does not say how the actor does before that is known', async () => {
    const { host } = await opened();
    const { result } = await host.ask('assign_credit', ...batch({ purpose: 'evaluation' }));
    expect(result.metrics).not.toHaveProperty('actor/success_rate');
  });

  it('waits for the update before it values again', async () => {
    const { host } = await opened({ critic: { use: critic, slow: 150 } });
    await host.ask('assign_credit', ...batch());
    const { result } = await host.ask('assign_credit', ...batch({ iteration: 1 }));
    const waited = (result.metrics as unknown as Record<string, number>)[
      'critic/seconds_waited_for_update'
    ]!;
    expect(waited).toBeGreaterThan(0.1);
  });

  it('does not wait for an update when the host goes', async () => {
    const { host, served } = await opened({ critic: { use: critic, slow: 60_000 } });
    await host.ask('assign_credit', ...batch());
    host.send({ type: 'bye', reason: 'done' });
    expect(await served).toBe('the host said goodbye: done');
  });

  it('does not let the critic learn while it evaluates, or is frozen', async () => {
    const { host } = await opened({ joint: { critic: 'frozen' } });
    await host.ask('assign_credit', ...batch({ purpose: 'evaluation' }));
    expect((await host.ask('fence', {})).result).toEqual({ metrics: {} });
    await host.ask('assign_credit', ...batch());
    expect((await host.ask('fence', {})).result).toEqual({ metrics: {} });
    await host.ask('assign_credit', ...batch({ purpose: 'critic-rl' }));
    expect((await host.ask('fence', {})).result.metrics).toMatchObject({ 'critic/outcomes': 3 });
  });

  it("tells of an update with the next batch that is learned from, not with an evaluation's", async () => {
    const { host } = await opened();
    await host.ask('assign_credit', ...batch());
    const evaluated = await host.ask('assign_credit', ...batch({ purpose: 'evaluation' }));
    expect(evaluated.result.metrics).not.toHaveProperty('critic/outcomes');
    const next = await host.ask('assign_credit', ...batch({ iteration: 1 }));
    expect(next.result.metrics).toMatchObject({ 'critic/outcomes': 3 });
    expect((await host.ask('fence', {})).result.metrics).toMatchObject({ 'critic/outcomes': 3 });
    expect((await host.ask('fence', {})).result).toEqual({ metrics: {} });
  });

  it('an update that fails is told of at the fence, and the next batch goes on', async () => {
    const { host } = await opened({ critic: { use: critic, fails: true } });
    await host.ask('assign_credit', ...batch());
    await expect(host.ask('fence', {})).rejects.toThrow(
      /internal: critic "letters" failed to learn from \d+ outcomes: the update failed/,
    );
    await host.ask('value', { prompts: ['p'], responses: ['ab'] });
  });

  it('values partial responses by themselves', async () => {
    const { host } = await opened();
    const { tensors, result } = await host.ask('value', {
      prompts: ['p', 'p'],
      responses: ['aB', ''],
    });
    expect([...(tensors.values!.data as Float64Array)]).toEqual([0.5, 0.5]);
    expect(result.parsed).toEqual(['ok', 'ok']);
  });
});

it('a host is gone when its own connection is, not when that of another peer is', async () => {
  const transport = new MemoryTransport();
  const link = new HostLink({
    ...{ transport, ...limits, log: () => {}, pulseMs: 10, absenceMs: 60 },
    answer: async () => ({ result: {} }),
  });
  let gone = '';
  void link.gone.then((reason) => {
    gone = reason;
  });
  const host = new Host(transport);
  host.hello();
  await host.next('welcome');
  const second = new Host(transport, 'other');
  second.hello();
  await second.next('reject');
  second.leave();
  await new Promise((resolve) => setTimeout(resolve, 150));
  expect(gone).toBe('');
  host.leave();
  expect(await link.gone).toBe("the host's connection was lost 0.06 s ago");
  link.close();
});

it('an ask that comes again is served once, and its answer is said again', async () => {
  const { host } = await opened();
  const [given, tensors] = batch();
  const ask = { type: 'ask', id: 'same', operation: 'assign_credit', arguments: given } as const;
  const answers = [];
  host.send(ask as never, tensors);
  answers.push(await host.next('result'));
  host.hello(); // after a reconnect the host greets, and asks for what it has no answer to
  await host.next('welcome');
  host.send(ask as never, tensors);
  answers.push(await host.next('result'));
  expect(answers[1]!.message).toEqual(answers[0]!.message);
  expect(answers[1]!.tensors).toEqual(answers[0]!.tensors);
  // One batch went by: the success rate that the next one tells is that of one.
  const next = await host.ask('assign_credit', ...batch({ iteration: 1 }));
  expect((next.result.metrics as unknown as Record<string, number>)['critic/outcomes']).toBe(3);
  expect(host.heard.filter(({ message }) => message.type === 'result')).toEqual([]);
});

describe('what is refused', () => {
  it('a second host', async () => {
    const { transport } = await opened();
    const second = new Host(transport, 'other');
    second.hello();
    expect((await second.next('reject')).message).toMatchObject({ code: 'duplicate_name' });
    second.send({ type: 'ask', id: 'x', operation: 'fence', arguments: {} });
    expect((await second.next('reject')).message).toMatchObject({ code: 'bad_message' });
  });

  it('a host of another version', async () => {
    const { transport } = start();
    const host = new Host(transport);
    host.hello('0000000000000000');
    expect((await host.next('reject')).message).toMatchObject({
      code: 'schema',
      message: expect.stringContaining('install the same version'),
    });
  });

  it.each([
    [
      'a reward beyond 1',
      { rewards: tensor(Float64Array.of(1, 1.5)) },
      'trajectory 1 has the reward 1.5',
    ],
    [
      'a reward that is no number',
      { rewards: tensor(Float64Array.of(Number.NaN, 0)) },
      'the reward NaN',
    ],
    ['a problem that is not there', { problems: tensor(Int32Array.of(0, 3)) }, 'of problem 3'],
    [
      'offsets beyond the text',
      { text_ends: tensor(Int32Array.of(1, 2, 4, 1, 2, 3)) },
      'tokens end at 4',
    ],
    ['too few tokens', { completion_ids: tensor(Int32Array.of(1)) }, 'has 1 entries, not 6'],
    ['offsets that fall', { cu_seqlens: tensor(Int32Array.of(0, 7, 6)) }, 'never fall'],
    [
      'another type',
      { rewards: tensor(Float32Array.of(1, 0)) },
      'no tensor "rewards" of the right type',
    ],
  ])('%s', async (_, changed, words) => {
    const { host } = await opened();
    const [given, tensors] = batch();
    await expect(host.ask('assign_credit', given, { ...tensors, ...changed })).rejects.toThrow(
      new RegExp(`bad_arguments: .*${words}`),
    );
    await host.ask('assign_credit', given, tensors); // and nothing is lost
  });

  it('what comes before open, and a second open', async () => {
    const { transport, served } = start();
    const host = new Host(transport);
    host.hello();
    await host.next('welcome');
    await expect(host.ask('fence', {})).rejects.toThrow('bad_state: fence: open comes first');
    host.send({ type: 'bye', reason: 'done' });
    expect(await served).toBe('the host said goodbye: done');
  });

  it('a config that is not valid, in words', async () => {
    const file = join(scratch, 'controller.yaml');
    writeFileSync(file, 'credit: {lamda: 1}\njoint: {iterations: 3}\n');
    const { transport } = start();
    const host = new Host(transport);
    host.hello();
    await host.next('welcome');
    const given = {
      options: { critic },
      base: scratch,
      logs: scratch,
      actor: { name: 'a', parameters: 1 },
    };
    const opening = host.ask('open', { ...given, config_file: file });
    await expect(opening).rejects.toThrow(
      /controller.yaml.*[\s\S]*credit.lamda.*did you mean "lambda"[\s\S]*joint.steps/,
    );
    await host.ask('open', { ...given, config_file: null }); // it may be tried again
  });
});
