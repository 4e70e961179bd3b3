import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { encode } from '../../src/bridge/frames.ts';
import type { MemoryTransport } from '../../src/bridge/memory-transport.ts';
import { tensor } from '../../src/bridge/tensor.ts';
import { call, connected, open, ScriptedWorker } from './scripted-worker.ts';

describe('requests', () => {
  test('arguments that are wrong never leave', async () => {
    const { peer, worker } = await connected();
    const wrong = worker.request('publish', { model: '' });
    await expect(wrong).rejects.toMatchObject({ code: 'bad_arguments', worker: 'w' });
    expect(peer.received.filter(({ type }) => type === 'request')).toEqual([]);
  });

  test('a request over the limit never leaves', async () => {
    const { worker } = await connected({ maxMessageBytes: 1000 });
    const large = worker.request('call', call, { tensors: { x: tensor(new Uint8Array(1000)) } });
    await expect(large).rejects.toMatchObject({
      code: 'bad_arguments',
      message: expect.stringContaining('the limit of 1000'),
    });
  });

  test('an error carries its code, the operation, the worker and the traceback', async () => {
    const { peer, worker } = await connected();
    const reply = worker.request('publish', { model: 'm' });
    reply.catch(() => {});
    const { id } = await peer.next('request');
    peer.say({ type: 'error', id, code: 'bad_state', message: 'no model m', traceback: 'line 1' });
    await expect(reply).rejects.toMatchObject({
      code: 'bad_state',
      message: 'publish on worker w: no model m',
      worker: 'w',
      traceback: 'line 1',
    });
  });

  test('partials come in order and once each', async () => {
    const { peer, worker } = await connected();
    const seen: unknown[] = [];
    const reply = worker.request('call', call, {
      onPartial: ({ data, tensors }) => seen.push([data, tensors.x!.data[0]]),
    });
    const { id } = await peer.next('request');
    for (const sequence of [0, 1, 0, 1, 2]) {
      peer.say(
        { type: 'partial', id, sequence, data: { n: sequence } },
        { x: tensor(new Int32Array([sequence])) },
      );
    }
    peer.answer(id, 0);
    await reply;
    expect(seen).toEqual([0, 1, 2].map((n) => [{ n }, n]));
  });

  test('a listener that throws ends its request, and nothing else', async () => {
    const { peer, worker } = await connected();
    const reply = worker.request('call', call, {
      onPartial: () => {
        throw new Error('no room');
      },
    });
    reply.catch(() => {});
    const { id } = await peer.next('request');
    peer.say({ type: 'partial', id, sequence: 0, data: {} });
    await expect(reply).rejects.toMatchObject({
      message: 'call on worker w: onPartial threw: no room',
    });
    expect((await peer.next('cancel')).id).toBe(id);
  });

  test('cancel is sent, and the worker confirms', async () => {
    const { peer, worker } = await connected();
    const controller = new AbortController();
    const reply = worker.request('call', call, { signal: controller.signal });
    reply.catch(() => {});
    const { id } = await peer.next('request');
    controller.abort();
    expect((await peer.next('cancel')).id).toBe(id);
    peer.say({
      type: 'error',
      id,
      code: 'cancelled',
      message: 'gradients discarded',
      traceback: null,
    });
    await expect(reply).rejects.toMatchObject({
      code: 'cancelled',
      message: 'call on worker w: gradients discarded',
    });
  });

  test('a result that crosses a cancel does not pass for success; an aborted signal sends nothing', async () => {
    const { peer, worker } = await connected();
    const controller = new AbortController();
    const reply = worker.request('call', call, { signal: controller.signal });
    reply.catch(() => {});
    const { id } = await peer.next('request');
    controller.abort();
    peer.answer(id, 1);
    await expect(reply).rejects.toMatchObject({
      code: 'cancelled',
      message: expect.stringContaining('had finished'),
    });
    await expect(worker.request('call', call, { signal: controller.signal })).rejects.toMatchObject(
      {
        code: 'cancelled',
      },
    );
    expect(peer.received.filter(({ type }) => type === 'request')).toHaveLength(1);
  });

  test('a deadline passes though the worker says nothing of it', async () => {
    const { peer, worker } = await connected();
    const reply = worker.request('call', call, { deadlineMs: 30 });
    reply.catch(() => {});
    const { id } = await peer.next('request');
    await expect(reply).rejects.toMatchObject({
      code: 'deadline',
      message: 'call on worker w: no answer within 30 ms',
    });
    expect((await peer.next('cancel')).id).toBe(id);
  });

  test('an answer that came while this process was held up counts, though its deadline passed', async () => {
    const { peer, worker } = await connected();
    const reply = worker.request('call', call, { deadlineMs: 50 });
    peer.answer((await peer.next('request')).id, 1);
    const until = performance.now() + 1_200;
    while (performance.now() < until);
    expect((await reply).result.value).toBe(1);
  });
});

