import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Dealer } from 'zeromq';
import { curveKeys } from '../../src/bridge/authentication.ts';
import { removeLeftovers } from '../../src/bridge/leftovers.ts';
import { MemoryTransport } from '../../src/bridge/memory-transport.ts';
import { bindZmq } from '../../src/bridge/zmq-transport.ts';
import { type TestPeer, transportConformance } from './transport-conformance.ts';

const token = 'a-token-of-this-test';

function dealer(endpoint: string, identity: string, options: object = {}): TestPeer {
  const socket = new Dealer({ routingId: identity, linger: 0, ...options });
  socket.connect(endpoint);
  return {
    send: (frames) => socket.send(frames),
    receive: () => socket.receive(),
    close: () => socket.close(),
  };
}

transportConformance('memory', async () => {
  const transport = new MemoryTransport();
  return {
    transport,
    connect(identity) {
      const received: Buffer[][] = [];
      const waiting: (() => void)[] = [];
      const peer = transport.connect(identity, (frames) => {
        received.push(frames);
        waiting.shift()?.();
      });
      return {
        send: (frames) => peer.send(frames),
        close: () => peer.close(),
        receive: async () => {
          while (received.length === 0) await new Promise<void>((resolve) => waiting.push(resolve));
          return received.shift()!;
        },
      };
    },
  };
});

for (const [name, tcp, which] of [
  ['ipc', undefined, 0],
  ['tcp', 'tcp://127.0.0.1:*', 1],
] as const) {
  transportConformance(name, async () => {
    const transport = await bindZmq({ tcp, token: tcp && token, maxMessageBytes: 2 ** 30 });
    const shown = tcp ? { plainUsername: 'genac', plainPassword: token } : {};
    return {
      transport,
      connect: (identity) => dealer(transport.endpoints[which]!, identity, shown),
    };
  });
}

