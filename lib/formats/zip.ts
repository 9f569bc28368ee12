/** The directory of a ZIP archive, as PyTorch and NumPy write them: members that are stored as they are, or deflated. */
import { type FilePlan, MOST_HEADER_BYTES } from './read-plan';

export interface ZipMember {
  /** Where its local header begins; its bytes follow that, at a distance that only the header says. */
  header: number;
  /** As it lies in the file. */
  size: number;
  /** As it is meant. */
  unpackedSize: number;
  deflated: boolean;
}

const END = 0x06054b50;
const END_64 = 0x06064b50;
const LOCATOR_64 = 0x07064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
const END_BYTES = 22;
const LOCATOR_BYTES = 20;
/** Of the end record: it closes with a comment of at most so many bytes. */
const LONGEST_COMMENT = 65_535;
const ALL_ONES = 0xffffffff;
/** Of a local header, without name and extra fields. */
export const LOCAL_BYTES = 30;

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * All members by their names.
 * @throws SyntaxError where it is no archive, or one in parts or encrypted
 */
export function* readZip(fileSize: number): FilePlan<Map<string, ZipMember>> {
  const { offset, size, count } = yield* findDirectory(fileSize);
  if (size > MOST_HEADER_BYTES)
    throw new SyntaxError(`its directory has ${size} bytes, more than ${MOST_HEADER_BYTES}`);
  if (offset + size > fileSize) throw new SyntaxError('its directory lies outside of it');
  const bytes = asBuffer(yield { offset, length: size });
  const members = new Map<string, ZipMember>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > bytes.length || bytes.readUInt32LE(at) !== CENTRAL)
      throw new SyntaxError('its directory is damaged');
    const lengths = [28, 30, 32].map(field => bytes.readUInt16LE(at + field));
    const next = at + 46 + lengths[0] + lengths[1] + lengths[2];
    if (next > bytes.length) throw new SyntaxError('its directory is damaged');
    const name = bytes.toString('utf8', at + 46, at + 46 + lengths[0]);
    if (members.has(name)) throw new SyntaxError(`it has ${JSON.stringify(name.slice(0, 80))} twice`);
    members.set(name, memberAt(bytes, at, at + 46 + lengths[0], lengths[1]));
    at = next;
  }
  return members;
}

function memberAt(bytes: Buffer, at: number, extra: number, extraLength: number): ZipMember {
  const flags = bytes.readUInt16LE(at + 8);
  const method = bytes.readUInt16LE(at + 10);
  if (flags & 1) throw new SyntaxError('it is encrypted');
  if (method !== 0 && method !== 8)
    throw new SyntaxError(`it is packed by method ${method}, which is not read`);
  const [size, unpackedSize, header] = [20, 24, 42].map(field => bytes.readUInt32LE(at + field));
  const member: ZipMember = { header, size, unpackedSize, deflated: method === 8 };
  // Numbers that do not fit stand in an extra field, in this order.
  const wide = (['unpackedSize', 'size', 'header'] as const).filter(field => member[field] === ALL_ONES);
  for (let field = extra; wide.length > 0 && field + 4 <= extra + extraLength; ) {
    const [id, length] = [bytes.readUInt16LE(field), bytes.readUInt16LE(field + 2)];
    if (id === 1 && length >= 8 * wide.length && field + 4 + length <= extra + extraLength) {
      for (const [i, name] of wide.splice(0).entries()) member[name] = large(bytes, field + 4 + 8 * i);
    }
    field += 4 + length;
  }
  return member;
}

function large(bytes: Buffer, at: number): number {
  const value = Number(bytes.readBigUInt64LE(at));
  if (!Number.isSafeInteger(value)) throw new SyntaxError('it has a size of 2^53 or more');
  return value;
}

function* findDirectory(fileSize: number): FilePlan<{ offset: number; size: number; count: number }> {
  if (fileSize < END_BYTES) throw new SyntaxError('it is cut short');
  // Without a comment, as all writers of weights leave it, the record is the last thing there is.
  const lengths = [END_BYTES + LOCATOR_BYTES, END_BYTES + LOCATOR_BYTES + LONGEST_COMMENT];
  for (const wanted of lengths) {
    const length = Math.min(fileSize, wanted);
    const bytes = asBuffer(yield { offset: fileSize - length, length });
    for (let at = length - END_BYTES; at >= 0; at--) {
      if (bytes.readUInt32LE(at) !== END || at + END_BYTES + bytes.readUInt16LE(at + 20) !== length) continue;
      const [count, size, offset] = [
        bytes.readUInt16LE(at + 10),
        bytes.readUInt32LE(at + 12),
        bytes.readUInt32LE(at + 16),
      ];
      const locator = at - LOCATOR_BYTES;
      if (locator >= 0 && bytes.readUInt32LE(locator) === LOCATOR_64) {
        return yield* wideDirectory(large(bytes, locator + 8), fileSize);
      }
      return { offset, size, count };
    }
    if (length === fileSize) break;
  }
  throw new SyntaxError('it is cut short: it has no directory');
}

function* wideDirectory(
  at: number,
  fileSize: number,
): FilePlan<{ offset: number; size: number; count: number }> {
  if (at + 56 > fileSize) throw new SyntaxError('its directory lies outside of it');
  const bytes = asBuffer(yield { offset: at, length: 56 });
  if (bytes.readUInt32LE(0) !== END_64) throw new SyntaxError('its directory is damaged');
  return { count: large(bytes, 32), size: large(bytes, 40), offset: large(bytes, 48) };
}

/**
 * Where a member's bytes begin.
 * @param bytes of its local header, which is at `header`
 * @returns undefined where there is none
 */
export function bytesBegin(bytes: Uint8Array, header: number): number | undefined {
  const local = asBuffer(bytes);
  if (local.length < LOCAL_BYTES || local.readUInt32LE(0) !== LOCAL) return undefined;
  return header + LOCAL_BYTES + local.readUInt16LE(26) + local.readUInt16LE(28);
}

/**
 * Where a member's bytes begin, all of which are in the file.
 * @throws SyntaxError
 */
export function* offsetOf({ header, size }: ZipMember, fileSize: number): FilePlan<number> {
  if (header + LOCAL_BYTES > fileSize) throw new SyntaxError('it is cut short');
  const begin = bytesBegin(yield { offset: header, length: LOCAL_BYTES }, header);
  if (begin === undefined) throw new SyntaxError('a member of it is not where it should be');
  if (begin + size > fileSize) throw new SyntaxError('it is cut short');
  return begin;
}

/** Bytes of a member as they lie in the file, at most so many. */
export function* readMember(
  member: ZipMember,
  fileSize: number,
  most: number,
): FilePlan<Uint8Array<ArrayBuffer>> {
  const { size } = member;
  if (size > most) throw new SyntaxError(`a member of it has ${size} bytes, more than ${most}`);
  return yield { offset: yield* offsetOf(member, fileSize), length: size };
}
