import { describe, expect, test } from 'vitest';
import { tensor } from '../../src/bridge/tensor.ts';
import { call, connected, open, ScriptedWorker } from './scripted-worker.ts';

describe('handshake', () => {
  test('hello, welcome, ready; then a request and its answer', async () => {
    const { peer, worker } = await connected({
      heartbeatMs: 50,
      controllerTimeoutMs: 700,
      maxMessageBytes: 12345,
    });
    expect(peer.received[0]).toEqual({
      type: 'welcome',
      protocol: 2,
      heartbeat_ms: 50,
      controller_timeout_ms: 700,
      max_message_bytes: 12345,
    });
    expect(worker.ready.versions).toEqual({ python: '3' });
    const reply = worker.request('call', call, {
      deadlineMs: 5000,
      tensors: { x: tensor(new Int32Array([4])) },
    });
    const request = await peer.next('request');
    expect(request).toMatchObject({ operation: 'call', arguments: call, deadline_ms: 5000 });
    expect(request.tensors).toEqual([{ name: 'x', dtype: 'int32', shape: [1] }]);
    peer.answer(request.id, 5, { y: tensor(new Float64Array([2.5])) });
    expect(await reply).toEqual({
      result: { value: 5 },
      seconds: 0.25,
      tensors: { y: { data: new Float64Array([2.5]), shape: [1] } },
    });
  });

  test.each([
    ['protocol', { protocol_min: 3, protocol_max: 4 }, /speaks protocol 3 to 4, the controller 2/],
    ['schema', { schema_hash: 'abc' }, /have schema abc, the controller's [0-9a-f]{16}/],
  ] as const)(
    'a wrong %s is refused in words; the worker that is expected may still come',
    async (code, changes, words) => {
      const { transport, link } = open();
      const starting = link.expect('w');
      const stranger = new ScriptedWorker(transport, 'other');
      stranger.hello(changes);
      expect(await stranger.next('reject')).toMatchObject({
        code,
        message: expect.stringMatching(words),
      });
      const peer = new ScriptedWorker(transport);
      peer.hello();
      peer.ready();
      expect((await starting).name).toBe('w');
    },
  );

  test('a name for which a process was started is that process alone', async () => {
    const { transport, link } = open();
    const starting = link.expect('w', { startId: 'start-1' });
    const thief = new ScriptedWorker(transport, 'start-2');
    thief.hello();
    expect(await thief.next('reject')).toMatchObject({
      code: 'duplicate_name',
      message: 'worker w is a process that this controller has started',
    });
    const peer = new ScriptedWorker(transport, 'start-1');
    peer.hello();
    peer.ready();
    expect((await starting).pid).toBe(7);
  });

  test('a stranger gets few answers and few lines, however much it says', async () => {
    const { transport, link, logged } = open();
    const starting = link.expect('w');
    const stranger = new ScriptedWorker(transport, 'other');
    for (let i = 0; i < 1000; i++) stranger.raw([Buffer.from('no msgpack'), Buffer.alloc(0)]);
    stranger.raw([Buffer.alloc(20_000, 0xc0)]);
    stranger.hello({ name: 'v' });
    const peer = new ScriptedWorker(transport);
    peer.hello();
    peer.ready();
    await starting;
    for (let i = 0; i < 4; i++) await stranger.next('reject');
    expect(stranger.received).toHaveLength(4);
    expect(logged[0]).toContain('a message of 2 frames exceeds 1');
    expect(logged.length).toBeLessThan(20);
    expect(logged.at(-1)).toMatch(/\(640 refusals so far/);
  });

  test('an unknown name is refused; whoever is expected may still come', async () => {
    const { transport, link } = open();
    const starting = link.expect('w');
    const stranger = new ScriptedWorker(transport, 'other');
    stranger.hello({ name: 'v' });
    expect(await stranger.next('reject')).toMatchObject({
      code: 'unknown_name',
      message: 'no worker named v is expected (expected: w)',
    });
    const peer = new ScriptedWorker(transport);
    peer.hello();
    peer.ready();
    expect((await starting).name).toBe('w');
  });

  test('a second worker of the same name is refused; the first serves on', async () => {
    const { transport, peer, worker } = await connected();
    const twin = new ScriptedWorker(transport, 'start-2');
    twin.hello();
    expect(await twin.next('reject')).toMatchObject({ code: 'duplicate_name' });
    const reply = worker.request('call', call);
    peer.answer((await peer.next('request')).id, 1);
    expect((await reply).result.value).toBe(1);
  });

  test('a peer that does not say hello first is told so', async () => {
    const { transport } = open();
    const peer = new ScriptedWorker(transport);
    peer.ready();
    expect(await peer.next('reject')).toMatchObject({
      code: 'bad_message',
      message: 'say hello first',
    });
  });

  test('two workers of one name are refused at once', () => {
    const { link } = open();
    link.expect('w').catch(() => {});
    expect(() => link.expect('w')).toThrow('two workers are named w');
  });
});
