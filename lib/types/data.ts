/** Numbers, ids and weights, as callers pass them. */

/** A value for every row, or one value per row; where values are numbers, in a typed array, too. */
export type PerRow<T> = T | readonly T[] | (number extends T ? NumberArray : never);
/** Arrays of numbers. */
export type NumberArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | Uint8Array
  | Uint16Array
  | Uint32Array;

/**
 * Token ids, as tokenizers and runtimes hand them out. A tensor's `type` is 'int64', 'int32' or 'uint32'; where an option may be there
 * once per row, one of [n, length] is n lists.
 */
export type Ids = ArrayLike<number> | BigInt64Array | BigUint64Array | TensorLike;

/** Floating-point types that weights and hidden states come in. */
export type FloatDtype = 'f32' | 'f16' | 'bf16';

/**
 * Quantized weights: GGUF's formats of these names; `i8`, rows of int8 with one scale each; and MLX's affine ones of 4 and 8 bits, which
 * come from files alone (docs/quantization.md).
 */
export type QuantizedDtype =
  | 'q8_0'
  | 'q6_k'
  | 'q5_k'
  | 'q4_k'
  | 'q4_0'
  | 'q4_1'
  | 'q5_0'
  | 'q5_1'
  | 'iq4_nl'
  | 'i8'
  | 'q2_k'
  | 'q3_k'
  | 'iq4_xs'
  | 'mxfp4'
  | 'mlx4'
  | 'mlx8';

/** What weights come in. */
export type Dtype = FloatDtype | QuantizedDtype;

/** Which of the two comes first between a dot product and a logit. */
export type CapOrder = 'scale-then-cap' | 'cap-then-scale';

/** A `Float16Array`, where the runtime has one. */
export interface Float16ArrayLike extends ArrayBufferView {
  readonly length: number;
  readonly BYTES_PER_ELEMENT: 2;
  readonly [Symbol.toStringTag]: 'Float16Array';
}

/**
 * A tensor of another runtime (onnxruntime's, for one): 'float32', 'float16' or 'bfloat16' in `type`; 'int64', 'int32' or 'uint32'
 * where it holds ids.
 */
export interface TensorLike {
  readonly data: ArrayBufferView;
  readonly type?: string | undefined;
  readonly dims: readonly number[];
}

/**
 * n·d elements, row by row; n is read off the length, or off `dims` ([d], [n,d], [1,n,d]).
 * A bare Uint16Array needs `hiddenDtype`; a tensor-like object says its `type`.
 * Float16Array is taken where the runtime has it.
 */
export type Hidden = Float32Array | Uint16Array | Float16ArrayLike | TensorLike;

/**
 * V·d elements: E, row by row, or its transpose with `layout: 'dv'`. A Uint8Array holds quantized rows, one after the other, as
 * their format stores them.
 */
export type Weight = Float32Array | Uint16Array | Uint8Array | Float16ArrayLike;
