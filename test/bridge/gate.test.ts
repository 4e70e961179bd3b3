import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { Dealer, Reply } from 'zeromq';
import { curveKeys } from '../../src/bridge/authentication.ts';
import { encode } from '../../src/bridge/frames.ts';
import { Gate } from '../../src/bridge/gate.ts';
import { Link } from '../../src/bridge/link.ts';
import { PROTOCOL_VERSION } from '../../src/bridge/messages.ts';
import { schemaHash } from '../../src/bridge/schema.ts';
import type { Transport } from '../../src/bridge/transport.ts';
import { bindZmq } from '../../src/bridge/zmq-transport.ts';
import { HostilePeer, header } from './hostile-peer.ts';

const token = 'a-token-of-this-test';
const maxMessageBytes = 2 ** 30;
const megabytes = () => process.memoryUsage().rss / 2 ** 20;
const shown = { plainUsername: 'genac', plainPassword: token };

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function bound() {
  const transport = await bindZmq({ tcp: 'tcp://127.0.0.1:*', token, maxMessageBytes });
  open.push(transport);
  return { transport, endpoint: transport.endpoints[1]! };
}

async function linked() {
  const { transport, endpoint } = await bound();
  const logged: string[] = [];
  const link = new Link({ transport, heartbeatMs: 50, log: (line) => logged.push(line) });
  open.push({ close: () => link.close(0) });
  return { transport, endpoint, link, logged };
}

/** A peer that behaves, over ZeroMQ. */
function dealer(endpoint: string, identity: string, options: object = shown): Dealer {
  const socket = new Dealer({ routingId: identity, linger: 0, sendHighWaterMark: 0, ...options });
  socket.connect(endpoint);
  open.push(socket);
  return socket;
}

const versions = { protocol_min: PROTOCOL_VERSION, protocol_max: PROTOCOL_VERSION };
const hello = (name: string, start_id: string, schema_hash = schemaHash()) =>
  encode({ type: 'hello', name, start_id, ...versions, schema_hash, pid: 1, host: 'here' });

/** Serves the worker `w` as far as to be ready. */
async function serveWell(endpoint: string): Promise<Dealer> {
  const worker = dealer(endpoint, 'good');
  await worker.send(hello('w', 'good'));
  await worker.receive();
  await worker.send(encode({ type: 'ready', versions: {}, devices: [] }));
  return worker;
}

const MB = 2 ** 20;
const block = Buffer.alloc(MB, 7);
const emptyFrames = Buffer.alloc(60_000, Buffer.from([1, 0]));

describe('the door', () => {
  /** The transport of the test before may hold it for some milliseconds yet. */
  const takeName = async () => {
    const other = new Reply({ linger: 0 });
    open.push(other);
    await vi.waitFor(() => other.bind('inproc://zeromq.zap.01'), { timeout: 5000, interval: 5 });
    return other;
  };

  test('opens once it can tell who may enter, and then lets in at the first attempt', async () => {
    const other = await takeName();
    let isOpen = false;
    const opening = bound().finally(() => {
      isOpen = true;
    });
    await sleep(50);
    expect(isOpen).toBe(false);
    other.close();
    await new HostilePeer((await opening).endpoint).enter(token, 'early');
  });

  test('says why it stays shut', async () => {
    await takeName();
    await expect(bound()).rejects.toThrow(
      'something else in this process checks the keys of ZeroMQ connections',
    );
  });
});

