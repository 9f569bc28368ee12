/** Checks of typed arrays: type, length, whether their memory is still there, and whose it is. */
import { types } from 'node:util';
import { loadedAddon } from '../backend/addon';
import { LMHeadError } from '../errors';
import { arrayType, got } from './describe';

const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as Uint8Array;
const { at } = typedArray;

function getterOf<T>(prototype: object, name: string): (this: unknown) => T {
  return Object.getOwnPropertyDescriptor(prototype, name)!.get!;
}

const bufferOf = getterOf<ArrayBufferLike>(typedArray, 'buffer');
const byteOffsetOf = getterOf<number>(typedArray, 'byteOffset');
const byteLengthOf = getterOf<number>(typedArray, 'byteLength');
const typedLength = getterOf<number>(typedArray, 'length');

/** Where a typed array's elements are in memory. */
export interface Memory {
  buffer: ArrayBufferLike;
  byteOffset: number;
  byteLength: number;
  length: number;
}

/** Asks the array itself: a property of its own, or of a subclass, may say anything. */
export function memoryOf(array: ArrayBufferView): Memory {
  return {
    buffer: bufferOf.call(array),
    byteOffset: byteOffsetOf.call(array),
    byteLength: byteLengthOf.call(array),
    length: typedLength.call(array),
  };
}

/** How many elements an array has, whatever its property `length` says. */
export function lengthOf(array: ArrayBufferView): number {
  return typedLength.call(array);
}

/** A view of the same elements that has no properties but those that it was made with. */
export function plainView<T extends Float32Array | Uint16Array>(array: T): T {
  const { buffer, byteOffset, length } = memoryOf(array);
  const View = arrayType(array) === 'Float32Array' ? Float32Array : Uint16Array;
  return new View(buffer as ArrayBuffer, byteOffset, length) as T;
}

/** Is it a SharedArrayBuffer, of whatever realm? Its prototype may say anything, too. */
export function isShared(buffer: ArrayBufferLike): boolean {
  return types.isSharedArrayBuffer(buffer);
}

/** Equal for two buffers that are one memory. */
export type MemoryKey = ArrayBufferLike | number;
const keys = new WeakMap<ArrayBufferLike, MemoryKey>();

/**
 * A SharedArrayBuffer may be any number of objects over one memory, such as clones that a message brought, or those of a
 * WebAssembly.Memory that grew. Only the addon sees where they lie: without one each counts as a memory of its own.
 */
export function memoryKey(buffer: ArrayBufferLike): MemoryKey {
  if (!isShared(buffer)) return buffer;
  // Once told, a key stays: what it was used for is looked up by it later.
  let key = keys.get(buffer);
  if (key === undefined) {
    key = loadedAddon()?.addressOf(new Uint8Array(buffer)) ?? buffer;
    keys.set(buffer, key);
  }
  return key;
}

/**
 * Refuses an array whose memory has gone: its buffer was transferred, or shrunk until the array lay outside of it.
 * Such an array says that its length is 0, as an empty one does; only methods like `at` tell them apart.
 */
export function requireMemory(array: ArrayBufferView & { readonly length: number }, name: string): void {
  if (lengthOf(array) !== 0) return;
  try {
    at.call(array as Uint8Array, 0);
  } catch {
    const fate = isDetached(bufferOf.call(array))
      ? 'a detached buffer'
      : 'a view that lies outside its resized buffer';
    throw new LMHeadError('SHAPE', `${name}: got ${fate}; want an array whose memory is still there`);
  }
}

function isDetached(buffer: ArrayBufferLike): boolean {
  try {
    new Uint8Array(buffer);
    return false;
  } catch {
    return true;
  }
}

/** A Float32Array whose memory is there. */
export function float32Array(value: unknown, name: string): Float32Array {
  const type = arrayType(value);
  if (type !== 'Float32Array') {
    throw new LMHeadError(type ? 'DTYPE' : 'ARGUMENT', `${name}: got ${got(value)}; want a Float32Array`);
  }
  requireMemory(value as Float32Array, name);
  return value as Float32Array;
}

/** A Float32Array of exactly `length` elements. */
export function float32ArrayOf(
  value: unknown,
  name: string,
  length: number,
  lengthName: string,
): Float32Array {
  const array = float32Array(value, name);
  const count = lengthOf(array);
  if (count !== length) {
    throw new LMHeadError('SHAPE', `${name}: got ${count} elements; want ${lengthName} = ${length}`);
  }
  return array;
}

/** Do the two share a byte? */
export function overlap(a: ArrayBufferView, b: ArrayBufferView): boolean {
  return (
    memoryKey(bufferOf.call(a)) === memoryKey(bufferOf.call(b)) &&
    byteOffsetOf.call(a) < byteOffsetOf.call(b) + byteLengthOf.call(b) &&
    byteOffsetOf.call(b) < byteOffsetOf.call(a) + byteLengthOf.call(a)
  );
}

/** A caller's `out` for `count` elements, apart from `input`'s memory. */
export function outputArray(
  value: unknown,
  count: number,
  input?: ArrayBufferView,
  inputName?: string,
): Float32Array {
  const out = float32Array(value, 'out');
  const length = lengthOf(out);
  if (length < count) {
    throw new LMHeadError('SHAPE', `out: got ${length} elements; want at least ${count}`);
  }
  if (input && overlap(out, input)) {
    throw new LMHeadError('RANGE', `out: got memory that overlaps ${inputName}; want memory of its own`);
  }
  return out;
}

/** The first `count` elements of `array`: a plain view of them. */
export function firstOf(array: Float32Array, count: number): Float32Array {
  const { buffer, byteOffset } = memoryOf(array);
  return new Float32Array(buffer as ArrayBuffer, byteOffset, count);
}

/** A new Float32Array for the result `name`. */
export function newFloats(count: number, name: string): Float32Array {
  try {
    return new Float32Array(count);
  } catch (cause) {
    throw outOfMemory(count, name, cause);
  }
}

/** A new Uint32Array for the result `name`. */
export function newWords(count: number, name: string): Uint32Array {
  try {
    return new Uint32Array(count);
  } catch (cause) {
    throw outOfMemory(count, name, cause);
  }
}

export function outOfMemory(count: number, name: string, cause: unknown): LMHeadError {
  return new LMHeadError(
    'MEMORY',
    `${name}: ${count} elements do not fit into memory; want fewer at a time`,
    {
      cause,
    },
  );
}
