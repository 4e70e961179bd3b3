import fc from 'fast-check';
import { expect, test } from 'vitest';
import { identityOf, readZmtp } from '../../src/bridge/zmtp.ts';

const greeting = (mechanism: string) =>
  Buffer.concat([
    Buffer.from([0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 1]),
    Buffer.from(mechanism.padEnd(20, '\0')),
    Buffer.alloc(32),
  ]);

/** As libzmq frames it: 9 bytes of header above 255 bytes. */
function frame(body: Buffer, flags = 0): Buffer {
  if (body.length < 256) return Buffer.concat([Buffer.from([flags, body.length]), body]);
  const size = Buffer.alloc(8);
  size.writeBigUInt64BE(BigInt(body.length));
  return Buffer.concat([Buffer.from([flags | 2]), size, body]);
}

const command = (name: string, data: Buffer) =>
  frame(Buffer.concat([Buffer.from([name.length]), Buffer.from(name), data]), 4);

const property = (name: string, value: string) => {
  const size = Buffer.alloc(4);
  size.writeUInt32BE(value.length);
  return Buffer.concat([Buffer.from([name.length]), Buffer.from(name), size, Buffer.from(value)]);
};

const metadata = Buffer.concat([
  property('Socket-Type', 'DEALER'),
  property('Identity', 'start-1'),
]);

test('frames and commands are read, however far the bytes have come', () => {
  const bodies = fc.array(fc.uint8Array({ maxLength: 600 }), { maxLength: 8 });
  fc.assert(
    fc.property(bodies, fc.nat(), (contents, cut) => {
      const whole = Buffer.concat([
        greeting('PLAIN'),
        command('INITIATE', metadata),
        ...contents.map((body) => frame(Buffer.from(body), 1)),
      ]);
      const read = readZmtp(whole)!;
      expect(read.mechanism).toBe('PLAIN');
      expect(read.frames.map(({ command: name }) => name)).toEqual([
        'INITIATE',
        ...contents.map(() => null),
      ]);
      expect(read.frames.slice(1).map(({ body }) => [...body])).toEqual(
        contents.map((body) => [...body]),
      );
      expect(identityOf(read.frames[0]!.body)).toBe('start-1');
      // Never more than there is, and never an exception.
      const part = readZmtp(whole.subarray(0, cut % (whole.length + 1)))!;
      expect(part.frames.length).toBeLessThanOrEqual(read.frames.length);
    }),
  );
});

test('what is not ZMTP 3 is known by its first bytes', () => {
  expect(readZmtp(Buffer.from('GET / HTTP/1.1'))).toBeNull();
  expect(readZmtp(Buffer.from([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1]))).toBeNull();
  expect(readZmtp(Buffer.from([0xff]))).toEqual({ mechanism: null, frames: [] });
});

test('any bytes after a greeting are read without an exception', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      const read = readZmtp(Buffer.concat([greeting('CURVE'), bytes]))!;
      for (const { body } of read.frames) identityOf(body);
    }),
  );
});

test('metadata without a routing id, or cut off, names none', () => {
  expect(identityOf(property('Socket-Type', 'DEALER'))).toBeNull();
  expect(identityOf(property('Identity', ''))).toBeNull();
  for (let length = 0; length < metadata.length; length++)
    expect(identityOf(metadata.subarray(0, length))).toBeNull();
});
