/**
 * Every message of the bridge, as one zod discriminated union: the only source of the wire format.
 * `schema.json` is made from it (`npm run generate`); the Python side is held to it by the golden
 * vectors in `test/fixtures/wire`.
 *
 * On the wire a message is `[header: msgpack of one of these] [tensor 0] [tensor 1] ...`; `tensors`
 * describes the frames that follow.
 */
import { z } from 'zod';
import {
  type HostOperationName,
  hostOperations,
  type ReverseOperationName,
  reverseOperations,
} from './host-operations.ts';
import { type OperationName, operations } from './operations.ts';

/** Raised when a message or an operation changes in a way that an older peer can't read. */
export const PROTOCOL_VERSION = 2;

export const dtypes = ['float32', 'float64', 'int32', 'int64', 'uint8', 'uint32'] as const;

/** Milliseconds that timers can wait: 24 days. */
const milliseconds = z.int().positive().max(0x7fff_ffff);

const tensorHeader = z.strictObject({
  name: z.string().min(1),
  dtype: z.enum(dtypes),
  shape: z.array(z.int().nonnegative()).max(8),
});
const tensors = z.array(tensorHeader).max(64);
const id = z.string().min(1).max(64);
const count = z.int().nonnegative();

export const errorCodes = [
  /** The message or its frames could not be read. */
  'bad_message',
  /** The operation's arguments are wrong: nothing was done. */
  'bad_arguments',
  /**
   * The model's state does not allow it (unknown model, wrong step): nothing was done.
   */
  'bad_state',
  /** Ended by `cancel`. */
  'cancelled',
  /** The request's deadline passed. */
  'deadline',
  /** No memory on the device. */
  'out_of_memory',
  /** The user's function raised. */
  'function_error',
  /** Anything else: a bug, or a failure of a library. */
  'internal',
] as const;

/** What runs now, for progress and liveness. */
const running = z.strictObject({
  id,
  operation: z.string(),
  /** Milliseconds since it started. */
  elapsed_ms: count,
  /** 0..1, or null where the operation can't tell. */
  progress: z.number().min(0).max(1).nullable(),
});

// Worker -> controller

const hello = z.strictObject({
  type: z.literal('hello'),
  name: z.string().min(1).max(128),
  /** Names one start of a worker; a new start has a new one. */
  start_id: z.string().min(1).max(64),
  protocol_min: count,
  protocol_max: count,
  schema_hash: z.string(),
  pid: count,
  host: z.string(),
});

/** Sent once libraries are loaded and operations can be served. */
const ready = z.strictObject({
  type: z.literal('ready'),
  versions: z.record(z.string(), z.string()),
  devices: z.array(
    z.strictObject({
      name: z.string(),
      description: z.string(),
      memory_bytes: count.nullable(),
      bfloat16: z.boolean(),
    }),
  ),
});

const heartbeat = z.strictObject({
  type: z.literal('heartbeat'),
  sequence: count,
  running: running.nullable(),
  queued: count,
});

const partial = z.strictObject({
  type: z.literal('partial'),
  id,
  /** 0, 1, 2, ... within the request. */
  sequence: count,
  data: z.record(z.string(), z.json()),
  tensors,
});

const result = z.strictObject({
  type: z.literal('result'),
  id,
  result: z.record(z.string(), z.json()),
  /** Seconds the operation computed, waiting in the queue not counted. */
  seconds: z.number().nonnegative(),
  tensors,
});

const error = z.strictObject({
  type: z.literal('error'),
  /** null: it belongs to no request (a message that could not be read). */
  id: id.nullable(),
  code: z.enum(errorCodes),
  message: z.string(),
  traceback: z.string().nullable(),
});

const bye = z.strictObject({ type: z.literal('bye'), reason: z.string() });

// Controller -> worker

const welcome = z.strictObject({
  type: z.literal('welcome'),
  protocol: count,
  heartbeat_ms: milliseconds,
  /** A worker that hears nothing of its controller for so long ends itself. */
  controller_timeout_ms: milliseconds,
  max_message_bytes: z.int().positive(),
});

const reject = z.strictObject({
  type: z.literal('reject'),
  code: z.enum(['protocol', 'schema', 'duplicate_name', 'unknown_name', 'bad_message']),
  message: z.string(),
});

const request = z.strictObject({
  type: z.literal('request'),
  id,
  operation: z.enum(Object.keys(operations) as [OperationName, ...OperationName[]]),
  arguments: z.record(z.string(), z.json()),
  /** The worker gives up this long after receipt; null: never. */
  deadline_ms: milliseconds.nullable(),
  tensors,
});

const cancel = z.strictObject({ type: z.literal('cancel'), id });
/** The controller's side of liveness: sent every `heartbeat_ms`. */
const pulse = z.strictObject({ type: z.literal('pulse'), sequence: count });
/** Finish what is queued, take nothing new, then `bye`. */
const drain = z.strictObject({ type: z.literal('drain') });
/** End now: cancel what runs, `bye`, exit. */
const shutdown = z.strictObject({ type: z.literal('shutdown'), reason: z.string() });

// Host (a trainer of its own that lets the controller assign credit) -> controller. It says `hello`
// first and `bye` at the end, and is answered by `welcome` or `reject`, and by `result`, `partial`
// and `error`.

const ask = z.strictObject({
  type: z.literal('ask'),
  id,
  operation: z.enum(Object.keys(hostOperations) as [HostOperationName, ...HostOperationName[]]),
  arguments: z.record(z.string(), z.json()),
  tensors,
});

/**
 * What the controller asks of a host while it serves an ask of that host. The host answers with
 * `result` or `error` before the ask has its own answer. After a reconnect the controller sends it
 * again, with the same id; the host serves it once.
 */
const reverseRequest = z.strictObject({
  type: z.literal('reverse_request'),
  id,
  operation: z.enum(
    Object.keys(reverseOperations) as [ReverseOperationName, ...ReverseOperationName[]],
  ),
  arguments: z.record(z.string(), z.json()),
  tensors,
});

export const fromWorker = z.discriminatedUnion('type', [
  hello,
  ready,
  heartbeat,
  partial,
  result,
  error,
  bye,
]);
export const fromController = z.discriminatedUnion('type', [
  welcome,
  reject,
  request,
  cancel,
  pulse,
  drain,
  shutdown,
]);
export const fromHost = z.discriminatedUnion('type', [hello, ask, result, error, bye]);
export const anyMessage = z.discriminatedUnion('type', [
  ...fromWorker.options,
  ...fromController.options,
  ask,
  reverseRequest,
]);

export type FromWorker = z.infer<typeof fromWorker>;
export type FromHost = z.infer<typeof fromHost>;
export type FromController = z.infer<typeof fromController>;
export type Message = z.infer<typeof anyMessage>;
export type MessageOf<T extends Message['type']> = Extract<Message, { type: T }>;
export type TensorHeader = z.infer<typeof tensorHeader>;
export type ErrorCode = (typeof errorCodes)[number];
export type Dtype = (typeof dtypes)[number];
