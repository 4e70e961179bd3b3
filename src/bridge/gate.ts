/**
 * The door of a TCP endpoint: it counts what a peer sends before it is known, which ZeroMQ has no
 * limits for, and hands the bytes to the local socket. Until ZeroMQ has let it in (by token or key)
 * a peer may send a handshake; until the controller has greeted it, a few small messages. Whoever
 * sends more, or takes too long, is disconnected; after that its bytes pass through.
 *
 * With CURVE messages can't be looked into, and a peer is known as soon as its key is.
 */
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { identityOf, readZmtp } from './zmtp.ts';

/** Bytes of a handshake; CURVE's, the longest, takes about 700. */
const HANDSHAKE_BYTES = 4_096;
/** Bytes and frames, the handshake's among them, before the controller's greeting. */
const GREETING_BYTES = 65_536;
const GREETING_FRAMES = 64;
/** From the connection to the greeting. */
const GREETING_MS = 30_000;
/** Of peers that are not greeted yet. One more, and the one that waits longest is disconnected. */
const STRANGERS = 64;

export interface GateOptions {
  /** `tcp://HOST:PORT`; port `*`: any free one. */
  readonly endpoint: string;
  /** The local socket that peers are led to. */
  readonly path: string;
  /** Called with the reason of each disconnection. */
  readonly refused: (detail: string) => void;
  readonly greetingMs?: number;
}

export class Gate {
  /** With the port that was taken. */
  readonly endpoint: string;
  readonly #server: Server;
  readonly #options: GateOptions;
  readonly #visits = new Set<Visit>();
  /** Routing ids of those who were greeted: they may connect again. */
  readonly #admitted = new Set<string>();

  private constructor(server: Server, options: GateOptions) {
    const { address, family, port } = server.address() as {
      address: string;
      family: string;
      port: number;
    };
    this.endpoint = `tcp://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
    this.#server = server;
    this.#options = options;
    server.on('connection', (client) => this.#take(client));
  }

  /** Rejects where the address can't be listened on. */
  static async listen(options: GateOptions): Promise<Gate> {
    const [, host, port] = /^tcp:\/\/(.+):(\d+|\*)$/.exec(options.endpoint)!;
    const server = createServer({ noDelay: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port === '*' ? 0 : Number(port), addressOf(host!), resolve);
    });
    return new Gate(server, options);
  }

  /** The peer of this routing id was greeted: it may send what it likes, after a reconnect too. */
  admit(identity: string): void {
    this.#admitted.add(identity);
    for (const visit of this.#visits) if (visit.identity === identity) visit.admit();
  }

  /** Listens no more; what was sent before is given a moment to leave. */
  async close(): Promise<void> {
    this.#server.close();
    const closed = Promise.all([...this.#visits].map((visit) => visit.closed));
    await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 100))]);
    for (const visit of this.#visits) visit.end();
  }

  #take(client: Socket): void {
    const { path, refused, greetingMs = GREETING_MS } = this.#options;
    const known = (identity: string) => this.#admitted.has(identity);
    // Each holds three file descriptors of a process that has a limited number of them.
    const strangers = [...this.#visits].filter((other) => !other.isKnown);
    if (strangers.length >= STRANGERS) {
      strangers[0]!.refuse(`${STRANGERS} others are not greeted yet, and it waited longest`);
      this.#visits.delete(strangers[0]!);
    }
    const visit = new Visit(client, createConnection({ path }), { refused, greetingMs, known });
    this.#visits.add(visit);
    void visit.closed.then(() => this.#visits.delete(visit));
  }
}

interface VisitOptions {
  readonly refused: (detail: string) => void;
  readonly greetingMs: number;
  /** Was a peer of this routing id greeted before? */
  readonly known: (identity: string) => boolean;
}

/** One connection of a peer, and its other half to the local socket. */
class Visit {
  identity: string | null = null;
  readonly closed: Promise<void>;
  readonly #client: Socket;
  readonly #socket: Socket;
  readonly #options: VisitOptions;
  readonly #timer: NodeJS.Timeout;
  /** Bytes of each side until the peer is known. */
  #said = Buffer.alloc(0);
  #answered = Buffer.alloc(0);
  #letIn = false;
  #admitted = false;

  constructor(client: Socket, socket: Socket, options: VisitOptions) {
    this.#client = client;
    this.#socket = socket;
    this.#options = options;
    this.#timer = setTimeout(
      () => this.refuse(`it was not greeted within ${options.greetingMs / 1000} s`),
      options.greetingMs,
    );
    this.closed = new Promise((resolve) => client.once('close', () => resolve()));
    for (const one of [client, socket])
      one.on('error', () => this.end()).once('close', () => this.end());
    client.on('data', this.#listen);
    socket.on('data', this.#overhear);
    socket.pipe(client);
  }

  get isKnown(): boolean {
    return this.#admitted;
  }

  admit(): void {
    if (this.#admitted) return;
    this.#admitted = true;
    clearTimeout(this.#timer);
    this.#client.off('data', this.#listen);
    this.#socket.off('data', this.#overhear);
    this.#said = this.#answered = Buffer.alloc(0);
    this.#client.pipe(this.#socket);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#socket.destroy();
    // What was written to it before still leaves.
    this.#client.destroySoon();
  }

  refuse(why: string): void {
    if (!this.#client.destroyed) this.#options.refused(`${this.#client.remoteAddress}: ${why}`);
    this.#client.destroy();
    this.end();
  }

  readonly #listen = (chunk: Buffer): void => {
    this.#said = Buffer.concat([this.#said, chunk]);
    const heard = readZmtp(this.#said);
    const [most, when] = this.#letIn
      ? [GREETING_BYTES, 'before it was greeted']
      : [HANDSHAKE_BYTES, 'in its handshake'];
    if (heard === null) this.refuse('it does not speak ZMTP 3');
    else if (heard.frames.length > GREETING_FRAMES)
      this.refuse(`it sent more than ${GREETING_FRAMES} frames ${when}`);
    else if (this.#said.length > most) this.refuse(`it sent more than ${most} bytes ${when}`);
    else {
      this.#socket.write(chunk);
      const initiate = heard.frames.find(({ command, whole }) => whole && command === 'INITIATE');
      if (initiate) this.identity ??= identityOf(initiate.body);
      if (initiate && heard.mechanism !== 'CURVE' && this.identity === null) {
        this.refuse('it has no routing id, by which it could be known: set one (its start_id)');
        return;
      }
      this.#look(heard.mechanism);
    }
  };

  readonly #overhear = (chunk: Buffer): void => {
    if (this.#letIn) return;
    this.#answered = Buffer.concat([this.#answered, chunk]);
    const heard = readZmtp(this.#answered);
    this.#letIn = heard?.frames.some(({ command }) => command === 'READY') ?? false;
    this.#look(heard?.mechanism ?? null);
  };

  /** Is the peer known by now? */
  #look(mechanism: string | null): void {
    const { identity } = this;
    const known = mechanism === 'CURVE' || (identity !== null && this.#options.known(identity));
    if (this.#letIn && known) this.admit();
  }
}

/**
 * Of a host as ZeroMQ writes it: `*`, a name of a network interface, `[::1]`, or what DNS knows.
 */
function addressOf(host: string): string {
  if (host === '*') return '0.0.0.0';
  if (host === 'localhost') return '127.0.0.1';
  return networkInterfaces()[host]?.[0]?.address ?? host.replace(/^\[|\]$/g, '');
}
