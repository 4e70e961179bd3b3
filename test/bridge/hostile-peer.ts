/** A peer that writes ZMTP byte by byte, as no library would let it. */
import { createConnection, type Socket } from 'node:net';

/** The header of a frame, whether or not a body follows. Flags: 1 more, 4 command. */
export function header(size: number, flags = 0): Buffer {
  const bytes = Buffer.alloc(9);
  bytes[0] = flags | 2;
  bytes.writeBigUInt64BE(BigInt(size), 1);
  return bytes;
}

const greeting = Buffer.concat([
  Buffer.from([0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 1]),
  Buffer.from('PLAIN'.padEnd(20, '\0')),
  Buffer.alloc(32),
]);

const short = (text: string) => Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]);

function command(name: string, ...data: Buffer[]): Buffer {
  const body = Buffer.concat([short(name), ...data]);
  return Buffer.concat([Buffer.from([4, body.length]), body]);
}

function property(name: string, value: string): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32BE(value.length);
  return Buffer.concat([short(name), size, Buffer.from(value)]);
}

export class HostilePeer {
  readonly socket: Socket;
  readonly piece: number;
  /** Bytes that were given to the operating system. */
  sent = 0;
  readonly closed: Promise<void>;

  /** @param piece bytes of the handshake that are written at once */
  constructor(endpoint: string, piece = 1024) {
    this.piece = piece;
    const { hostname, port } = new URL(endpoint.replace('tcp:', 'http:'));
    this.socket = createConnection({ host: hostname, port: Number(port) });
    this.socket.on('error', () => {}).resume();
    this.closed = new Promise((resolve) => this.socket.once('close', () => resolve()));
  }

  greet(): void {
    void this.#write(greeting);
  }

  async #write(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; at += this.piece) {
      this.socket.write(bytes.subarray(at, at + this.piece));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** The whole handshake, with a token that is known. Rejects if it is disconnected meanwhile. */
  async enter(token: string, identity: string): Promise<void> {
    await this.#write(greeting);
    const welcomed = this.#heard('WELCOME');
    await this.#write(command('HELLO', short('genac'), short(token)));
    await welcomed;
    const metadata = [property('Socket-Type', 'DEALER'), property('Identity', identity)];
    const ready = this.#heard('READY');
    await this.#write(command('INITIATE', ...metadata));
    await ready;
  }

  #heard(word: string): Promise<void> {
    return new Promise((resolve, reject) => {
      void this.closed.then(() => reject(new Error(`disconnected before it heard ${word}`)));
      const listen = (bytes: Buffer) => {
        if (!bytes.includes(word)) return;
        this.socket.off('data', listen);
        resolve();
      };
      this.socket.on('data', listen);
    });
  }

  /** Writes the same bytes until it is disconnected, or `most` bytes have gone. */
  async flood(bytes: Buffer, most: number): Promise<void> {
    while (!this.socket.destroyed && this.sent < most) {
      const written = new Promise((resolve) => this.socket.write(bytes, resolve));
      this.sent += bytes.length;
      await Promise.race([written, this.closed]);
      await new Promise((resolve) => setImmediate(resolve)); // the gate is in this process too
    }
  }
}
