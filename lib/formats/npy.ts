/** The header of a .npy file: a Python dictionary that says what one array's elements are and how they lie. Versions 1 to 3. */
import { isUtf8 } from 'node:buffer';
import { LMHeadError } from '../errors';
import type { FilePlan } from './read-plan';
import { countOf, MOST_DIMENSIONS, quoted, shapeText, type TensorEntry } from './tensor-table';

const MAGIC = '\x93NUMPY';
/** NumPy's own limit, max_header_size. */
const LONGEST_HEADER = 10_000;

/** NumPy's kinds of number by letter and bytes, by the names that safetensors gives them. */
const DTYPES = new Map([
  ['f2', 'F16'],
  ['f4', 'F32'],
  ['f8', 'F64'],
  ['i1', 'I8'],
  ['i2', 'I16'],
  ['i4', 'I32'],
  ['i8', 'I64'],
  ['u1', 'U8'],
  ['u2', 'U16'],
  ['u4', 'U32'],
  ['u8', 'U64'],
  ['c8', 'C64'],
  ['c16', 'C128'],
  ['b1', 'BOOL'],
]);

/**
 * Reads what the array is, and checks it against the file's size.
 * @param name the file's name, for messages
 */
export function* readNpy(name: string, fileSize: number): FilePlan<TensorEntry> {
  if (fileSize < 10) throw malformed(name, `it has ${fileSize} bytes, too few for a header`);
  const start = Buffer.from(yield { offset: 0, length: Math.min(fileSize, 12) });
  if (start.toString('latin1', 0, 6) !== MAGIC) throw malformed(name, 'it does not begin with \\x93NUMPY');
  const [major, minor] = [start[6], start[7]];
  if (major < 1 || major > 3 || minor !== 0) {
    throw malformed(name, `its version is ${major}.${minor}, not 1.0, 2.0 or 3.0`);
  }
  const lengthBytes = major === 1 ? 2 : 4;
  const headerStart = 8 + lengthBytes;
  if (fileSize < headerStart) throw malformed(name, `it has ${fileSize} bytes, too few for a header`);
  const length = start.readUIntLE(8, lengthBytes);
  if (length > fileSize - headerStart) {
    throw malformed(name, `a header of ${length} bytes does not fit in a file of ${fileSize}`);
  }
  if (length > LONGEST_HEADER) {
    throw malformed(name, `its header has ${length} bytes, more than ${LONGEST_HEADER}`);
  }
  const bytes = yield { offset: headerStart, length };
  if (major === 3 && !isUtf8(bytes)) throw malformed(name, 'its header is not UTF-8');
  const text = Buffer.from(bytes).toString(major === 3 ? 'utf8' : 'latin1');
  try {
    return describe(new DictionaryReader(text).read(), headerStart + length, fileSize);
  } catch (error) {
    if (error instanceof SyntaxError) throw malformed(name, error.message, error);
    throw error;
  }
}

/** The three things that a header holds. */
interface Header {
  /** A type's code; undefined of a structured type, which is a list of them. */
  descr: string | undefined;
  fortranOrder: boolean;
  shape: number[];
}

function describe({ descr, fortranOrder, shape }: Header, begin: number, fileSize: number): TensorEntry {
  if (shape.length > MOST_DIMENSIONS) throw new SyntaxError(`its array has ${shape.length} dimensions`);
  const code = /^([<>|=]?)([a-zA-Z?]\d{0,9})/.exec(descr ?? '');
  if (descr !== undefined && !code) throw new SyntaxError(`its descr is ${quoted(descr)}`);
  const [, order, type] = code ?? ['', '', ''];
  // Of types that are not used it need not be known how long they are: 'U3' is 12 bytes, and 'O' a pickle.
  const dtype = DTYPES.get(type) ?? descr ?? 'structured';
  const bytesEach = DTYPES.has(type) ? Number(type.slice(1)) : 0;
  const count = countOf(shape, Number.MAX_SAFE_INTEGER / Math.max(1, bytesEach));
  if (count === undefined) throw new SyntaxError(`an array of ${shapeText(shape)} is too large to be`);
  const end = begin + count * bytesEach;
  if (end > fileSize) {
    throw new SyntaxError(`it has been cut short: its array ends at byte ${end}, the file at ${fileSize}`);
  }
  const entry: TensorEntry = { dtype, shape, begin, end: bytesEach > 0 ? end : fileSize };
  if (fortranOrder && shape.length > 1) entry.columnMajor = true;
  if (order === '>') entry.bigEndian = true;
  return entry;
}

