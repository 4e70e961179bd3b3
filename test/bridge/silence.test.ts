/** When a worker that says nothing is lost. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { call, connected, ScriptedWorker } from './scripted-worker.ts';

describe('silence', () => {
  afterEach(() => void vi.restoreAllMocks());

  test('of a worker that has a request, or loads, may last longer, and counts once it has none', async () => {
    const limits = { silenceMs: 100, busySilenceMs: 60_000 };
    const { transport, link, worker } = await connected(limits);
    const loading = link.expect('v');
    const loader = new ScriptedWorker(transport, 'start-v');
    loader.hello({ name: 'v' });
    const reply = worker.request('call', call, { deadlineMs: 400 });
    await expect(reply).rejects.toMatchObject({ code: 'deadline' });
    await sleep(60);
    expect(worker.lost).toBeNull();
    loader.ready();
    expect((await loading).lost).toBeNull();
    await sleep(100);
    expect(worker.lost!.message).toMatch(/^worker w has said nothing for 0\.\d s/);
  });

  test('of a worker without a connection is short, whatever it has', async () => {
    const { peer, worker } = await connected({ silenceMs: 100, busySilenceMs: 60_000 });
    const reply = worker.request('call', call);
    peer.drop();
    await expect(reply).rejects.toMatchObject({
      code: 'worker_lost',
      message: expect.stringMatching(/Z; it was sent call 0\.\d s ago\); the end of its log/),
    });
  });

  test('that was allowed does not count when its connection breaks for a moment', async () => {
    const limits = { silenceMs: 300, busySilenceMs: 60_000 };
    const { transport, peer, worker } = await connected(limits);
    const reply = worker.request('call', call);
    await sleep(500);
    peer.drop();
    await sleep(100);
    const again = new ScriptedWorker(transport, peer.identity);
    again.hello();
    const { id } = await again.next('request');
    await sleep(400);
    expect(worker.lost).toBeNull();
    again.answer(id, 7);
    expect((await reply).result.value).toBe(7);
  });

  test.each([true, false])(
    'is not broken by requests that end by their own deadlines (connected: %s)',
    async (isConnected) => {
      const { peer, worker } = await connected({ silenceMs: 200, busySilenceMs: 500 });
      if (!isConnected) peer.drop();
      const began = performance.now();
      while (worker.lost === null && performance.now() - began < 3000)
        await worker.request('call', call, { deadlineMs: 50 }).catch(() => {});
      expect(worker.lost).not.toBeNull();
    },
  );

  test('of one that is given up ends it, should it still listen', async () => {
    const { peer, worker } = await connected({ silenceMs: 100 });
    await vi.waitFor(() => expect(worker.lost).not.toBeNull(), { timeout: 2_000 });
    expect(await peer.next('shutdown')).toMatchObject({
      reason: expect.stringContaining('has said nothing'),
    });
  });

  test('is measured by a clock that nobody sets', async () => {
    const { worker } = await connected({ silenceMs: 100 });
    vi.spyOn(Date, 'now').mockReturnValue(0);
    await vi.waitFor(() => expect(worker.lost).not.toBeNull(), { timeout: 2_000 });
  });

  test('a worker that says nothing is lost: requests end, listeners hear it once, others go on', async () => {
    const { link, transport, peer, worker } = await connected({ busySilenceMs: 120 });
    const other = link.expect('v');
    const talker = new ScriptedWorker(transport, 'start-v');
    talker.hello({ name: 'v' });
    talker.ready();
    const alive = await other;
    let sequence = 0;
    const talking = setInterval(() => talker.idle(sequence++), 20);
    const lost: string[] = [];
    link.onLost((error) => lost.push(`${error.code} ${error.worker}`));
    peer.say({
      type: 'heartbeat',
      sequence: 0,
      running: { id: 'x', operation: 'sample', elapsed_ms: 40, progress: null },
      queued: 1,
    });
    const reply = worker.request('call', call);
    const error = await reply.then(
      () => null,
      (reason: Error) => reason,
    );
    expect(error).toMatchObject({ code: 'worker_lost', worker: 'w' });
    expect(error!.message).toMatch(
      /^call on worker w: no answer after 0\.\d s, for worker w has said nothing for 0\.\d s \(since .*Z; it was running sample for 40 ms\); the end of its log:\nlast words$/,
    );
    await expect(worker.request('call', call)).rejects.toMatchObject({ code: 'worker_lost' });
    expect(lost).toEqual(['worker_lost w']);
    const answer = alive.request('call', call);
    talker.answer((await talker.next('request')).id, 9);
    expect((await answer).result.value).toBe(9);
    clearInterval(talking);
  });

  test('a worker that says goodbye on its own is lost', async () => {
    const { peer, worker } = await connected();
    const reply = worker.request('call', call);
    reply.catch(() => {});
    peer.say({ type: 'bye', reason: 'SIGTERM' });
    await expect(reply).rejects.toMatchObject({
      code: 'worker_lost',
      message: expect.stringContaining('goodbye: SIGTERM'),
    });
  });
});
