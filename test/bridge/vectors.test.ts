import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { decode, encode, type Outgoing } from '../../src/bridge/frames.ts';
import { anyMessage } from '../../src/bridge/messages.ts';

interface Vector {
  readonly name: string;
  readonly message: Outgoing;
  readonly tensors: readonly { name: string; shape: number[]; values: string[] }[];
  readonly frames: readonly string[];
}

const vectors: Vector[] = JSON.parse(
  readFileSync(new URL('../fixtures/wire/vectors.json', import.meta.url), 'utf8'),
);

test.each(vectors)('$name is read as it was meant, and written to the same bytes', (vector) => {
  const frames = vector.frames.map((hex) => Buffer.from(hex, 'hex'));
  const { message, tensors } = decode(frames, anyMessage, { maxMessageBytes: 10_000 });
  expect(message).toMatchObject(vector.message);
  expect(
    Object.entries(tensors).map(([name, { data, shape }]) => ({
      name,
      shape,
      values: Array.from(data as ArrayLike<number | bigint>, String),
    })),
  ).toEqual(vector.tensors);
  expect(encode(vector.message, tensors).map((frame) => frame.toString('hex'))).toEqual(
    vector.frames,
  );
});

test('every type of message is among them', () => {
  const types = anyMessage.options.map((option) => option.shape.type.value).sort();
  expect([...new Set(vectors.map(({ message }) => message.type))].sort()).toEqual(types);
});
