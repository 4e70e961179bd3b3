/**
 * Who may connect, where a socket can be reached by others: CURVE keys (encrypted, for other
 * machines), or a token (the PLAIN mechanism: for loopback, or through a tunnel that encrypts).
 * libzmq asks a ZAP handler (RFC 27) at `inproc://zeromq.zap.01` about every connection; this is
 * that handler. A peer that is not let in can send no message at all.
 */
import { timingSafeEqual } from 'node:crypto';
import { curveKeyPair, Reply, type Router } from 'zeromq';
import { BridgeError } from './errors.ts';

export interface CurveServer {
  /** Of the controller, Z85, 40 characters each; see `curveKeys`. */
  readonly publicKey: string;
  readonly secretKey: string;
  /** Public keys of the workers that may connect, Z85. */
  readonly allowedKeys: readonly string[];
}

/** A new pair of keys, Z85. */
export function curveKeys(): { publicKey: string; secretKey: string } {
  return curveKeyPair();
}

/** The user name of PLAIN; the token is the password. */
export const TOKEN_USER = 'genac';

const ZAP_ENDPOINT = 'inproc://zeromq.zap.01';
const Z85 = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#';

/** May a peer of this mechanism with these credentials come in? */
type Check = (mechanism: string, credentials: readonly Buffer[]) => boolean;

interface Handler {
  readonly socket: Reply;
  /** Whoever connects before is turned away, also with the right token. */
  readonly bound: Promise<void>;
  readonly answering: Promise<void>;
}

/** By ZAP domain. One handler is all that libzmq allows in a process, so all sockets share it. */
const checks = new Map<string, Check>();
let handler: Handler | null = null;
let domains = 0;

/** Makes `router` (not bound yet) ask for keys. Returns what ends the guard. */
export function guardWithCurve(router: Router, server: CurveServer): Promise<() => Promise<void>> {
  const allowed = new Set(server.allowedKeys.map((key) => z85Decode(key).toString('hex')));
  router.curveServer = true;
  router.curveSecretKey = server.secretKey;
  return guard(
    router,
    (mechanism, [key]) => mechanism === 'CURVE' && allowed.has(key?.toString('hex') ?? ''),
  );
}

/** Makes `router` (not bound yet) ask for a token, of every peer. Returns what ends the guard. */
export function guardWithToken(router: Router, token: string): Promise<() => Promise<void>> {
  const expected = Buffer.from(token);
  router.plainServer = true;
  return guard(router, (mechanism, [user, given]) => {
    const known = mechanism === 'PLAIN' && user?.toString() === TOKEN_USER && given !== undefined;
    return known && given.length === expected.length && timingSafeEqual(given, expected);
  });
}

async function guard(router: Router, check: Check): Promise<() => Promise<void>> {
  const domain = `genac-${++domains}`;
  checks.set(domain, check);
  if (handler === null) {
    const socket = new Reply({ linger: 0 });
    const bound = bindWhenFree(socket);
    handler = { socket, bound, answering: bound.then(() => answer(socket)) };
    handler.answering.catch(() => {});
  }
  const end = async () => {
    checks.delete(domain);
    if (checks.size > 0 || handler === null) return;
    const { socket, answering } = handler;
    handler = null;
    socket.close();
    await answering.catch(() => {});
  };
  try {
    await handler.bound;
  } catch (error) {
    await end();
    throw error;
  }
  router.zapDomain = domain;
  return end;
}

/**
 * A handler that was closed just now is taken down by another thread, and holds the name until
 * then.
 */
async function bindWhenFree(socket: Reply): Promise<void> {
  for (let attempt = 0; !socket.closed; attempt++) {
    try {
      return await socket.bind(ZAP_ENDPOINT);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
      if (attempt === 200)
        throw new Error(
          'something else in this process checks the keys of ZeroMQ connections (it holds ' +
            `${ZAP_ENDPOINT}), and there can be one: close it first`,
        );
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

async function answer(socket: Reply): Promise<void> {
  for await (const [version, requestId, domain, , , mechanism, ...credentials] of socket) {
    const check = checks.get(domain?.toString() ?? '');
    const known = check?.(mechanism?.toString() ?? '', credentials) ?? false;
    const [status, text] = known ? ['200', 'OK'] : ['400', 'this key or token is not known'];
    await socket.send([version ?? '1.0', requestId ?? '', status!, text!, '', '']);
  }
}

/** 40 characters to 32 bytes (RFC 32). */
function z85Decode(text: string): Buffer {
  if (text.length !== 40 || [...text].some((character) => !Z85.includes(character))) {
    throw new BridgeError(
      'refused',
      `${JSON.stringify(text)} is not a CURVE public key (40 characters of Z85)`,
    );
  }
  const bytes = Buffer.alloc(32);
  for (let block = 0; block < 8; block++) {
    let value = 0;
    for (const character of text.slice(block * 5, block * 5 + 5))
      value = value * 85 + Z85.indexOf(character);
    bytes.writeUInt32BE(value, block * 4);
  }
  return bytes;
}
