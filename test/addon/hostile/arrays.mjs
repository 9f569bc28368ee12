/** Arrays with a margin on both sides that nobody may write to. */
import { below, pick } from './chance.mjs';

const MARGIN = 64;
const MARK = 0xa5;
/** The bytes that arrays of the current call lie in. */
let memories = [];

/** @returns those before */
export function exchangeMemories(next) {
  const before = memories;
  memories = next;
  return before;
}

/** @param kind how its memory is: plain, shared, resizable, or as large as typed arrays that V8 keeps in its heap */
export function arrayOf(
  Type,
  length,
  kind = pick(['plain', 'plain', 'plain', 'shared', 'resizable', 'small']),
) {
  if (kind === 'small') return new Type(length);
  const bytes = length * Type.BYTES_PER_ELEMENT;
  const size = MARGIN + bytes + MARGIN;
  const buffer =
    kind === 'shared'
      ? new SharedArrayBuffer(size)
      : new ArrayBuffer(size, kind === 'resizable' ? { maxByteLength: 2 * size } : undefined);
  new Uint8Array(buffer).fill(MARK);
  const array = new Type(buffer, MARGIN, length).fill(0);
  memories.push({ buffer, bytes });
  return array;
}

export const resized = new WeakSet();

export function marginsAreWhole() {
  return memories.every(({ buffer, bytes }) => {
    if (buffer.byteLength === 0 || resized.has(buffer)) return true; // its margins went
    const all = new Uint8Array(buffer);
    return (
      all.subarray(0, MARGIN).every(byte => byte === MARK) &&
      all.subarray(MARGIN + bytes).every(byte => byte === MARK)
    );
  });
}

export const floats = (length, kind) => arrayOf(Float32Array, length, kind);
export const words = (length, kind) => arrayOf(Uint32Array, length, kind);
export const randomFloats = length => floats(length).map(() => below(2001) / 500 - 2);
/** `count` of the ids below `bound`, ascending. */
export function ascending(count, bound) {
  const all = Array.from({ length: bound }, (_, id) => id);
  while (all.length > count) all.splice(below(all.length), 1);
  const ids = words(all.length);
  ids.set(all);
  return ids;
}
