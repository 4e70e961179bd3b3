/**
 * CURVE for endpoints that other machines can reach: traffic is encrypted, and only workers whose public keys are listed get in. libzmq asks a ZAP
 * handler (RFC 27) at `inproc://zeromq.zap.01` about every connection; this is that handler.
 */
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

const DOMAIN = 'genac';
/** One handler per process is all that libzmq allows, so that a second protected endpoint is refused by its bind. */
const ZAP_ENDPOINT = 'inproc://zeromq.zap.01';
const Z85 = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#';

/** Makes `router` (not bound yet) ask for keys. Returns what ends the guard. */
export async function guardWithCurve(router: Router, server: CurveServer): Promise<() => Promise<void>> {
  const allowed = new Set(server.allowedKeys.map((key) => z85Decode(key).toString('hex')));
  const handler = new Reply({ linger: 0 });
  try {
    await handler.bind(ZAP_ENDPOINT);
  } catch {
    handler.close();
    router.close();
    throw new BridgeError('refused', 'this process listens on a CURVE endpoint already; libzmq allows one');
  }
  router.curveServer = true;
  router.curveSecretKey = server.secretKey;
  router.zapDomain = DOMAIN;
  const answering = answer(handler, allowed);
  return async () => {
    handler.close();
    await answering.catch(() => {});
  };
}

async function answer(handler: Reply, allowed: ReadonlySet<string>): Promise<void> {
  for await (const [version, requestId, domain, , , mechanism, key] of handler) {
    const known =
      domain?.toString() === DOMAIN &&
      mechanism?.toString() === 'CURVE' &&
      allowed.has(key?.toString('hex') ?? '');
    const [status, text] = known ? ['200', 'OK'] : ['400', 'this key is not on the list of workers'];
    await handler.send([version ?? '1.0', requestId ?? '', status!, text!, '', '']);
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
    for (const character of text.slice(block * 5, block * 5 + 5)) value = value * 85 + Z85.indexOf(character);
    bytes.writeUInt32BE(value, block * 4);
  }
  return bytes;
}