describe('what gets lost', () => {
  test('after a reconnect everything unanswered is sent again under its id', async () => {
    const { transport, peer, worker } = await connected();
    const replies = [worker.request('call', call), worker.request('call', call)];
    const first = await peer.next('request');
    const second = await peer.next('request');
    peer.answer(first.id, 1);
    await replies[0];
    peer.drop();
    const third = worker.request('call', call);
    const again = new ScriptedWorker(transport, peer.identity);
    again.hello();
    await again.next('welcome');
    expect((await again.next('request')).id).toBe(second.id);
    const { id } = await again.next('request');
    again.answer(second.id, 2);
    again.answer(id, 3);
    expect([(await replies[1]!).result.value, (await third).result.value]).toEqual([2, 3]);
  });

  test('a request of which an idle worker knows nothing is sent again, after two heartbeats', async () => {
    const { peer, worker } = await connected();
    const reply = worker.request('call', call);
    const { id } = await peer.next('request');
    peer.idle(0);
    peer.idle(1);
    expect((await peer.next('request')).id).toBe(id);
    peer.answer(id, 1);
    peer.answer(id, 1);
    expect((await reply).result.value).toBe(1);
  });

  test('and then after twice as many each time, for a large one may not have arrived', async () => {
    const { peer, worker } = await connected();
    const reply = worker.request('call', call);
    const { id } = await peer.next('request');
    for (let sequence = 0; sequence < 40; sequence++) peer.idle(sequence);
    // After 2, 4, 8 and 16 heartbeats.
    for (let copy = 0; copy < 4; copy++) expect((await peer.next('request')).id).toBe(id);
    peer.answer(id, 1);
    await reply;
    worker.request('call', call).catch(() => {});
    expect((await peer.next('request')).id).not.toBe(id);
  });

  test('a large one is sent again later: 100 kB for each heartbeat may be on the way', async () => {
    const { peer, worker } = await connected();
    const tensors = { x: tensor(new Uint8Array(300_000)) };
    const reply = worker.request('call', call, { tensors });
    const { id } = await peer.next('request');
    const requests = () => peer.received.filter(({ type }) => type === 'request').length;
    for (let sequence = 0; sequence < 4; sequence++) peer.idle(sequence);
    await sleep(30);
    expect(requests()).toBe(1);
    peer.idle(4);
    await sleep(30);
    expect(requests()).toBe(2);
    peer.answer(id, 1);
    await reply;
  });

  /** Breaks the connection and comes back. */
  async function reconnect(peer: ScriptedWorker, transport: MemoryTransport) {
    peer.drop();
    const again = new ScriptedWorker(transport, peer.identity);
    again.hello();
    await again.next('welcome');
    return again;
  }

  test('a request that breaks ten connections ends in an error with its size; the next has its turn', async () => {
    const { transport, peer, worker } = await connected();
    const first = worker.request('call', call, { tensors: { x: tensor(new Uint8Array(5_000)) } });
    first.catch(() => {});
    const second = worker.request('call', call);
    let again = peer;
    for (let broken = 0; broken < 11; broken++) again = await reconnect(again, transport);
    await expect(first).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringMatching(
        /^call on worker w: its 51\d\d bytes were sent 10 times, and each time the connection broke .*\(smaller batches\)$/,
      ),
    });
    again.answer((await again.next('request')).id, 2);
    expect((await second).result.value).toBe(2);
  });

  test('a request that a worker is working on may outlive any number of connections', async () => {
    const { transport, peer, worker } = await connected();
    const reply = worker.request('call', call);
    const { id } = await peer.next('request');
    let again = peer;
    for (let broken = 0; broken < 30; broken++) {
      again = await reconnect(again, transport);
      const running = { id, operation: 'call', elapsed_ms: 1, progress: null } as const;
      again.say({ type: 'heartbeat', sequence: broken, running, queued: 0 });
      await sleep(1);
    }
    again.answer(id, 3);
    expect((await reply).result.value).toBe(3);
  });
});

