/** Makes ZIP archives, right ones and wrong ones. */
import { deflateRawSync } from 'node:zlib';

/** A well-formed archive of these members. @param zip64 write sizes and places as large archives have them */
export function zip(
  members: readonly (readonly [name: string, bytes: Uint8Array])[],
  { deflate = false, zip64 = false, comment = '' } = {},
): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  const push = (bytes: Buffer) => {
    parts.push(bytes);
    at += bytes.length;
  };
  for (const [name, bytes] of members) {
    const stored = deflate ? deflateRawSync(bytes) : Buffer.from(bytes);
    // As PyTorch does, bytes begin at multiples of 64: an extra field takes the room.
    const nameBytes = Buffer.from(name);
    const extra = Buffer.alloc(4 + ((64 - ((at + 34 + nameBytes.length) % 64)) % 64), 'Z');
    extra.write('FB', 0, 'latin1');
    extra.writeUInt16LE(extra.length - 4, 2);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(deflate ? 8 : 0, 8);
    local.writeUInt32LE(stored.length, 18);
    local.writeUInt32LE(bytes.length, 22);
    local.writeUInt16LE(nameBytes.length, 26);
    local.writeUInt16LE(extra.length, 28);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(deflate ? 8 : 0, 10);
    central.writeUInt16LE(nameBytes.length, 28);
    const wide = Buffer.alloc(zip64 ? 28 : 0);
    if (zip64) {
      central.fill(255, 20, 28);
      central.fill(255, 42, 46);
      wide.writeUInt16LE(1, 0);
      wide.writeUInt16LE(24, 2);
      wide.writeBigUInt64LE(BigInt(bytes.length), 4);
      wide.writeBigUInt64LE(BigInt(stored.length), 12);
      wide.writeBigUInt64LE(BigInt(at), 20);
    } else {
      central.writeUInt32LE(stored.length, 20);
      central.writeUInt32LE(bytes.length, 24);
      central.writeUInt32LE(at, 42);
    }
    central.writeUInt16LE(wide.length, 30);
    directory.push(Buffer.concat([central, nameBytes, wide]));
    push(Buffer.concat([local, nameBytes, extra, stored]));
  }
  const central = Buffer.concat(directory);
  const start = at;
  push(central);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  if (zip64) {
    const record = Buffer.alloc(56);
    record.writeUInt32LE(0x06064b50, 0);
    record.writeBigUInt64LE(44n, 4);
    record.writeBigUInt64LE(BigInt(members.length), 24);
    record.writeBigUInt64LE(BigInt(members.length), 32);
    record.writeBigUInt64LE(BigInt(central.length), 40);
    record.writeBigUInt64LE(BigInt(start), 48);
    const locator = Buffer.alloc(20);
    locator.writeUInt32LE(0x07064b50, 0);
    locator.writeBigUInt64LE(BigInt(at), 8);
    locator.writeUInt32LE(1, 16);
    push(record);
    push(locator);
    end.fill(255, 8, 20);
  } else {
    end.writeUInt16LE(members.length, 8);
    end.writeUInt16LE(members.length, 10);
    end.writeUInt32LE(central.length, 12);
    end.writeUInt32LE(start, 16);
  }
  end.writeUInt16LE(comment.length, 20);
  push(end);
  push(Buffer.from(comment));
  return Buffer.concat(parts);
}
