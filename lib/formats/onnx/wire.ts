/**
 * Protocol Buffers, as far as ONNX has them: https://protobuf.dev/programming-guides/encoding/. A reader of our own, since those that
 * there are want all of a message in memory, where an ONNX file has 2 GB of weights in it; and this is less than they have to be told.
 */
import type { FilePlan } from '../read-plan';

export const WIRE = { varint: 0, bits64: 1, bytes: 2, bits32: 5 } as const;

/** A field of a message, [begin, to) of the file. */
export interface Field {
  number: number;
  wire: number;
  /** Of a varint, as a signed integer; inexact beyond 2^53. */
  value: number;
  begin: number;
  /** Where its contents begin, which end at `to`. */
  from: number;
  to: number;
}

/** A field's key, and a varint of 64 bits. */
const LONGEST_START = 20;
/** What is read at once after something that was passed over, and at most. */
const FIRST_WINDOW = 2 ** 12;
const LARGEST_WINDOW = 2 ** 18;

/** Reads a file's fields one after another; what is passed over is not read. Throws SyntaxError where the file is damaged. */
export class Cursor {
  /** Of the file: what is read next. */
  at = 0;
  readonly #size: number;
  #window = Buffer.alloc(0);
  #start = 0;
  #next = FIRST_WINDOW;

  constructor(size: number) {
    this.#size = size;
  }

  /** Is the next field's start in memory, and else, reads it. @param end of the message */
  *ready(end: number): FilePlan<void> {
    yield* this.#load(end - this.at, LONGEST_START);
  }

  isReady(end: number): boolean {
    return this.#has(Math.min(LONGEST_START, end - this.at));
  }

  /** The same of a field's contents. */
  *readyAll({ from, to }: Field): FilePlan<void> {
    yield* this.#load(to - from, to - from);
  }

  isReadyAll({ from, to }: Field): boolean {
    return this.#has(to - from);
  }

  /** The next field of a message that ends at `end`, which is ready; the cursor is then at its contents. */
  field(end: number): Field {
    const begin = this.at;
    const key = this.#varint(end);
    const number = Math.floor(key / 8);
    const wire = key % 8;
    if (number < 1 || number >= 2 ** 29) throw new SyntaxError(`it has no field's key at byte ${begin}`);
    const field: Field = { number, wire, value: 0, begin, from: this.at, to: this.at };
    if (wire === WIRE.varint) {
      field.value = this.#varint(end);
      field.to = this.at;
      return field;
    }
    const length =
      wire === WIRE.bytes ? this.#varint(end) : wire === WIRE.bits64 ? 8 : wire === WIRE.bits32 ? 4 : -1;
    if (length < 0 || length > end - this.at) {
      throw new SyntaxError(
        length < 0
          ? `it has no field at byte ${begin}`
          : `the field at byte ${begin} ends outside of what has it`,
      );
    }
    field.from = this.at;
    field.to = this.at + length;
    return field;
  }

  text({ from, to }: Field): string {
    this.at = to;
    return this.#window.toString('utf8', from - this.#start, to - this.#start);
  }

  float({ from, to }: Field): number {
    this.at = to;
    return this.#window.readFloatLE(from - this.#start);
  }

  /** Of a repeated integer: one that stands alone, or all of a packed field. */
  integers(field: Field): number[] {
    if (field.wire === WIRE.varint) return [field.value];
    const list: number[] = [];
    while (this.at < field.to) list.push(this.#varint(field.to));
    return list;
  }

  skip({ to }: Field): void {
    this.at = to;
  }

  #has(count: number): boolean {
    return this.at >= this.#start && this.at + count <= this.#start + this.#window.length;
  }

  /** Reads on, or elsewhere after a leap. @param wanted of what is left so many bytes are needed */
  *#load(left: number, wanted: number): FilePlan<void> {
    const end = this.#start + this.#window.length;
    const goesOn = this.at >= this.#start && this.at <= end;
    this.#next = goesOn ? Math.min(this.#next * 2, LARGEST_WINDOW) : FIRST_WINDOW;
    const kept = goesOn ? this.#window.subarray(this.at - this.#start) : this.#window.subarray(0, 0);
    const from = this.at + kept.length;
    const needed = Math.min(left, wanted) - kept.length;
    const length = Math.min(Math.max(needed, this.#next), this.#size - from);
    const bytes = yield { offset: from, length };
    this.#window = Buffer.concat([kept, bytes]);
    this.#start = this.at;
  }

  /** The window has it. */
  #varint(end: number): number {
    let low = 0;
    let high = 0;
    for (let i = 0; i < 10; i++) {
      if (this.at >= end) break;
      const byte = this.#window[this.at++ - this.#start];
      const bits = byte & 127;
      if (i < 4) low |= bits << (7 * i);
      else if (i === 4) {
        low |= bits << 28;
        high = bits >>> 4;
      } else high |= bits << (7 * i - 32);
      if (byte < 128) return (high | 0) * 2 ** 32 + (low >>> 0);
    }
    throw new SyntaxError(`it has no integer at byte ${this.at}`);
  }
}

/** What to write of a message: bytes, or those of the file that it is made from. */
export type Piece = Uint8Array | { begin: number; end: number };

export function lengthOf(pieces: readonly Piece[]): number {
  let length = 0;
  for (const piece of pieces) length += piece instanceof Uint8Array ? piece.length : piece.end - piece.begin;
  return length;
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  bytes.push(rest);
  return bytes;
}

/** A field of bytes: a text, or a message. */
export function bytesField(number: number, contents: string | readonly Piece[]): Piece[] {
  const pieces = typeof contents === 'string' ? [Buffer.from(contents)] : contents;
  return [Uint8Array.from([...varint(number * 8 + WIRE.bytes), ...varint(lengthOf(pieces))]), ...pieces];
}

/** A field of an integer, at least 0. */
export function integerField(number: number, value: number): Piece {
  return Uint8Array.from([...varint(number * 8 + WIRE.varint), ...varint(value)]);
}
