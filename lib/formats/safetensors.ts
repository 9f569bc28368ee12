/** The header of a .safetensors file: eight bytes of length, then JSON that says where each tensor lies. */
import { isUtf8 } from 'node:buffer';
import { LMHeadError } from '../errors';
import { JsonScanner } from './json-scanner';
import { type FilePlan, MOST_HEADER_BYTES } from './read-plan';
import {
  countOf,
  LONGEST_NAME,
  MOST_DIMENSIONS,
  MOST_KEYS,
  quoted,
  shapeText,
  type TensorEntry,
  type TensorTable,
} from './tensor-table';

/** Bits of one number. */
const BITS = new Map([
  ...['F4'].map(name => [name, 4] as const),
  ...['F6_E2M3', 'F6_E3M2'].map(name => [name, 6] as const),
  ...['BOOL', 'U8', 'I8', 'F8_E5M2', 'F8_E4M3', 'F8_E8M0', 'F8_E4M3FNUZ', 'F8_E5M2FNUZ'].map(
    name => [name, 8] as const,
  ),
  ...['I16', 'U16', 'F16', 'BF16'].map(name => [name, 16] as const),
  ...['I32', 'U32', 'F32'].map(name => [name, 32] as const),
  ...['I64', 'U64', 'F64', 'C64'].map(name => [name, 64] as const),
]);

/** What the header of a .safetensors file holds. */
export interface SafetensorsHeader {
  tensors: TensorTable;
  /** Of `__metadata__`. */
  metadata: Map<string, string>;
}

/**
 * Reads the tensors' names, types, shapes and offsets, and checks all of them against each other and the file's size.
 * @param name the file's name, for messages
 */
export function* readSafetensors(name: string, fileSize: number): FilePlan<SafetensorsHeader> {
  if (fileSize === 0) throw malformed(name, 'the file is empty');
  if (fileSize < 8) throw malformed(name, `the file has ${fileSize} bytes, too few for the header's length`);
  const start = yield { offset: 0, length: 8 };
  const length = new DataView(start.buffer, start.byteOffset).getBigUint64(0, true);
  if (length > BigInt(fileSize - 8)) {
    const text = Buffer.from(start).toString('latin1');
    const asText = /^[\t\n\r -~]*$/.test(text)
      ? `it begins as text does, with ${JSON.stringify(text)}: `
      : '';
    const fault = length <= MOST_HEADER_BYTES ? 'it has been cut short: ' : asText;
    throw malformed(name, `${fault}a header of ${length} bytes does not fit in a file of ${fileSize}`);
  }
  if (length > MOST_HEADER_BYTES) {
    throw malformed(name, `the header has ${length} bytes, more than ${MOST_HEADER_BYTES}`);
  }
  return parseHeader(yield { offset: 8, length: Number(length) }, fileSize, name);
}

/**
 * Parses the header.
 * @param header its bytes, without the eight of its length
 * @param fileSize of the whole file
 * @throws LMHeadError FORMAT where anything is not as the format demands
 */
export function parseHeader(header: Uint8Array, fileSize: number, name: string): SafetensorsHeader {
  if (!isUtf8(header)) throw malformed(name, 'the header is not UTF-8');
  const dataStart = 8 + header.byteLength;
  const tensors: TensorTable = new Map();
  let metadata: Map<string, string> | undefined;
  const scanner = new JsonScanner(header);
  try {
    scanner.members(key => {
      if (key === '__metadata__' ? metadata : tensors.has(key)) throw scanner.twice(key);
      if (key === '__metadata__') {
        metadata = readMetadata(scanner);
        return;
      }
      tensors.set(key, readEntry(scanner, key, dataStart));
    }, LONGEST_NAME);
    scanner.end();
  } catch (error) {
    if (error instanceof SyntaxError) throw malformed(name, `its header has ${error.message}`, error);
    throw error;
  }
  requireWholeFile(tensors, dataStart, fileSize, name);
  return { tensors, metadata: metadata ?? new Map() };
}

function readMetadata(scanner: JsonScanner): Map<string, string> {
  const metadata = new Map<string, string>();
  scanner.members(key => {
    if (metadata.has(key)) throw scanner.twice(key);
    if (metadata.size === MOST_KEYS) throw scanner.tooMany('keys of metadata', MOST_KEYS);
    metadata.set(key, scanner.string());
  });
  return metadata;
}

/** Reads {dtype, shape, data_offsets}; other keys are read over, as the reference reader does. */
function readEntry(scanner: JsonScanner, name: string, dataStart: number): TensorEntry {
  let dtype: string | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  scanner.object(key => {
    if (key === 'dtype') dtype = scanner.string();
    else if (key === 'shape') shape = integers(scanner);
    else if (key === 'data_offsets') offsets = integers(scanner);
    else scanner.skip();
  });
  const malformedEntry = (what: string) => new SyntaxError(`tensor ${quoted(name)} ${what}`);
  if (dtype === undefined || shape === undefined || offsets === undefined) {
    throw malformedEntry('without dtype, shape or data_offsets');
  }
  if (offsets.length !== 2) throw malformedEntry(`with ${offsets.length} data_offsets, not 2`);
  const bits = BITS.get(dtype);
  if (bits === undefined) throw malformedEntry(`of the unknown dtype ${quoted(dtype)}`);
  const [begin, end] = offsets;
  const bytes = byteCount(shape, bits);
  if (bytes === undefined)
    throw malformedEntry(`of ${dtype} ${shapeText(shape)}, which is no number of bytes`);
  if (end - begin !== bytes) {
    throw malformedEntry(
      `of ${dtype} ${shapeText(shape)}, ${bytes} bytes, at data_offsets [${begin}, ${end}]`,
    );
  }
  return { dtype, shape, begin: dataStart + begin, end: dataStart + end };
}

function integers(scanner: JsonScanner): number[] {
  const numbers: number[] = [];
  scanner.array(() => {
    if (numbers.length === MOST_DIMENSIONS) throw scanner.tooMany('numbers in a list', MOST_DIMENSIONS);
    numbers.push(scanner.integer());
  });
  return numbers;
}

/** Undefined where it is no integer, or too large. */
function byteCount(shape: number[], bits: number): number | undefined {
  const count = countOf(shape, Number.MAX_SAFE_INTEGER / bits);
  return count !== undefined && (count * bits) % 8 === 0 ? (count * bits) / 8 : undefined;
}

/** The tensors must fill the file from the header to the end, without a hole and without overlap. */
function requireWholeFile(tensors: TensorTable, dataStart: number, fileSize: number, name: string): void {
  let at = dataStart;
  for (const [key, { begin, end }] of [...tensors].sort(
    ([, a], [, b]) => a.begin - b.begin || a.end - b.end,
  )) {
    if (begin !== at) {
      const fault = begin < at ? 'overlaps another' : 'leaves a hole before it';
      throw malformed(name, `tensor ${quoted(key)} ${fault}: it begins at byte ${begin}, not ${at}`);
    }
    at = end;
  }
  if (at !== fileSize) {
    const fault = at < fileSize ? 'bytes that belong to no tensor' : 'been cut short';
    throw malformed(name, `the file has ${fault}: its tensors end at byte ${at}, the file at ${fileSize}`);
  }
}

function malformed(name: string, what: string, cause?: unknown): LMHeadError {
  return new LMHeadError('FORMAT', `${name}: ${what}; want a well-formed .safetensors file`, { cause });
}
