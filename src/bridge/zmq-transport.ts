/**
 * The transport over ZeroMQ: one ROUTER that binds, one reader loop, one queue of sends. Peers on
 * TCP come through a gate that holds them to small limits until they are known. Never use it in a
 * worker_thread: zeromq's native sockets crash there.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Router } from 'zeromq';
import { type CurveServer, guardWithCurve, guardWithToken } from './authentication.ts';
import { BridgeError, reasonOf } from './errors.ts';
import { inPieces } from './frames.ts';
import { Gate } from './gate.ts';
import { folderPrefix, removeLeftovers } from './leftovers.ts';
import type { Transport, TransportHandlers } from './transport.ts';

export interface ZmqOptions {
  /**
   * TCP endpoint beside the local `ipc://` one, such as `tcp://127.0.0.1:5555` (`:*`: any free
   * port).
   */
  readonly tcp?: string | undefined;
  /**
   * Keys and the list of allowed workers. Needed for TCP beyond loopback; it then holds for every
   * connection.
   */
  readonly curve?: CurveServer | undefined;
  /**
   * What every peer must show, where there are no CURVE keys. Needed for TCP: whoever is on this
   * machine can connect to it.
   */
  readonly token?: string | undefined;
  /** Bytes of one frame; a peer that sends more is disconnected. */
  readonly maxMessageBytes: number;
}

/** Socket paths are limited to about 107 bytes by the operating system. */
const LONGEST_SOCKET_PATH = 100;

/**
 * Binds `ipc://` in a folder of mode 0700 that is removed on close (those of killed processes: by
 * the next that binds), and `tcp` if it is given. Throws `BridgeError` (`refused`) for TCP on
 * loopback without a token or keys, for TCP beyond it without CURVE keys, and for an address that
 * can't be bound.
 */
export async function bindZmq(options: ZmqOptions): Promise<Transport> {
  if (options.tcp !== undefined) refuseUnprotected(options.tcp, options);
  const parent = shortTemporaryFolder();
  await removeLeftovers(parent);
  const folder = await mkdtemp(join(parent, folderPrefix)).catch((error: NodeJS.ErrnoException) => {
    throw new BridgeError(
      'refused',
      `no folder for sockets can be made in ${parent} (${error.code}): set TMPDIR to a ` +
        'folder that you can write to',
    );
  });
  const router = new Router({
    mandatory: true,
    handover: true,
    sendTimeout: 0,
    linger: 0,
    // No limit: requests are bounded by their senders, and a full queue would drop messages.
    sendHighWaterMark: 0,
    receiveHighWaterMark: 0,
    maxMessageSize: options.maxMessageBytes,
    // No heartbeats from here: a peer over TCP sends them (`connection.py`), and they say after how
    // long this side drops it. On this machine the kernel tells when a process has ended, and one
    // that is stopped (Ctrl-Z) keeps its connection.
  });
  const { curve, token } = options;
  let stopGuard: (() => Promise<void>) | null = null;
  const path = join(folder, 'socket');
  const refusals: Refusals = { report: () => {} };
  let gate: Gate | null = null;
  const release = async () => {
    router.close();
    await gate?.close();
    await stopGuard?.();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    if (curve !== undefined) stopGuard = await guardWithCurve(router, curve);
    else if (token !== undefined) stopGuard = await guardWithToken(router, token);
    await router.bind(`ipc://${path}`);
    if (options.tcp !== undefined) {
      const refused = (detail: string) => refusals.report(detail);
      gate = await Gate.listen({ endpoint: options.tcp, path, refused });
    }
  } catch (error) {
    await release();
    throw new BridgeError(
      'refused',
      `can't listen on ${options.tcp ?? folder}: ${reasonOf(error)}`,
    );
  }
  return new ZmqTransport(router, `ipc://${path}`, gate, refusals, release);
}

/** Receives the gate's refusals; replaced once the transport has a handler. */
interface Refusals {
  report: (detail: string) => void;
}

