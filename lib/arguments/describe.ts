/** Words for error messages: what an argument was. */
import { types } from 'node:util';
import { isArray } from './reading';

/** The type of a typed array, whatever realm it comes from and whatever it claims; undefined for all else. */
const typedArrayTag = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
)!.get as (this: unknown) => string | undefined;

/** 'Float32Array', 'Uint16Array'…; undefined of anything that is no typed array. */
export function arrayType(value: unknown): string | undefined {
  return typedArrayTag.call(value);
}

/** Writing out a number takes the square of its digits. */
const LONG = 1n << 128n;

/** A short description of any value; runs none of its code. */
export function got(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
    case 'bigint':
      return value < LONG && value > -LONG ? `${value}n` : 'a bigint of more than 128 bits';
    case 'function':
      return 'a function';
    case 'object':
      break;
    default:
      return String(value);
  }
  if (value === null) return 'null';
  const type = arrayType(value);
  if (type) return /^[AEIOU](?!int)/.test(type) || type === 'Int8Array' ? `an ${type}` : `a ${type}`;
  if (isArray(value)) return 'an array';
  if (ArrayBuffer.isView(value)) return 'a DataView';
  if (types.isMap(value)) return 'a Map';
  if (types.isSet(value)) return 'a Set';
  if (types.isPromise(value)) return 'a promise';
  return 'an object';
}

/** `name`, or `name[index]` where the value is in a list. */
export function label(name: string, index: number): string {
  return index < 0 ? name : `${name}[${index}]`;
}

/** A list of dimensions; the first of them, where there are many. */
export function gotShape(dims: ArrayLike<unknown>): string {
  const shape: string[] = [];
  const { length } = dims;
  for (let i = 0; i < length && i < 8; i++) shape.push(got(dims[i]));
  if (length > 8) shape.push('…');
  return `[${shape.join(', ')}]`;
}

/** A cause, as part of a sentence. */
export function because(problem: string | undefined): string {
  return problem === undefined ? '' : ` (${problem})`;
}
