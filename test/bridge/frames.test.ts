import fc from 'fast-check';
import { Packr } from 'msgpackr';
import { describe, expect, test } from 'vitest';
import { BridgeError } from '../../src/bridge/errors.ts';
import {
  decode,
  encode,
  FRAME_BYTES,
  inPieces,
  readableId,
  sizeOf,
} from '../../src/bridge/frames.ts';
import { anyMessage, fromWorker } from '../../src/bridge/messages.ts';
import { arrayTypes, type Tensors, type TypedArray, tensor } from '../../src/bridge/tensor.ts';

const limits = { maxMessageBytes: 1_000_000 };
const result = { type: 'result', id: 'a', result: { value: 1 }, seconds: 0.5 } as const;

/** The header of a message, written by hand. */
function header(message: object): Buffer {
  return new Packr({ useRecords: false }).pack(message);
}

function refusal(frames: Buffer[], maxMessageBytes = limits.maxMessageBytes): string {
  try {
    decode(frames, fromWorker, { maxMessageBytes });
  } catch (error) {
    expect(error).toBeInstanceOf(BridgeError);
    expect((error as BridgeError).code).toBe('bad_message');
    return (error as BridgeError).message;
  }
  throw new Error('it was accepted');
}

const shapes = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 });
const tensors: fc.Arbitrary<Tensors> = fc.dictionary(
  fc.stringMatching(/^[a-z.]{1,8}$/),
  fc.tuple(fc.constantFrom(...Object.values(arrayTypes)), shapes).chain(([type, shape]) => {
    const bytes = shape.reduce((a, b) => a * b, 1) * type.BYTES_PER_ELEMENT;
    return fc
      .uint8Array({ minLength: bytes, maxLength: bytes })
      .map((data) => tensor(new type(data.slice().buffer) as TypedArray, shape));
  }),
  { maxKeys: 5 },
);

const bytesOf = ({ data }: { data: TypedArray }) =>
  Buffer.from(data.buffer, data.byteOffset, data.byteLength);