/** Reads a literal dictionary of Python, as far as .npy files have them: nothing is evaluated. */
class DictionaryReader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(): Header {
    let descr: string | undefined;
    let fortranOrder: boolean | undefined;
    let shape: number[] | undefined;
    const seen = new Set<string>();
    this.#expect(/\{/y, "'{'");
    while (!this.#accept(/\}/y)) {
      const key = this.#string();
      if (seen.has(key)) throw new SyntaxError(`its header has key ${quoted(key)} twice`);
      seen.add(key);
      this.#expect(/:/y, "':'");
      if (key === 'descr') descr = this.#startsList() ? this.#skipList() : this.#string();
      else if (key === 'fortran_order')
        fortranOrder = this.#expect(/True|False/y, 'True or False') === 'True';
      else if (key === 'shape') shape = this.#shape();
      else throw new SyntaxError(`its header has the unknown key ${quoted(key)}`);
      if (!this.#accept(/,/y)) {
        this.#expect(/\}/y, "'}'");
        break;
      }
    }
    this.#expect(/$/y, 'the end');
    if (!seen.has('descr') || fortranOrder === undefined || shape === undefined) {
      throw new SyntaxError('its header lacks descr, fortran_order or shape');
    }
    return { descr, fortranOrder, shape };
  }

  #string(): string {
    return this.#expect(/'[^'\\]*'|"[^"\\]*"/y, 'a string').slice(1, -1);
  }

  #shape(): number[] {
    const shape: number[] = [];
    this.#expect(/\(/y, "'('");
    while (!this.#accept(/\)/y)) {
      // Python 2 wrote an L behind long numbers.
      const size = Number.parseInt(this.#expect(/\d{1,16}L?(?!\d)/y, 'a dimension'), 10);
      if (!Number.isSafeInteger(size)) throw new SyntaxError('it has a dimension of 2^53 or more');
      shape.push(size);
      if (!this.#accept(/,/y)) {
        // (7) is no tuple, but a number.
        if (shape.length === 1) throw this.#unexpected("','");
        this.#expect(/\)/y, "')'");
        break;
      }
    }
    return shape;
  }

  #startsList(): boolean {
    return this.#accept(/(?=[[(])/y) !== undefined;
  }

  /** A structured type: a list of pairs, which may hold lists. */
  #skipList(): undefined {
    let depth = 0;
    do {
      const token = this.#expect(/[[\](),]|'[^'\\]*'|"[^"\\]*"|\d+/y, 'a type');
      if (token === '[' || token === '(') depth++;
      else if (token === ']' || token === ')') depth--;
    } while (depth > 0);
    return undefined;
  }

  /** What stands here by a sticky pattern, behind white space; undefined where it does not. */
  #accept(pattern: RegExp): string | undefined {
    while (/\s/.test(this.#text[this.#at] ?? '')) this.#at++;
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    this.#at += found?.length ?? 0;
    return found;
  }

  #expect(pattern: RegExp, what: string): string {
    const found = this.#accept(pattern);
    if (found === undefined) throw this.#unexpected(what);
    return found;
  }

  #unexpected(wanted: string): SyntaxError {
    const next = this.#text[this.#at];
    return new SyntaxError(
      `its header has ${next === undefined ? 'the end' : JSON.stringify(next)} where ${wanted} should be`,
    );
  }
}

function malformed(name: string, what: string, cause?: unknown): LMHeadError {
  return new LMHeadError('FORMAT', `${name}: ${what}; want a well-formed .npy file`, { cause });
}
