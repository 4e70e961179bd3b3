/** What every `Transport` must do; each implementation runs it with its own kind of peer. */
import { afterEach, describe, expect, test } from 'vitest';
import type { Transport } from '../../src/bridge/transport.ts';

export interface TestPeer {
  send(frames: Buffer[]): void | Promise<void>;
  /** The next message. */
  receive(): Promise<Buffer[]>;
  close(): void;
}

export interface TransportUnderTest {
  readonly transport: Transport;
  connect(identity: string): TestPeer;
}

type Received = [identity: string, frames: Buffer[]];

export function transportConformance(name: string, make: () => Promise<TransportUnderTest>): void {
  describe(`transport ${name}`, () => {
    const open: { close(): unknown }[] = [];
    afterEach(async () => {
      for (const one of open.splice(0).reverse()) await one.close();
    });

    async function start() {
      const { transport, connect } = await make();
      open.push(transport);
      const received: Received[] = [];
      const waiting: (() => void)[] = [];
      return {
        transport,
        begin: () =>
          transport.start({
            message: (identity, frames) => {
              received.push([identity, frames.map((frame) => Buffer.from(frame))]);
              waiting.shift()?.();
            },
            connection: () => {},
          }),
        next: async (): Promise<Received> => {
          while (received.length === 0) await new Promise<void>((resolve) => waiting.push(resolve));
          return received.shift()!;
        },
        connect: (identity: string) => {
          const peer = connect(identity);
          open.push(peer);
          return peer;
        },
      };
    }

    test('carries frames of any size both ways, empty ones too', async () => {
      const { transport, begin, next, connect } = await start();
      begin();
      const peer = connect('peer');
      await peer.send([Buffer.from('small')]);
      transport.admit((await next())[0]);
      const frames = [Buffer.from('head'), Buffer.alloc(0), Buffer.alloc(3_000_000, 7)];
      await peer.send(frames);
      const [identity, arrived] = await next();
      expect(identity).toBe('peer');
      expect(arrived.map((frame) => frame.length)).toEqual([4, 0, 3_000_000]);
      expect(arrived[2]!.equals(frames[2]!)).toBe(true);
      await transport.send('peer', frames);
      const back = await peer.receive();
      expect(back.slice(0, 2).map(({ length }) => length)).toEqual([4, 0]);
      expect(back[0]!.equals(frames[0]!)).toBe(true);
      // It may have come in pieces.
      expect(Buffer.concat(back.slice(2)).equals(frames[2]!)).toBe(true);
    });

    test('keeps the order of each direction, without waiting in between', async () => {
      const { transport, begin, next, connect } = await start();
      begin();
      const peer = connect('peer');
      transport.admit('peer');
      const numbers = Array.from({ length: 200 }, (_, index) => index);
      for (const number of numbers) void peer.send([Buffer.from(String(number))]);
      for (const number of numbers) expect((await next())[1][0]!.toString()).toBe(String(number));
      await Promise.all(
        numbers.map((number) => transport.send('peer', [Buffer.from(String(number))])),
      );
      for (const number of numbers)
        expect((await peer.receive())[0]!.toString()).toBe(String(number));
    });

    test('delivers what came before it was started', async () => {
      const { begin, next, connect } = await start();
      const peer = connect('peer');
      await peer.send([Buffer.from('early')]);
      begin();
      expect((await next())[1][0]!.toString()).toBe('early');
    });

    test('tells peers apart', async () => {
      const { transport, begin, next, connect } = await start();
      begin();
      const [a, b] = [connect('a'), connect('b')];
      await a.send([Buffer.from('1')]);
      await b.send([Buffer.from('2')]);
      const senders = [(await next())[0], (await next())[0]].sort();
      expect(senders).toEqual(['a', 'b']);
      await transport.send('b', [Buffer.from('for b')]);
      expect((await b.receive())[0]!.toString()).toBe('for b');
    });

    test('refuses to send to a peer that is not there, and goes on', async () => {
      const { transport, begin, next, connect } = await start();
      begin();
      await expect(transport.send('nobody', [Buffer.from('x')])).rejects.toMatchObject({
        code: 'unreachable',
      });
      const peer = connect('peer');
      await peer.send([Buffer.from('here')]);
      await next();
      await transport.send('peer', [Buffer.from('x')]);
      expect((await peer.receive())[0]!.toString()).toBe('x');
    });

    test('sends nothing once it is closed; closing twice is fine', async () => {
      const { transport, begin } = await start();
      begin();
      await transport.close();
      await transport.close();
      await expect(transport.send('peer', [Buffer.from('x')])).rejects.toMatchObject({
        code: 'closed',
      });
    });
  });
}
