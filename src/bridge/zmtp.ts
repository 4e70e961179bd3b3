/**
 * What the bytes of one direction of a ZMTP 3 connection say (https://rfc.zeromq.org/spec/23), as
 * far as they have come.
 */

export interface ZmtpFrame {
  /** A command's name, such as `READY`; null: a frame of a message. */
  readonly command: string | null;
  /** A command's data, or the message frame's; what has come of it. */
  readonly body: Buffer;
  /** Has all of it come? */
  readonly whole: boolean;
}

export interface Zmtp {
  /** Such as `PLAIN`; null: the greeting is not complete. */
  readonly mechanism: string | null;
  /** In their order. The last may have begun only. */
  readonly frames: readonly ZmtpFrame[];
}

const GREETING = 64;
const [LONG, COMMAND] = [2, 4];

/** @returns null: this is not ZMTP 3 */
export function readZmtp(bytes: Buffer): Zmtp | null {
  const wrong = (place: number, fits: (byte: number) => boolean) =>
    bytes.length > place && !fits(bytes[place]!);
  const isOne = (byte: number) => byte === 0xff;
  if (wrong(0, isOne) || wrong(9, (byte) => byte === 0x7f) || wrong(10, (byte) => byte >= 3))
    return null;
  if (bytes.length < GREETING) return { mechanism: null, frames: [] };
  const mechanism = bytes.toString('latin1', 12, 32).replace(/\0+$/, '');
  const frames: ZmtpFrame[] = [];
  let at = GREETING;
  while (at < bytes.length) {
    const flags = bytes[at]!;
    const header = flags & LONG ? 9 : 2;
    if (bytes.length < at + header) break;
    const size = flags & LONG ? Number(bytes.readBigUInt64BE(at + 1)) : bytes[at + 1]!;
    const end = at + header + size;
    const content = bytes.subarray(at + header, Math.min(bytes.length, end));
    const whole = end <= bytes.length;
    frames.push({
      ...(flags & COMMAND ? commandOf(content) : { command: null, body: content }),
      whole,
    });
    at += header + size;
  }
  return { mechanism, frames };
}

function commandOf(content: Buffer): Pick<ZmtpFrame, 'command' | 'body'> {
  const end = 1 + (content[0] ?? 0);
  return { command: content.toString('latin1', 1, end), body: content.subarray(end) };
}

/**
 * The routing id in the metadata of an `INITIATE`, as latin1; null: it names none, or is encrypted.
 */
export function identityOf(metadata: Buffer): string | null {
  let at = 0;
  while (at < metadata.length) {
    const valueAt = at + 1 + metadata[at]! + 4;
    if (valueAt > metadata.length) return null;
    const name = metadata.toString('latin1', at + 1, valueAt - 4);
    const end = valueAt + metadata.readUInt32BE(valueAt - 4);
    if (end > metadata.length) return null;
    if (name.toLowerCase() === 'identity') return metadata.toString('latin1', valueAt, end) || null;
    at = end;
  }
  return null;
}
