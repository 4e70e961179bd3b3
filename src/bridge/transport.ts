/**
 * The controller's end of the wire, beneath messages: frames to and from named peers. Held to by
 * `test/bridge/transport-conformance.ts`.
 */

/** Something happened to a connection. For logs; who is alive is decided by `link.ts`. */
export interface ConnectionEvent {
  readonly kind: 'connected' | 'disconnected' | 'refused';
  readonly detail: string;
}

export interface TransportHandlers {
  /**
   * Called for each message, in each peer's order. `identity` names the peer; every start of a
   * worker has its own.
   */
  message(identity: string, frames: Buffer[]): void;
  connection(event: ConnectionEvent): void;
}

export interface Transport {
  /** Where workers connect to. */
  readonly endpoints: readonly string[];
  /** Begins to deliver. To be called once; what came before is delivered then. */
  start(handlers: TransportHandlers): void;
  /**
   * Hands the frames over, in the order of the calls; those behind the first may arrive in pieces
   * (`frames.ts`). The frames' memory must not be written afterwards. Rejects with `BridgeError`:
   * `unreachable` when no such peer is connected, `closed` after `close`.
   */
  send(identity: string, frames: readonly Buffer[]): Promise<void>;
  /** The peer is known: limits for strangers, where there are any, end for it. */
  admit(identity: string): void;
  /**
   * Sends nothing more, delivers nothing more, and frees what it holds (sockets, folders). May be
   * called twice.
   */
  close(): Promise<void>;
}
