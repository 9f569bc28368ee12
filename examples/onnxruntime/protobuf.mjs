/** Just enough of Protocol Buffers to write a message: https://protobuf.dev/programming-guides/encoding/ */

const VARINT = 0;
const BYTES = 2;

/** @param {bigint} n at least 0 */
function varint(n) {
  const bytes = [];
  for (; n > 127n; n >>= 7n) bytes.push(Number(n & 127n) | 128);
  bytes.push(Number(n));
  return Uint8Array.from(bytes);
}

const key = (field, type) => varint(BigInt((field << 3) | type));

/** An integer of 64 bits, negative ones in two's complement. */
export const int = (field, value) =>
  Buffer.concat([key(field, VARINT), varint(BigInt.asUintN(64, BigInt(value)))]);

/** A string, raw bytes, or a message: parts of which `message` made one. */
export const bytes = (field, value) => {
  const content = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([key(field, BYTES), varint(BigInt(content.length)), content]);
};

/** @param {Uint8Array[]} fields */
export const message = (...fields) => Buffer.concat(fields);
