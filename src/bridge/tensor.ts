import type { Dtype } from './messages.ts';

/** A dense row-major array as it travels: raw little-endian bytes with a dtype and a shape. */
export type TypedArray =
  | Float32Array
  | Float64Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint32Array;

export interface Tensor<A extends TypedArray = TypedArray> {
  readonly data: A;
  readonly shape: readonly number[];
}

export type Tensors = Readonly<Record<string, Tensor>>;

export const arrayTypes = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint32: Uint32Array,
} as const satisfies Record<Dtype, unknown>;

export function tensor<A extends TypedArray>(
  data: A,
  shape: readonly number[] = [data.length],
): Tensor<A> {
  return { data, shape };
}

export function dtypeOf(data: TypedArray): Dtype {
  for (const [dtype, type] of Object.entries(arrayTypes))
    if (data instanceof type) return dtype as Dtype;
  throw new TypeError(`${Object.prototype.toString.call(data)} can't travel as a tensor`);
}