class ZmqTransport implements Transport {
  readonly endpoints: readonly string[];
  readonly #router: Router;
  readonly #gate: Gate | null;
  readonly #refusals: Refusals;
  readonly #release: () => Promise<void>;
  #sends: Promise<void> = Promise.resolve();
  #closed: Promise<void> | null = null;

  constructor(
    router: Router,
    local: string,
    gate: Gate | null,
    refusals: Refusals,
    release: () => Promise<void>,
  ) {
    this.#router = router;
    this.endpoints = gate ? [local, gate.endpoint] : [local];
    this.#gate = gate;
    this.#refusals = refusals;
    this.#release = release;
  }

  admit(identity: string): void {
    this.#gate?.admit(identity);
  }

  start(handlers: TransportHandlers): void {
    const { events } = this.#router;
    events.on('accept', ({ address }) =>
      handlers.connection({ kind: 'connected', detail: address }),
    );
    events.on('disconnect', ({ address }) =>
      handlers.connection({ kind: 'disconnected', detail: address }),
    );
    for (const kind of [
      'handshake:error:protocol',
      'handshake:error:auth',
      'handshake:error:other',
    ] as const) {
      events.on(kind, ({ address }) =>
        handlers.connection({ kind: 'refused', detail: `${address} (${kind})` }),
      );
    }
    this.#refusals.report = (detail) => handlers.connection({ kind: 'refused', detail });
    void this.#read(handlers);
  }

  async #read(handlers: TransportHandlers): Promise<void> {
    try {
      for await (const [identity, ...frames] of this.#router) {
        if (this.#closed !== null) return;
        handlers.message(identity!.toString('latin1'), frames);
      }
    } catch (error) {
      // A socket that is closed while messages still arrive says so to who reads from it.
      if (this.#closed === null) throw error;
    }
  }

  send(identity: string, frames: readonly Buffer[]): Promise<void> {
    if (this.#closed !== null)
      return Promise.reject(new BridgeError('closed', 'the transport is closed'));
    const sent = this.#sends.then(() => this.#sendNow(identity, frames));
    this.#sends = sent.catch(() => {});
    return sent;
  }

  async #sendNow(identity: string, frames: readonly Buffer[]): Promise<void> {
    try {
      // Behind the gate are peers over TCP.
      const sent = this.#gate === null ? frames : inPieces(frames);
      await this.#router.send([Buffer.from(identity, 'latin1'), ...sent]);
    } catch (error) {
      throw new BridgeError('unreachable', `no peer ${identity} is connected (${reasonOf(error)})`);
    }
  }

  close(): Promise<void> {
    // What was handed over before is given to the socket first.
    this.#closed ??= this.#sends.then(() => this.#release());
    return this.#closed;
  }
}

function shortTemporaryFolder(): string {
  const folder = tmpdir();
  return folder.length + `/${folderPrefix}xxxxxx/socket`.length <= LONGEST_SOCKET_PATH
    ? folder
    : '/tmp';
}

function refuseUnprotected(
  endpoint: string,
  { curve, token }: Pick<ZmqOptions, 'curve' | 'token'>,
): void {
  const host = /^tcp:\/\/(.+):(\d+|\*)$/.exec(endpoint)?.[1];
  if (host === undefined)
    throw new BridgeError('refused', `${endpoint} is not of the form tcp://HOST:PORT`);
  const loopback = host === 'localhost' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host);
  if (loopback && curve === undefined && !token) {
    throw new BridgeError(
      'refused',
      `${endpoint} can be reached by every user of this machine, and whoever reaches it can ` +
        'have code run here: give a token, or CURVE keys',
    );
  }
  if (!loopback && curve === undefined) {
    throw new BridgeError(
      'refused',
      `${endpoint} can be reached from other machines, and whoever reaches it can pose as a ` +
        'worker: give CURVE keys, or listen on 127.0.0.1 and use an SSH tunnel',
    );
  }
}
