/** Sequences of different lengths to flat tensors with offsets (`cu_seqlens`), and back. */
import { type Tensors, tensor } from '../bridge/tensor.ts';

/** Token ids of a prompt and what follows it. */
export interface Sequence {
  readonly promptIds: Int32Array;
  readonly completionIds: Int32Array;
}

/** Ragged data back to one view for each sequence. */
export function split<A extends Int32Array | Float32Array>(
  tensors: Tensors,
  name: string,
  offsets: string,
  type: abstract new (...args: never[]) => A,
): A[] {
  const flat = tensors[name]?.data;
  const cu = tensors[offsets]?.data;
  if (!(flat instanceof type) || !(cu instanceof Int32Array) || cu.at(-1) !== flat.length) {
    throw new Error(`the worker's answer has no tensor "${name}" that fits "${offsets}"`);
  }
  const views: A[] = [];
  for (let i = 1; i < cu.length; i++) views.push(flat.subarray(cu[i - 1]!, cu[i]!) as A);
  return views;
}

function offsetsOf(sequences: readonly Sequence[]): Int32Array {
  const cu = new Int32Array(sequences.length + 1);
  sequences.forEach((s, i) => {
    cu[i + 1] = cu[i]! + s.promptIds.length + s.completionIds.length;
  });
  return cu;
}

export function pack(sequences: readonly Sequence[]): Tensors {
  const cu = offsetsOf(sequences);
  const ids = new Int32Array(cu.at(-1)!);
  sequences.forEach((s, i) => {
    ids.set(s.promptIds, cu[i]!);
    ids.set(s.completionIds, cu[i]! + s.promptIds.length);
  });
  return { ids: tensor(ids), cu_seqlens: tensor(cu) };
}

/** Values of completion tokens at their places among all tokens; 0 at prompts. */
export function aligned(
  sequences: readonly Sequence[],
  values: readonly (ArrayLike<number> | number)[],
): Float32Array {
  const cu = offsetsOf(sequences);
  const flat = new Float32Array(cu.at(-1)!);
  sequences.forEach((s, i) => {
    const value = values[i]!;
    const start = cu[i]! + s.promptIds.length;
    if (typeof value === 'number') flat.fill(value, start, cu[i + 1]!);
    else if (value.length === s.completionIds.length) flat.set(value, start);
    else
      throw new RangeError(`sequence ${i} has ${s.completionIds.length} tokens but ${value.length} values`);
  });
  return flat;
}
