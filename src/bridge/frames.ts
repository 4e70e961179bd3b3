/**
 * A message to frames and back: `[header: msgpack] [tensor 0] [tensor 1] ...`, over TCP a tensor of
 * more than `FRAME_BYTES` in several frames. Nothing of the outside is believed: sizes, msgpack,
 * schema and the number and lengths of the frames are checked, in this order, and each refusal is a
 * `BridgeError` with code `bad_message`.
 */
import { Packr } from 'msgpackr';
import type { z } from 'zod';
import { BridgeError, reasonOf } from './errors.ts';
import type { Dtype, Message, TensorHeader } from './messages.ts';
import { arrayTypes, dtypeOf, type Tensor, type Tensors, type TypedArray } from './tensor.ts';

/** Of a peer that has not been greeted: `hello` is small, and one frame. */
export const STRANGER_LIMITS: Limits = { maxMessageBytes: 16_384, maxFrames: 1 };

export interface Limits {
  /** Bytes of all frames of one message together. */
  readonly maxMessageBytes: number;
  /** Default: as many as the header describes. */
  readonly maxFrames?: number;
}

type WithoutTensors<M> = M extends { tensors: TensorHeader[] } ? Omit<M, 'tensors'> : M;
/** A message before it is framed: the tensors' descriptions are made from the tensors. */
export type Outgoing<M extends Message = Message> = WithoutTensors<M>;

export interface Decoded<M> {
  readonly message: M;
  readonly tensors: Tensors;
}

/**
 * Entries, counting a size of 0 as 1: what is more fits into no memory, and some libraries refuse
 * it.
 */
const LARGEST_SHAPE = 2 ** 40;
/**
 * Of a frame over TCP. ZeroMQ's heartbeats travel between frames, and a connection on which no
 * whole frame arrives in time is dropped: the size of a message must not matter for that.
 */
export const FRAME_BYTES = 2 ** 20;

if (new Uint8Array(new Uint16Array([1]).buffer)[0] !== 1) {
  throw new BridgeError(
    'refused',
    'the bridge sends little-endian arrays as they lie in memory; this machine is big-endian',
  );
}

// `variableMapSize`: the shortest form of a map, as Python's msgspec writes it, so that both sides
// make the same bytes.
const packr = new Packr({
  useRecords: false,
  encodeUndefinedAsNil: true,
  int64AsType: 'number',
  variableMapSize: true,
});

/**
 * Frames of a message. Tensors are not copied: from now on their memory belongs to the bridge and
 * must not be written until the message is answered (sockets send it later, and a lost message is
 * sent again).
 */
export function encode(message: Outgoing, tensors: Tensors = {}): Buffer[] {
  const entries = Object.entries(tensors);
  const carriesTensors = ['request', 'ask', 'reverse_request', 'result', 'partial'].includes(
    message.type,
  );
  if (!carriesTensors) return [packr.pack(widen(message))];
  const descriptions = entries.map(([name, tensor]) => describe(name, tensor));
  const frames = entries.map(([, { data }]) =>
    Buffer.from(data.buffer, data.byteOffset, data.byteLength),
  );
  return [packr.pack(widen({ ...message, tensors: descriptions })), ...frames];
}

/** The frames of a message as they travel over TCP: tensors in pieces, the header whole. */
export function inPieces([header, ...frames]: readonly Buffer[]): Buffer[] {
  const piecesOf = (bytes: Buffer) => {
    const count = Math.max(1, Math.ceil(bytes.byteLength / FRAME_BYTES));
    return Array.from({ length: count }, (_, index) =>
      bytes.subarray(index * FRAME_BYTES, (index + 1) * FRAME_BYTES),
    );
  };
  return [header!, ...frames.flatMap(piecesOf)];
}

function describe(name: string, { data, shape }: Tensor): TensorHeader {
  if (product(shape) !== data.length) {
    throw new BridgeError(
      'bad_message',
      `tensor ${name} has ${data.length} entries, but its shape [${shape.join(', ')}] asks ` +
        `for ${product(shape)}`,
    );
  }
  return { name, dtype: dtypeOf(data), shape: [...shape] };
}

/**
 * The message and its tensors; throws `BridgeError` (`bad_message`) for anything that isn't exactly
 * right.
 */
export function decode<S extends z.ZodType<Message>>(
  frames: readonly Buffer[],
  schema: S,
  limits: Limits,
): Decoded<z.output<S>> {
  const { maxFrames = Number.POSITIVE_INFINITY } = limits;
  if (frames.length > maxFrames) {
    throw new BridgeError(
      'bad_message',
      `a message of ${frames.length} frames exceeds ${maxFrames}`,
    );
  }
  const bytes = sizeOf(frames);
  if (bytes > limits.maxMessageBytes) {
    throw new BridgeError(
      'bad_message',
      `a message of ${bytes} bytes exceeds the limit of ${limits.maxMessageBytes}`,
    );
  }
  const parsed = schema.safeParse(unpack(frames[0]));
  if (!parsed.success)
    throw new BridgeError('bad_message', `not a valid message: ${describeIssues(parsed.error)}`);
  const message = parsed.data;
  return { message, tensors: readTensors('tensors' in message ? message.tensors : [], frames) };
}