describe('garbage', () => {
  test('is refused in one line, and the next message is served', async () => {
    const { peer, worker, logged } = await connected();
    peer.raw([Buffer.from('rubbish')]);
    const reply = worker.request('call', call);
    peer.answer((await peer.next('request')).id, 1);
    expect((await reply).result.value).toBe(1);
    expect(logged).toHaveLength(1);
    expect(logged[0]).toMatch(/^a message of worker w was refused: /);
  });

  test('that belongs to a request ends this request', async () => {
    const { peer, worker } = await connected();
    const replies = ['short frame', 'wrong result', 'too large'].map(() =>
      worker.request('publish', { model: 'm' }),
    );
    for (const reply of replies) reply.catch(() => {});
    const ids = [
      await peer.next('request'),
      await peer.next('request'),
      await peer.next('request'),
    ].map(({ id }) => id);
    const frames = encode(
      { type: 'result', id: ids[0]!, result: {}, seconds: 0 },
      { x: tensor(new Int32Array(2)) },
    );
    peer.raw([frames[0]!, frames[1]!.subarray(4)]);
    peer.say({ type: 'result', id: ids[1]!, result: { version: -1, digest: 'd' }, seconds: 0 });
    await expect(replies[0]).rejects.toMatchObject({
      code: 'bad_message',
      message: expect.stringContaining('its frame has 4'),
    });
    await expect(replies[1]).rejects.toMatchObject({
      code: 'bad_message',
      message: expect.stringContaining('version'),
    });
    peer.say({ type: 'result', id: ids[2]!, result: { version: 3, digest: 'd' }, seconds: 0 });
    expect((await replies[2]!).result).toEqual({ version: 3, digest: 'd' });
  });

  test('over the limit ends its request', async () => {
    const { peer, worker } = await connected({ maxMessageBytes: 1000 });
    const reply = worker.request('call', call);
    reply.catch(() => {});
    peer.answer((await peer.next('request')).id, 1, { x: tensor(new Uint8Array(1000)) });
    await expect(reply).rejects.toMatchObject({
      code: 'bad_message',
      message: expect.stringContaining('the limit of 1000'),
    });
  });

  test('from nobody is answered, not believed', async () => {
    const { transport, link } = open();
    const starting = link.expect('w');
    starting.catch(() => {});
    const stranger = new ScriptedWorker(transport, 'x');
    stranger.raw([Buffer.from([1, 2, 3])]);
    expect(await stranger.next('reject')).toMatchObject({ code: 'bad_message' });
  });
});

test('close drains, then shuts down, and takes no more requests', async () => {
  const { link, peer, worker } = await connected();
  const reply = worker.request('call', call);
  const { id } = await peer.next('request');
  const closing = link.close(5000);
  await peer.next('drain');
  await expect(worker.request('call', call)).rejects.toMatchObject({ code: 'closed' });
  peer.answer(id, 4);
  expect((await reply).result.value).toBe(4);
  peer.say({ type: 'bye', reason: 'drained' });
  await closing;
  expect(peer.received.some(({ type }) => type === 'shutdown')).toBe(false);
});
