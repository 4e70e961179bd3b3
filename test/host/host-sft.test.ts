/**
 * Stage 1 for a host: in parts, over a checkpoint, from a file and from an oracle that is asked
 * about the host's responses.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { answer, type MockServer, startServer } from '../api/server.ts';
import { batch, critic, opened, scratch } from './host.ts';

/** Ten traces with the scores 0 to 9, each observed as it says. */
const traces = join(scratch, 'traces.jsonl');
writeFileSync(
  traces,
  Array.from({ length: 10 }, (_, score) =>
    JSON.stringify({
      prompt: 'p',
      partial_response: 'ab',
      rationale: 'It goes on.',
      score,
      observed_outcome: score / 10,
    }),
  ).join('\n'),
);
const critic_sft = {
  steps: 6,
  cooldown: 2,
  batch: 3,
  warmup: 0,
  learning_rate: 0.5,
  min_lr_ratio: 0,
};

type Opened = Awaited<ReturnType<typeof opened>>;

/** What each step of `imitate` told. */
async function steps({ host }: Opened, at_most: number | null) {
  const { result } = await host.ask('imitate', { traces, at_most });
  const told = [];
  while (host.heard.some(({ message }) => message.type === 'partial'))
    told.push((await host.next('partial')).message.data as Record<string, unknown>);
  return { told, result: result as Record<string, unknown> };
}

describe('imitation', () => {
  it('in parts, and over a checkpoint, is that of one call', async () => {
    const whole = await steps(await opened({ critic_sft }), null);
    expect(whole.told).toHaveLength(8);
    expect(whole.result).toMatchObject({ step: 8, done: true });
    expect(
      whole.told.map(({ metrics }) => (metrics as Record<string, number>)['critic/learning_rate']),
    ).toEqual([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]);
    // Other traces in each step, none twice before all were seen: one of ten is held out.
    const seen = whole.told
      .slice(0, 3)
      .flatMap(({ metrics }) => [
        ...String((metrics as Record<string, number>)['critic/scores']).padStart(3, '0'),
      ]);
    expect(new Set(seen).size).toBe(9);

    const first = await opened({ critic_sft });
    const begun = [await steps(first, 3), await steps(first, 2)];
    expect(begun.map(({ result }) => [result.step, result.done])).toEqual([
      [3, false],
      [5, false],
    ]);
    const folder = join(scratch, 'amid');
    const place = { stage: 'critic-sft', iteration: 5, complete: false };
    await first.host.ask('save', { folder, optimizer: true, ...place });
    const second = await opened({ critic_sft });
    expect((await second.host.ask('restore', { folder })).result).toMatchObject(place);
    const rest = await steps(second, null);
    expect([...begun.flatMap(({ told }) => told), ...rest.told]).toEqual(whole.told);
    expect(rest.result).toEqual(whole.result);
  });

  it('cools down once held-out rationales are predicted well', async () => {
    const told = await steps(
      await opened({
        critic_sft: { ...critic_sft, evaluate_every: 2, stop_at_rationale_loss: 0.5 },
      }),
      null,
    );
    expect(told.result).toMatchObject({ step: 4, done: true });
    expect(told.told[1]).toMatchObject({ steps: 4, metrics: { 'critic/rationale_loss': 0.5 } });
  });

  it('is done again from the start when it is asked for again', async () => {
    const session = await opened({ critic_sft });
    const once = await steps(session, null);
    expect((await steps(session, null)).told).toEqual(once.told);
  });

  it('is refused in words where the critic can not', async () => {
    const { host } = await opened({ critic: { use: critic.replace('own-critic', 'mute-critic') } });
    await expect(host.ask('imitate', { traces, at_most: null })).rejects.toThrow(
      'critic "letters" can\'t imitate an oracle: leave stage 1 out',
    );
  });

  it("without a task has no oracle of the task's", async () => {
    const { host } = await opened();
    await expect(host.ask('imitate', { traces: 'oracle', at_most: null })).rejects.toThrow(
      'critic_sft.traces: there is no task, so no oracle of its own; name a JSONL file of traces',
    );
  });
});

describe('an oracle behind an API', () => {
  let server: MockServer;
  beforeEach(async () => {
    server = await startServer();
  });
  afterEach(() => server.close());

  const responses = () => {
    const [{ prompts, texts, finished }, tensors] = batch();
    return [{ prompts, texts, finished }, tensors] as const;
  };

  it('judges the responses, and is not asked twice', async () => {
    const folder = join(scratch, 'oracle');
    const api = { model: 'm', base_url: server.url, api_key_env: null };
    const { host } = await opened();
    await expect(host.ask('ask_oracle', ...responses())).rejects.toThrow(
      'bad_state: ask_oracle: open_oracle comes first',
    );
    const open = { api, folder, resume: false };
    expect((await host.ask('open_oracle', open)).result).toEqual({ count: 1000, traces: null });
    const { result } = await host.ask('ask_oracle', ...responses());
    expect(result).toMatchObject({
      traces: join(folder, 'traces.jsonl'),
      metrics: { 'oracle/answers': 2 },
    });
    const lines = readFileSync(join(folder, 'traces.jsonl'), 'utf8').trim().split('\n');
    const told = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(told).toHaveLength(2);
    told.forEach((trace, i) => {
      expect(trace).toMatchObject({
        prompt: 'say it',
        rationale: 'It goes well.',
        score: 8,
        actor: { name: 'a', parameters: 10, success_rate: 0.5 },
      });
      // Both responses went through the empty state; through the other, their own alone.
      const known: Record<string, number> = { '': 0.5, ab: 1, '2c': 0 };
      expect(trace.observed_outcome).toBe(known[trace.partial_response as string]);
      expect(['', i === 0 ? 'ab' : '2c']).toContain(trace.partial_response);
    });
    expect((await host.ask('open_oracle', { ...open, resume: true })).result.traces).toBe(
      result.traces,
    );
    await host.ask('open_oracle', open);
    await host.ask('ask_oracle', ...responses());
    expect(server.received).toHaveLength(2);
  });

  it('whose options are wrong is refused before anything is asked', async () => {
    const { host } = await opened();
    const open = (api: object) => host.ask('open_oracle', { api, folder: scratch, resume: false });
    await expect(open({ model: 'm', counts: 3 })).rejects.toThrow(
      /bad_arguments: .*[\s\S]*traces.api.counts: no such option; did you mean "count"\?/,
    );
    await expect(open({ model: 'm', api_key_env: 'NO_SUCH_KEY' })).rejects.toThrow(
      'traces.api.api_key_env: the environment variable NO_SUCH_KEY is not set',
    );
    await expect(
      open({ model: 'm', api_key_env: null, extra: { api_key: 'sk-0123456789abcdef0123' } }),
    ).rejects.toThrow('traces.api.extra.api_key: looks like a key');
  });

  it('that never gives a score ends in one error', async () => {
    server.behave((response) => answer(response, 'I would rather not.'));
    const { host } = await opened();
    const api = { model: 'm', base_url: server.url, api_key_env: null };
    await host.ask('open_oracle', { api, folder: join(scratch, 'silent'), resume: false });
    await expect(host.ask('ask_oracle', ...responses())).rejects.toThrow(
      /2 of 2 answers have no score that can be read .*The first: "I would rather not."/,
    );
  });
});