function unpack(header: Buffer | undefined): unknown {
  if (header === undefined) throw new BridgeError('bad_message', 'a message without a header');
  try {
    return packr.unpack(header);
  } catch (error) {
    throw new BridgeError('bad_message', `the header is not msgpack: ${reasonOf(error)}`);
  }
}

function readTensors(headers: readonly TensorHeader[], frames: readonly Buffer[]): Tensors {
  const wrongNumber = () =>
    new BridgeError(
      'bad_message',
      `the header describes ${headers.length} tensors, but ${frames.length - 1} frames follow it`,
    );
  const tensors: Record<string, Tensor> = Object.create(null);
  let at = 1;
  for (const header of headers) {
    if (header.name in tensors)
      throw new BridgeError('bad_message', `two tensors are named ${header.name}`);
    const pieces = frames.slice(at, at + pieceCount(header, frames, at));
    at += pieces.length;
    if (pieces.length === 0) throw wrongNumber();
    const frame = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
    tensors[header.name] = { data: view(header, frame), shape: header.shape };
  }
  if (at !== frames.length) throw wrongNumber();
  return tensors;
}

/** How many frames from `at` on are this tensor's: all but the last have `FRAME_BYTES`. */
function pieceCount({ name, dtype, shape }: TensorHeader, frames: readonly Buffer[], at: number) {
  if (product(shape.map((size) => Math.max(size, 1))) > LARGEST_SHAPE) {
    throw new BridgeError(
      'bad_message',
      `tensor ${name} can't have the shape [${shape.join(', ')}]`,
    );
  }
  const bytes = product(shape) * arrayTypes[dtype].BYTES_PER_ELEMENT;
  let count = 1;
  while (count * FRAME_BYTES < bytes && frames[at + count - 1]?.byteLength === FRAME_BYTES) count++;
  return count;
}

/** The frame as a typed array: of the same memory where its alignment allows, else of a copy. */
function view({ name, dtype, shape }: TensorHeader, frame: Buffer): TypedArray {
  const itemSize = arrayTypes[dtype].BYTES_PER_ELEMENT;
  const length = product(shape);
  if (frame.byteLength !== length * itemSize) {
    throw new BridgeError(
      'bad_message',
      `tensor ${name} is ${dtype} [${shape.join(', ')}], ${length * itemSize} bytes, but its ` +
        `frame has ${frame.byteLength}`,
    );
  }
  if (frame.byteOffset % itemSize === 0)
    return arrayOf(dtype, frame.buffer as ArrayBuffer, frame.byteOffset, length);
  const copy = new Uint8Array(frame.byteLength);
  copy.set(frame);
  return arrayOf(dtype, copy.buffer, 0, length);
}

function arrayOf(dtype: Dtype, buffer: ArrayBuffer, offset: number, length: number): TypedArray {
  return new arrayTypes[dtype](buffer, offset, length);
}

/** Bytes of all frames together. */
export function sizeOf(frames: readonly Buffer[]): number {
  let bytes = 0;
  for (const frame of frames) bytes += frame.byteLength;
  return bytes;
}

/** The request that an unreadable message speaks of, if that much can be read. */
export function readableId(frames: readonly Buffer[]): string | null {
  try {
    const header: unknown = packr.unpack(frames[0]!);
    const id = typeof header === 'object' && header !== null && 'id' in header ? header.id : null;
    return typeof id === 'string' ? id : null;
  } catch {
    return null;
  }
}

/** zod's issues in one line: `arguments.seed: expected int, received string`. */
export function describeIssues(error: z.ZodError): string {
  return error.issues
    .slice(0, 4)
    .map((issue) => `${issue.path.join('.') || 'message'}: ${issue.message}`)
    .join('; ');
}

function product(shape: readonly number[]): number {
  return shape.reduce((all, one) => all * one, 1);
}

/**
 * What the wire needs: msgpackr writes an integer of more than 32 bits as a float, and a bigint
 * stays an integer, which Python needs (seeds, byte counts); half of a surrogate pair has no UTF-8,
 * and becomes U+FFFD. Returns the value itself where there is nothing to change.
 */
function widen(value: unknown): unknown {
  if (typeof value === 'string') return value.toWellFormed();
  if (typeof value === 'number') {
    return Number.isSafeInteger(value) && (value > 0xffff_ffff || value < -0x8000_0000)
      ? BigInt(value)
      : value;
  }
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) {
    const widened = value.map(widen);
    return widened.some((item, index) => item !== value[index]) ? widened : value;
  }
  let copy: Record<string, unknown> | null = null;
  for (const [key, item] of Object.entries(value)) {
    const widened = widen(item);
    const name = key.toWellFormed();
    if (widened === item && name === key) continue;
    copy ??= { ...value };
    if (name !== key) delete copy[key];
    copy[name] = widened;
  }
  return copy ?? value;
}
