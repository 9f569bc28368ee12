/** Changes to a good file, such as damage and malice make. */
import type { Random } from './random';

const NUMBERS = [
  0n,
  1n,
  7n,
  0x7fn,
  0xffn,
  0x7fffffffn,
  0xffffffffn,
  1n << 32n,
  1n << 53n,
  1n << 62n,
  (1n << 63n) - 1n,
  (1n << 64n) - 1n,
];
const PIECES = [
  '"',
  '\\',
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '0',
  '-',
  '1e999',
  '9'.repeat(20),
  '"a":',
  '\\ud800',
  'NaN',
  '"__proto__":',
  ',{}',
  '{"a":',
].map(text => Buffer.from(text));

type Edit = (bytes: Buffer, random: Random) => Buffer;

const edits: readonly Edit[] = [
  (bytes, random) => {
    bytes[random.below(bytes.length)] ^= 1 << random.below(8);
    return bytes;
  },
  (bytes, random) => {
    bytes[random.below(bytes.length)] = random.below(256);
    return bytes;
  },
  // A number of 1, 2, 4 or 8 bytes.
  (bytes, random) => {
    const size = 1 << random.below(4);
    const number = Buffer.alloc(8);
    number.writeBigUInt64LE(random.pick(NUMBERS));
    number.copy(bytes, random.below(bytes.length), 0, size);
    return bytes;
  },
  // A digit.
  (bytes, random) => {
    let at = random.below(bytes.length);
    for (let i = 0; i < 64 && !(bytes[at] >= 0x30 && bytes[at] <= 0x39); i++) at = (at + 1) % bytes.length;
    bytes[at] = 0x30 + random.below(10);
    return bytes;
  },
  (bytes, random) => bytes.subarray(0, random.below(bytes.length + 1)),
  (bytes, random) => spliced(bytes, random.below(bytes.length), random.below(20), Buffer.alloc(0)),
  (bytes, random) => spliced(bytes, random.below(bytes.length), random.below(4), random.pick(PIECES)),
  // A piece or a part of itself many times.
  (bytes, random) => {
    const from = random.below(bytes.length);
    const part = random.below(2) ? random.pick(PIECES) : bytes.subarray(from, from + 1 + random.below(40));
    const many = Buffer.alloc(part.length << random.below(13), part);
    return spliced(bytes, random.below(bytes.length), 0, many);
  },
  // A part of itself elsewhere.
  (bytes, random) => {
    const from = random.below(bytes.length);
    const part = Buffer.from(bytes.subarray(from, from + random.below(40)));
    return spliced(bytes, random.below(bytes.length), random.below(2) * part.length, part);
  },
];

function spliced(bytes: Buffer, at: number, removed: number, added: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, at), added, bytes.subarray(at + removed)]);
}

/** A changed copy: one to four edits. */
export function mutated(file: Uint8Array, random: Random): Buffer {
  let bytes: Buffer = Buffer.from(file);
  for (let left = 1 + random.below(4); left > 0 && bytes.length > 0; left--) {
    bytes = random.pick(edits)(bytes, random);
  }
  return bytes;
}