describe('endpoints', () => {
  const maxMessageBytes = 2 ** 20;

  test('the socket lies in a folder of its owner alone, which is gone after close', async () => {
    const transport = await bindZmq({ maxMessageBytes });
    const path = transport.endpoints[0]!.replace('ipc://', '');
    expect(statSync(dirname(path)).mode & 0o777).toBe(0o700);
    await transport.close();
    expect(existsSync(dirname(path))).toBe(false);
  });

  test.each([
    'tcp://0.0.0.0:*',
    'tcp://*:5555',
    'tcp://192.168.1.7:5555',
    'tcp://127.0.0.1.example.org:1',
    'udp://x',
  ])('refuses %s without keys', async (tcp) => {
    await expect(bindZmq({ tcp, maxMessageBytes })).rejects.toMatchObject({ code: 'refused' });
  });

  test('refuses TCP on loopback without a token, or with an empty one', async () => {
    for (const token of [undefined, ''])
      await expect(
        bindZmq({ tcp: 'tcp://127.0.0.1:*', maxMessageBytes, token }),
      ).rejects.toMatchObject({ code: 'refused' });
  });

  test('folders of killed processes are removed; those that are young, in use or of the living are not', async () => {
    const parent = mkdtempSync(join(tmpdir(), 'genac-leftovers-'));
    const dead = spawnSync('true').pid;
    const names = [
      `genac-${dead}-oldone`,
      `genac-${dead}-in-use`,
      `genac-${dead}-inuse1`,
      `genac-${dead}-young1`,
      `genac-${process.pid}-living`,
      'genac-logs-aaaaaa',
    ];
    for (const name of names) mkdirSync(join(parent, name));
    const server = createServer().listen(join(parent, `genac-${dead}-inuse1`, 'socket'));
    await new Promise((resolve) => server.once('listening', resolve));
    for (const name of names) if (!name.endsWith('young1')) utimesSync(join(parent, name), 0, 0);
    try {
      await removeLeftovers(parent);
      expect(readdirSync(parent).sort()).toEqual(names.slice(1).sort());
    } finally {
      server.close();
      rmSync(parent, { recursive: true });
    }
  });

  test('a port that is taken is refused in words', async () => {
    const first = await bindZmq({ tcp: 'tcp://127.0.0.1:*', token, maxMessageBytes });
    await expect(bindZmq({ tcp: first.endpoints[1]!, token, maxMessageBytes })).rejects.toThrow(
      /can't listen on tcp:/,
    );
    await first.close();
  });

  test('on loopback a token or keys are needed, for every user of the machine can connect', async () => {
    await expect(bindZmq({ tcp: 'tcp://127.0.0.1:*', maxMessageBytes })).rejects.toThrow(
      'can be reached by every user of this machine',
    );
  });

  test('with a token, who shows it gets in; another one, and none, do not, at two sockets at once', async () => {
    const transports = await Promise.all(
      [token, `${token}2`].map((own) =>
        bindZmq({ tcp: 'tcp://127.0.0.1:*', token: own, maxMessageBytes }),
      ),
    );
    for (const [i, transport] of transports.entries()) {
      const own = i === 0 ? token : `${token}2`;
      const senders: string[] = [];
      let refused = 0;
      transport.start({
        message: (identity) => senders.push(identity),
        connection: ({ kind }) => {
          if (kind === 'refused') refused += 1;
        },
      });
      const shown = (plainPassword: string) => ({ plainUsername: 'genac', plainPassword });
      const peers = transport.endpoints.flatMap((endpoint) => [
        dealer(endpoint, 'stranger', shown('x'.repeat(own.length))),
        dealer(endpoint, 'shorter', shown(own.slice(1))),
        dealer(endpoint, 'nobody'),
        dealer(endpoint, `friend at ${endpoint.slice(0, 3)}`, shown(own)),
      ]);
      for (const peer of peers)
        void Promise.resolve(peer.send([Buffer.from('hello')])).catch(() => {});
      while (senders.length < 2 || refused < 6)
        await new Promise((resolve) => setTimeout(resolve, 10));
      expect(senders.sort()).toEqual(['friend at ipc', 'friend at tcp']);
      for (const peer of peers) peer.close();
    }
    for (const transport of transports) await transport.close();
  });

  test('a transport that is bound just after another was closed asks for its token too', async () => {
    for (let i = 0; i < 30; i++) {
      const transport = await bindZmq({ token, maxMessageBytes });
      const arrived = new Promise((resolve) =>
        transport.start({ message: resolve, connection: () => {} }),
      );
      const peer = dealer(transport.endpoints[0]!, 'friend', {
        plainUsername: 'genac',
        plainPassword: token,
      });
      await peer.send([Buffer.from('hello')]);
      expect(await arrived).toBe('friend');
      peer.close();
      await transport.close();
    }
  });

  test('with CURVE keys, a listed worker gets in; another key, and no key, do not', async () => {
    const [server, friend, stranger] = [curveKeys(), curveKeys(), curveKeys()];
    const curve = { ...server, allowedKeys: [friend.publicKey] };
    const transport = await bindZmq({ tcp: 'tcp://0.0.0.0:*', curve, maxMessageBytes });
    const endpoint = transport.endpoints[1]!.replace('0.0.0.0', '127.0.0.1');
    const senders: string[] = [];
    let arrived!: () => void;
    let refused = 0;
    const friendHeard = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    transport.start({
      message: (identity) => {
        senders.push(identity);
        if (identity === 'friend') arrived();
      },
      connection: ({ kind }) => {
        if (kind === 'refused') refused += 1;
      },
    });
    const keys = (pair: { publicKey: string; secretKey: string }) => ({
      curvePublicKey: pair.publicKey,
      curveSecretKey: pair.secretKey,
      curveServerKey: server.publicKey,
    });
    const peers = [
      dealer(endpoint, 'stranger', keys(stranger)),
      dealer(endpoint, 'keyless'),
      dealer(endpoint, 'friend', keys(friend)),
    ];
    // Nobody waits for the two whose messages never leave.
    for (const peer of peers)
      void Promise.resolve(peer.send([Buffer.from('hello')])).catch(() => {});
    await friendHeard;
    while (refused < 2) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(senders).toEqual(['friend']);
    for (const peer of peers) peer.close();
    await transport.close();
  });
});