describe('a peer that is not known', () => {
  test.each([
    ['a handshake of 300 MB', header(300 * MB, 4), block, 'more than 4096 bytes in its handshake'],
    ['something else than ZMTP', Buffer.from('GET / HTTP/1.1\r\n'), block, 'does not speak ZMTP 3'],
  ])('sends %s, and is disconnected', async (_, first, rest, words) => {
    const { endpoint, link, logged } = await linked();
    const starting = link.expect('w');
    const before = megabytes();
    const peer = new HostilePeer(endpoint);
    if (first[0] !== 0x47) peer.greet();
    peer.socket.write(first);
    await peer.flood(rest, 300 * MB);
    await peer.closed;
    expect(peer.sent).toBeLessThan(40 * MB); // what the sockets' buffers hold
    expect(megabytes() - before).toBeLessThan(60);
    expect(logged.join('\n')).toContain(words);
    await serveWell(endpoint);
    expect((await starting).name).toBe('w');
  });

  test.each([
    ['a header of 300 MB', header(300 * MB), block, 'more than 65536 bytes before it was greeted'],
    [
      '3 million empty frames',
      Buffer.alloc(0),
      emptyFrames,
      'more than 64 frames before it was greeted',
    ],
    ['frames without an end', header(MB, 1), block, 'more than 65536 bytes before it was greeted'],
  ])('shows the token, sends %s, and is disconnected', async (_, first, rest, words) => {
    const { endpoint, link, logged } = await linked();
    const starting = link.expect('w');
    const before = megabytes();
    const peer = new HostilePeer(endpoint);
    await peer.enter(token, 'bad');
    peer.socket.write(first);
    await peer.flood(rest, 300 * MB);
    await peer.closed;
    expect(peer.sent).toBeLessThan(40 * MB);
    expect(megabytes() - before).toBeLessThan(60);
    expect(logged.join('\n')).toContain(words);
    await serveWell(endpoint);
    expect((await starting).name).toBe('w');
  });

  test('a hundred at once that say what is wrong and never read cost nothing', async () => {
    const { endpoint, link } = await linked();
    const starting = link.expect('w');
    const before = megabytes();
    const peers = Array.from({ length: 100 }, () => new HostilePeer(endpoint));
    // Those that make room for others hear nothing more.
    await Promise.allSettled(peers.map((peer, i) => peer.enter(token, `deaf-${i}`)));
    const wrong = Buffer.concat([Buffer.from([0, 20]), Buffer.alloc(20, 0xc1)]);
    for (const peer of peers) peer.socket.pause();
    await Promise.all(peers.map((peer) => peer.flood(wrong, 2 * MB)));
    expect(megabytes() - before).toBeLessThan(60);
    await serveWell(endpoint);
    expect((await starting).name).toBe('w');
    for (const peer of peers) peer.socket.destroy();
  });

  test('is one of hundreds that say nothing: the oldest make room, and a good one gets in at once', async () => {
    const { endpoint, link, logged } = await linked();
    const starting = link.expect('w');
    const idle = Array.from({ length: 300 }, () => new HostilePeer(endpoint));
    await Promise.all(idle.slice(0, 200).map((peer) => peer.closed));
    const began = performance.now();
    await serveWell(endpoint);
    expect((await starting).name).toBe('w');
    expect(performance.now() - began).toBeLessThan(5_000);
    expect(logged.join('\n')).toContain('64 others are not greeted yet, and it waited longest');
    for (const peer of idle) peer.socket.destroy();
  });

  test('has a routing id, or is told to set one', async () => {
    const { endpoint, logged } = await linked();
    const peer = new HostilePeer(endpoint);
    await expect(peer.enter(token, '')).rejects.toThrow('disconnected');
    await peer.closed;
    expect(logged.join('\n')).toContain('it has no routing id');
  });

  test('may greet in pieces of a byte', async () => {
    const { transport, endpoint } = await bound();
    const arrived = new Promise((resolve) =>
      transport.start({ message: resolve, connection: () => {} }),
    );
    const peer = new HostilePeer(endpoint, 1);
    await peer.enter(token, 'slow');
    peer.socket.write(Buffer.from([0, 1, 7]));
    expect(await arrived).toBe('slow');
    peer.socket.destroy();
  });

  test('that says an expected name and a wrong schema does not end the start', async () => {
    const { endpoint, link } = await linked();
    const starting = link.expect('w');
    const stranger = dealer(endpoint, 'stranger');
    await stranger.send(hello('w', 'stranger', 'abc'));
    await stranger.receive();
    await serveWell(endpoint);
    expect((await starting).name).toBe('w');
  });

  test('is disconnected where it was not greeted in time', async () => {
    const { transport } = await bound();
    const refused: string[] = [];
    const gate = await Gate.listen({
      endpoint: 'tcp://127.0.0.1:*',
      path: transport.endpoints[0]!.replace('ipc://', ''),
      refused: (detail) => refused.push(detail),
      greetingMs: 100,
    });
    open.push(gate);
    const peer = new HostilePeer(gate.endpoint);
    await peer.closed;
    expect(refused).toEqual(['127.0.0.1: it was not greeted within 0.1 s']);
  });
});

describe('a peer that is known', () => {
  /** Admits the peer at its first message. */
  function admitting(transport: Transport, identity: string) {
    let bytes = 0;
    const heard: (() => void)[] = [];
    transport.start({
      message: (who, frames) => {
        if (who !== identity) return;
        transport.admit(who);
        bytes += frames.reduce((sum, { length }) => sum + length, 0);
        for (const wake of heard.splice(0)) wake();
      },
      connection: () => {},
    });
    return async (least: number) => {
      while (bytes < least) await new Promise<void>((resolve) => heard.push(resolve));
    };
  }

  test('sends what it likes, at once after a reconnect too', async () => {
    const { transport, endpoint } = await bound();
    const arrive = admitting(transport, 'known');
    const first = dealer(endpoint, 'known');
    await first.send('hello');
    await arrive(5);
    await first.send(Buffer.alloc(10 * MB));
    await arrive(10 * MB);
    first.close();
    // A second socket of the same routing id takes over, as after a reconnect.
    await dealer(endpoint, 'known').send(Buffer.alloc(30 * MB));
    await arrive(40 * MB);
  });

  test('with CURVE, as soon as its key is', async () => {
    const [server, friend] = [curveKeys(), curveKeys()];
    const curve = { ...server, allowedKeys: [friend.publicKey] };
    const transport = await bindZmq({ tcp: 'tcp://127.0.0.1:*', curve, maxMessageBytes });
    open.push(transport);
    const arrive = admitting(transport, 'friend');
    const peer = dealer(transport.endpoints[1]!, 'friend', {
      curvePublicKey: friend.publicKey,
      curveSecretKey: friend.secretKey,
      curveServerKey: server.publicKey,
    });
    await peer.send(Buffer.alloc(5 * MB));
    await arrive(5 * MB);
  });
});

test('the transport closes in the middle of a flood', async () => {
  const { transport, endpoint } = await bound();
  transport.start({ message: (who) => transport.admit(who), connection: () => {} });
  const peers = Array.from({ length: 4 }, (_, i) => dealer(endpoint, `loud-${i}`));
  let going = true;
  const floods = peers.map(async (peer) => {
    while (going) await peer.send(Buffer.alloc(2000)).catch(() => {});
  });
  await new Promise((resolve) => setTimeout(resolve, 300));
  await transport.close();
  going = false;
  for (const peer of peers) peer.close();
  await Promise.all(floods);
});
