/** Sequences of different lengths to flat tensors with offsets (`cu_seqlens`), and back. */
import { type Tensors, tensor } from '../bridge/tensor.ts';
import type { Sequence } from '../types.ts';

/** Flat values of sequences of different lengths. A view of one is made when it is asked for. */
export class Ragged<A extends Int32Array | Float32Array> {
  readonly #flat: A;
  readonly #offsets: Int32Array;

  /** @throws RangeError where there is no tensor `name` that fits `offsets` */
  constructor(
    tensors: Tensors,
    name: string,
    offsets: string,
    type: abstract new (...args: never[]) => A,
  ) {
    const flat = tensors[name]?.data;
    const cu = tensors[offsets]?.data;
    if (!(flat instanceof type) || !(cu instanceof Int32Array) || cu.at(-1) !== flat.length) {
      throw new RangeError(`there is no tensor "${name}" that fits "${offsets}"`);
    }
    this.#flat = flat;
    this.#offsets = cu;
  }

  /** Sequences. */
  get count(): number {
    return this.#offsets.length - 1;
  }

  at(i: number): A {
    return this.#flat.subarray(this.#offsets[i]!, this.#offsets[i + 1]!) as A;
  }
}

/** Ragged data back to one view for each sequence. */
export function split<A extends Int32Array | Float32Array>(
  tensors: Tensors,
  name: string,
  offsets: string,
  type: abstract new (...args: never[]) => A,
): A[] {
  const ragged = new Ragged(tensors, name, offsets, type);
  return Array.from({ length: ragged.count }, (_, i) => ragged.at(i));
}

/** Where each sequence, and within it its completion, begins among all tokens; then the end. */
export interface Offsets {
  /** int32 [N+1] */
  readonly cu: Int32Array;
  /** int32 [N] */
  readonly completions: Int32Array;
}

export function offsetsOf(sequences: readonly Sequence[]): Offsets {
  const cu = new Int32Array(sequences.length + 1);
  const completions = new Int32Array(sequences.length);
  sequences.forEach(({ promptIds, completionIds }, i) => {
    completions[i] = cu[i]! + promptIds.length;
    cu[i + 1] = completions[i]! + completionIds.length;
  });
  return { cu, completions };
}

/**
 * Memory for the tensors of a request, used again once the request is answered: what is new each
 * time keeps the garbage collector busy.
 */
export class Scratch {
  readonly #buffers = new Map<string, ArrayBuffer>();

  int32(name: string, length: number): Int32Array<ArrayBuffer> {
    return new Int32Array(this.#buffer(name, length), 0, length);
  }

  /** Zeros. */
  float32(name: string, length: number): Float32Array<ArrayBuffer> {
    return new Float32Array(this.#buffer(name, length), 0, length).fill(0);
  }

  #buffer(name: string, length: number): ArrayBuffer {
    let buffer = this.#buffers.get(name);
    if (buffer === undefined || buffer.byteLength < 4 * length)
      buffer = new ArrayBuffer(4 * length);
    this.#buffers.set(name, buffer);
    return buffer;
  }
}

/** @param scratch where the ids go. Default: memory of their own */
export function pack(
  sequences: readonly Sequence[],
  { cu, completions }: Offsets = offsetsOf(sequences),
  scratch: Scratch = new Scratch(),
): Tensors {
  const ids = scratch.int32('ids', cu.at(-1)!);
  sequences.forEach(({ promptIds, completionIds }, i) => {
    ids.set(promptIds, cu[i]!);
    ids.set(completionIds, completions[i]!);
  });
  return { ids: tensor(ids), cu_seqlens: tensor(cu) };
}

/**
 * Writes values of completion tokens at their places among all tokens into `flat`, which has zeros.
 */
export function align(
  flat: Float32Array,
  { cu, completions }: Offsets,
  values: readonly (ArrayLike<number> | number)[],
): Float32Array {
  values.forEach((value, i) => {
    const [start, end] = [completions[i]!, cu[i + 1]!];
    if (typeof value === 'number') flat.fill(value, start, end);
    else if (value.length === end - start) flat.set(value, start);
    else throw new RangeError(`sequence ${i} has ${end - start} tokens but ${value.length} values`);
  });
  return flat;
}