describe('round trips', () => {
  test('any plain JSON and any tensors come back as they were, at any alignment', () => {
    // msgpackr reads a key `__proto__` as `__proto_`, on purpose.
    const json = fc.json().filter((text) => !text.includes('__proto__'));
    fc.assert(
      fc.property(
        fc.dictionary(fc.stringMatching(/^\w{1,8}$/), json),
        tensors,
        fc.nat(7),
        (texts, given, offset) => {
          const value = Object.fromEntries(
            Object.entries(texts).map(([key, text]) => [key, JSON.parse(text)]),
          );
          const sent = encode({ ...result, result: value }, given);
          // As a socket would deliver them: anywhere in some larger memory.
          const received = sent.map((frame) =>
            Buffer.concat([Buffer.alloc(offset), frame]).subarray(offset),
          );
          const decoded = decode(received, fromWorker, limits);
          if (decoded.message.type !== 'result') throw new Error('another type');
          expect(decoded.message.result).toEqual(value);
          expect(Object.keys(decoded.tensors)).toEqual(Object.keys(given));
          for (const [name, { data, shape }] of Object.entries(decoded.tensors)) {
            expect(shape).toEqual(given[name]!.shape);
            expect(data.constructor).toBe(given[name]!.data.constructor);
            expect(bytesOf({ data }).equals(bytesOf(given[name]!))).toBe(true);
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  test('numbers in bulk are not copied, neither on the way out nor on the way in', () => {
    const data = new Float32Array([1, 2, 3]);
    const [, frame] = encode(result, { x: tensor(data) });
    expect(frame!.buffer).toBe(data.buffer);
    const { tensors } = decode(encode(result, { x: tensor(data) }), fromWorker, limits);
    expect(tensors.x!.data.buffer).toBe(data.buffer);
  });

  test('a tensor longer than a frame is several, all but the last as long as a frame may be', () => {
    const roomy = { maxMessageBytes: 10 * FRAME_BYTES };
    const sizes = [2 * FRAME_BYTES, 0, 1, 2 * FRAME_BYTES + 8, FRAME_BYTES];
    const given = sizes.map((size) => new Uint8Array(size).map((_, at) => (at * 7) % 251));
    const tensorsOf = Object.fromEntries(given.map((one, i) => [`t${i}`, tensor(one)]));
    const atOnce = encode(result, tensorsOf);
    expect(atOnce).toHaveLength(6);
    const frames = inPieces(atOnce);
    const whole = FRAME_BYTES;
    expect(frames.slice(1).map(({ length }) => length)).toEqual([
      whole,
      whole,
      0,
      1,
      whole,
      whole,
      8,
      whole,
    ]);
    for (const sent of [atOnce, frames]) {
      const { tensors } = decode(sent, fromWorker, roomy);
      for (const [i, one] of given.entries())
        expect(bytesOf(tensors[`t${i}`]!).equals(Buffer.from(one))).toBe(true);
    }
    expect(() => decode(frames.slice(0, -1), fromWorker, roomy)).toThrow('7 frames follow it');
    const short = [...frames];
    short[6] = Buffer.alloc(whole - 1);
    expect(() => decode(short, fromWorker, roomy)).toThrow('its frame has');
  });

  test('an integer beyond 32 bits stays an integer', () => {
    const [head] = encode({ ...result, result: { seed: 2 ** 40, list: [1, -(2 ** 33)] } });
    expect(new Packr({ useRecords: false }).unpack(head!).result).toEqual({
      seed: 1099511627776n,
      list: [1, -8589934592n],
    });
    const { message } = decode(
      encode({ ...result, result: { seed: 2 ** 40 } }),
      fromWorker,
      limits,
    );
    expect(message).toMatchObject({ result: { seed: 2 ** 40 } });
  });
});

describe('any string that JavaScript can hold', () => {
  const units = fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 80 });
  const text = units.map((all) => String.fromCharCode(...all));
  test('crosses the wire as well-formed text of the same length', () => {
    fc.assert(
      fc.property(text, text, (value, key) => {
        const frames = encode({ ...result, result: { [key]: [value] } });
        const { message } = decode(frames, anyMessage, limits);
        const wellFormed = value.toWellFormed();
        expect(message).toMatchObject({ result: { [key.toWellFormed()]: [wellFormed] } });
        expect(wellFormed).toHaveLength(value.length);
      }),
    );
  });
});

describe('refusals', () => {
  const frames = () => encode(result, { x: tensor(new Int32Array(6), [2, 3]) });

  test('a tensor whose shape and length differ is not sent', () => {
    expect(() => encode(result, { x: tensor(new Int32Array(5), [2, 3]) })).toThrow(
      'tensor x has 5 entries, but its shape [2, 3] asks for 6',
    );
  });

  test('a frame shorter or longer than its header says', () => {
    const [head, data] = frames();
    expect(refusal([head!, data!.subarray(4)])).toBe(
      'tensor x is int32 [2, 3], 24 bytes, but its frame has 20',
    );
    expect(refusal([head!, Buffer.alloc(28)])).toContain('but its frame has 28');
  });

  test('frames too few or too many', () => {
    const [head, data] = frames();
    expect(refusal([head!])).toBe('the header describes 1 tensors, but 0 frames follow it');
    expect(refusal([head!, data!, data!])).toBe(
      'the header describes 1 tensors, but 2 frames follow it',
    );
    expect(refusal([...encode({ type: 'bye', reason: '' }), data!])).toContain(
      'describes 0 tensors, but 1',
    );
  });

  test.each([
    ['[2^53 - 1, 0]', [Number.MAX_SAFE_INTEGER, 0], /can't have the shape/],
    ['[2^63, 0]', [2n ** 63n, 0], /tensors.0.shape.0/],
    ['eight of 2^31 and a 0', [...new Array(7).fill(2 ** 31), 0], /can't have the shape/],
  ])('a shape of %s, empty as it is', (_, shape, words) => {
    const described = header({ ...result, tensors: [{ name: 'x', dtype: 'int32', shape }] });
    expect(refusal([described, Buffer.alloc(0)])).toMatch(words);
  });

  test.each(['heartbeat_ms', 'controller_timeout_ms'])('a %s that no timer can wait', (key) => {
    const welcome = {
      ...{
        type: 'welcome',
        protocol: 1,
        heartbeat_ms: 1,
        controller_timeout_ms: 1,
        max_message_bytes: 1,
      },
      [key]: 2 ** 31,
    };
    expect(() => decode([header(welcome)], anyMessage, limits)).toThrow(key);
  });

  test('two tensors of one name', () => {
    const one = { name: 'x', dtype: 'uint8', shape: [1] };
    expect(
      refusal([header({ ...result, tensors: [one, one] }), Buffer.alloc(1), Buffer.alloc(1)]),
    ).toBe('two tensors are named x');
  });

  test('no header, no msgpack, half of a message, something behind it', () => {
    const head = encode({ type: 'bye', reason: 'x' })[0]!;
    expect(refusal([])).toBe('a message without a header');
    expect(refusal([Buffer.alloc(0)])).toContain('not msgpack');
    expect(refusal([Buffer.from([0xc1])])).toContain('not a valid message');
    expect(refusal([head.subarray(0, -1)])).toContain('not msgpack');
    expect(refusal([Buffer.concat([head, head])])).toContain('not msgpack');
  });

  test('an unknown type, a missing key, a key too many, a wrong type, a negative dimension', () => {
    expect(refusal([header({ type: 'hi' })])).toContain('not a valid message: type');
    expect(refusal([header({ type: 'bye' })])).toContain('reason');
    expect(refusal([header({ type: 'bye', reason: '', more: 1 })])).toContain('more');
    expect(refusal([header({ type: 'bye', reason: null })])).toContain('reason');
    const negative = { name: 'x', dtype: 'uint8', shape: [-1] };
    expect(refusal([header({ ...result, tensors: [negative] }), Buffer.alloc(1)])).toContain(
      'tensors.0.shape.0',
    );
    expect(refusal([header({ ...result, seconds: Number.NaN, tensors: [] })])).toContain('seconds');
  });

  test('a message over the limit, before anything of it is read', () => {
    const all = frames();
    expect(refusal(all, sizeOf(all) - 1)).toBe(
      `a message of ${sizeOf(all)} bytes exceeds the limit of ${sizeOf(all) - 1}`,
    );
    expect(() => decode(all, fromWorker, { maxMessageBytes: sizeOf(all) })).not.toThrow();
  });

  test('any bytes are refused in words, never with another error', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 3 }), (frames) => {
        refusal(frames.map((frame) => Buffer.from(frame)));
      }),
      { numRuns: 500 },
    );
  });

  test('the request that a broken message speaks of can still be named', () => {
    expect(readableId([header({ type: 'result', id: 'q7', broken: true })])).toBe('q7');
    expect(readableId([Buffer.from([0xc1])])).toBeNull();
  });
});

test('every type of message has a schema on both ends', () => {
  expect(anyMessage.options.length).toBe(16);
});
