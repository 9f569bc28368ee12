/** Hidden states, and logits, as callers pass them. */
import { LMHeadError } from '../errors';
import type { FloatDtype, TensorLike } from '../types';
import { lengthOf, memoryOf, requireMemory } from './arrays';
import { arrayType, got, gotShape } from './describe';
import { isArray, reading } from './reading';

/** n rows of d elements. */
export interface HiddenRows {
  /** n·d elements, or their 16-bit patterns; the caller's own memory. */
  data: Float32Array | Uint16Array;
  dtype: FloatDtype;
  n: number;
}

const WANTED = 'a Float32Array, Uint16Array, Float16Array or a tensor {data, type, dims}';
const TENSOR_TYPES: Record<string, FloatDtype> = {
  __proto__: null as never,
  float32: 'f32',
  float16: 'f16',
  bfloat16: 'bf16',
};

/** Reads n off the length or dims of `hidden`; `name` and `sizeName` are for messages. */
export function hiddenRows(
  hidden: unknown,
  hiddenSize: number,
  hiddenDtype: unknown,
  name = 'hidden',
  sizeName = 'hiddenSize',
): HiddenRows {
  const type = arrayType(hidden);
  if (type === undefined) return reading(name, () => tensorRows(hidden, hiddenSize, hiddenDtype, name));
  const data = hidden as Float32Array;
  const dtype = arrayDtype(type, hiddenDtype, name, 'hiddenDtype');
  const length = lengthOf(data);
  if (length === 0) requireMemory(data, name);
  const n = length / hiddenSize;
  if (!Number.isInteger(n)) {
    throw new LMHeadError(
      'SHAPE',
      `${name}: got ${length} elements; want a multiple of ${sizeName} ${hiddenSize}`,
    );
  }
  return { data: type === 'Float16Array' ? bits(data) : data, dtype, n };
}

/** Of what type a typed array's elements are; a Uint16Array has to be told. `given` is the option called `optionName`. */
export function arrayDtype(type: string, given: unknown, name: string, optionName: string): FloatDtype {
  if (given !== undefined && given !== 'f16' && given !== 'bf16' && given !== 'f32') {
    throw new LMHeadError(
      typeof given === 'string' ? 'DTYPE' : 'ARGUMENT',
      `${optionName}: got ${got(given)}; want 'f16' or 'bf16'`,
    );
  }
  switch (type) {
    case 'Float32Array':
      if (given === undefined || given === 'f32') return 'f32';
      break;
    case 'Uint16Array':
      if (given === 'f16' || given === 'bf16') return given;
      throw new LMHeadError(
        'DTYPE',
        `${optionName}: got ${got(given)} for a Uint16Array in ${name}; want 'f16' or 'bf16'`,
      );
    case 'Float16Array':
      if (given === undefined || given === 'f16') return 'f16';
      break;
    default:
      throw new LMHeadError(
        'DTYPE',
        `${name}: got a ${type}; want a Float32Array, Uint16Array or Float16Array`,
      );
  }
  throw new LMHeadError(
    'DTYPE',
    `${optionName}: got ${got(given)} for a ${type} in ${name}; want it left out`,
  );
}

/** The bit patterns of a Float16Array, on the same memory. */
export function bits(array: ArrayBufferView & { readonly length: number }): Uint16Array {
  const { buffer, byteOffset, length } = memoryOf(array);
  return new Uint16Array(buffer as ArrayBuffer, byteOffset, length);
}

function tensorRows(hidden: unknown, hiddenSize: number, hiddenDtype: unknown, name: string): HiddenRows {
  if (typeof hidden !== 'object' || hidden === null || isArray(hidden) || ArrayBuffer.isView(hidden)) {
    throw new LMHeadError('ARGUMENT', `${name}: got ${got(hidden)}; want ${WANTED}`);
  }
  const { array, type, dims } = partsOfTensor(hidden as TensorLike, name);
  const ofArray = arrayType(array);
  if (ofArray === undefined) {
    throw new LMHeadError('ARGUMENT', `${name}: got ${got(hidden)} with data ${got(array)}; want ${WANTED}`);
  }
  let wanted = hiddenDtype;
  if (type !== undefined) {
    const dtype = typeof type === 'string' ? TENSOR_TYPES[type] : undefined;
    if (!dtype) {
      throw new LMHeadError(
        'DTYPE',
        `${name}.type: got ${got(type)}; want 'float32', 'float16' or 'bfloat16'`,
      );
    }
    if (hiddenDtype !== undefined && hiddenDtype !== dtype) {
      throw new LMHeadError(
        'DTYPE',
        `hiddenDtype: got ${got(hiddenDtype)}; want '${dtype}', as ${name}.type says`,
      );
    }
    wanted = dtype;
  }
  const optionName = type === undefined ? 'hiddenDtype' : `${name}.type`;
  const dtype = arrayDtype(ofArray, wanted, `${name}.data`, optionName);
  const data = array as Float32Array;
  requireMemory(data, `${name}.data`);
  const n = rowsOf(dims, hiddenSize, name);
  const length = lengthOf(data);
  if (length !== n * hiddenSize) {
    throw new LMHeadError(
      'SHAPE',
      `${name}.data: got ${length} elements; want ${n * hiddenSize}, as ${name}.dims says`,
    );
  }
  return { data: ofArray === 'Float16Array' ? bits(data) : data, dtype, n };
}

/** Reads each once. */
export function partsOfTensor(
  tensor: TensorLike,
  name: string,
): { array: unknown; type: unknown; dims: unknown } {
  try {
    const { data: array, type, dims } = tensor;
    return { array, type, dims };
  } catch (cause) {
    // onnxruntime's getter throws where the data lies on a GPU.
    throw new LMHeadError(
      'ARGUMENT',
      `${name}: its data cannot be read; want a tensor whose data is in memory`,
      { cause },
    );
  }
}

export function arrayOfDims(dims: unknown, name: string): ArrayLike<unknown> {
  if (isArray(dims) || arrayType(dims)) return dims as ArrayLike<unknown>;
  throw new LMHeadError('ARGUMENT', `${name}.dims: got ${got(dims)}; want an array`);
}

function rowsOf(dims: unknown, d: number, name: string): number {
  const list = arrayOfDims(dims, name);
  const { length } = list;
  if (length >= 1 && length <= 3 && list[length - 1] === d) {
    const n = length === 1 ? 1 : list[length - 2];
    if (typeof n === 'number' && Number.isInteger(n) && n >= 0 && (length < 3 || list[0] === 1)) return n;
  }
  throw new LMHeadError(
    'SHAPE',
    `${name}.dims: got ${gotShape(list)}; want [${d}], [n, ${d}] or [1, n, ${d}]`,
  );
}

/** Refuses hidden states that went while other arguments were read: a list or a getter is the caller's code. */
export function requireStill(data: Float32Array | Uint16Array, count: number, name = 'hidden'): void {
  const length = lengthOf(data);
  if (length === count) return;
  requireMemory(data, name);
  throw new LMHeadError(
    'SHAPE',
    `${name}: got ${length} elements, ${count} before the other arguments were read; want an array that stays`,
  );
}
