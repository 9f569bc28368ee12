/**
 * Reads a pickle as data, as far as state_dicts of PyTorch need it: a fixed set of opcodes, and of globals a fixed set of names. Nothing
 * is ever called: a global is its name, and what a pickle would have it called with becomes a record of both. Anything else is
 * refused by name. Time and memory are in proportion to the pickle's length, whatever refers to what.
 */
import { quoted } from './tensor-table';

/** A global, by its module and name. */
export class PickleGlobal {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}
/** What a global would have been called with. */
export class PickleCall {
  readonly global: PickleGlobal;
  readonly args: readonly PickleValue[];
  constructor(global: PickleGlobal, args: readonly PickleValue[]) {
    this.global = global;
    this.args = args;
  }
}
/** What the pickle's writer keeps elsewhere: of PyTorch, a storage. */
export class PersistentId {
  readonly id: PickleValue;
  constructor(id: PickleValue) {
    this.id = id;
  }
}
/** Tuples and lists are arrays, dictionaries Maps. */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickleValue[]
  | Map<PickleValue, PickleValue>
  | PickleGlobal
  | PickleCall
  | PersistentId;

/** Thrown where more bytes are needed than there are. */
export class PickleEnds extends SyntaxError {}

const MARK = Symbol('mark');
type Stacked = PickleValue | typeof MARK;

/** Opcodes by their bytes. */
const OP = {
  mark: 0x28,
  emptyTuple: 0x29,
  stop: 0x2e,
  pop: 0x30,
  popMark: 0x31,
  binFloat: 0x47,
  binInt: 0x4a,
  binInt1: 0x4b,
  binInt2: 0x4d,
  none: 0x4e,
  binPersId: 0x51,
  reduce: 0x52,
  binString: 0x54,
  shortBinString: 0x55,
  binUnicode: 0x58,
  emptyList: 0x5d,
  append: 0x61,
  build: 0x62,
  global: 0x63,
  dict: 0x64,
  appends: 0x65,
  binGet: 0x68,
  longBinGet: 0x6a,
  list: 0x6c,
  binPut: 0x71,
  longBinPut: 0x72,
  setItem: 0x73,
  tuple: 0x74,
  setItems: 0x75,
  emptyDict: 0x7d,
  proto: 0x80,
  tuple1: 0x85,
  tuple2: 0x86,
  tuple3: 0x87,
  newTrue: 0x88,
  newFalse: 0x89,
  long1: 0x8a,
  shortBinUnicode: 0x8c,
  binUnicode8: 0x8d,
  memoize: 0x94,
  stackGlobal: 0x93,
  frame: 0x95,
  binBytes: 0x42,
  shortBinBytes: 0x43,
} as const;

/** More digits are no number that a state_dict has. */
const LONGEST_NUMBER = 64;

/**
 * @param allowed names of the globals that may occur: 'torch._utils._rebuild_tensor_v2'
 * @param start where it begins
 * @returns its value, where it ends, and all that it says is kept elsewhere
 * @throws PickleEnds where it is not all there; SyntaxError for anything else than it may hold
 */
export function readPickle(
  bytes: Buffer,
  allowed: (name: string) => boolean,
  start = 0,
): { value: PickleValue; end: number; persistent: readonly PersistentId[] } {
  const persistent: PersistentId[] = [];
  const stack: Stacked[] = [];
  const memo: PickleValue[] = [];
  const globals = new Map<string, PickleGlobal>();
  let at = start;

  const advance = (length: number): number => {
    const from = at;
    if (!(length <= bytes.length - from)) throw new PickleEnds('it ends early');
    at += length;
    return from;
  };
  const text = (length: number, encoding: 'utf8' | 'latin1'): string => {
    const from = advance(length);
    return bytes.toString(encoding, from, from + length);
  };
  const line = (): string => {
    const end = bytes.indexOf(0x0a, at);
    if (end < 0) throw new PickleEnds('it ends early');
    const from = advance(end - at + 1);
    return bytes.toString('latin1', from, end);
  };
  const pop = (): PickleValue => {
    const value = stack.pop();
    if (value === undefined || value === MARK) throw new SyntaxError('it takes what is not there');
    return value;
  };
  const popToMark = (): PickleValue[] => {
    const mark = stack.lastIndexOf(MARK);
    if (mark < 0) throw new SyntaxError('it takes what is not there');
    return stack.splice(mark).slice(1) as PickleValue[];
  };
  const top = (): PickleValue => {
    const value = stack[stack.length - 1];
    if (value === undefined || value === MARK) throw new SyntaxError('it takes what is not there');
    return value;
  };
  const topOf = <T extends PickleValue>(is: (value: PickleValue) => value is T): T => {
    const value = top();
    if (!is(value)) throw new SyntaxError('it changes what cannot be changed');
    return value;
  };
  const isMap = (value: PickleValue): value is Map<PickleValue, PickleValue> => value instanceof Map;
  const isList = (value: PickleValue): value is PickleValue[] => Array.isArray(value);
  const setItems = (items: PickleValue[]): void => {
    if (items.length % 2 !== 0) throw new SyntaxError('it has a key without a value');
    const map = topOf(isMap);
    for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1]);
  };
  const globalOf = (name: string): PickleGlobal => {
    if (!allowed(name)) throw new SyntaxError(`it holds ${quoted(name)}, which is not read`);
    let global = globals.get(name);
    if (!global) {
      global = new PickleGlobal(name);
      globals.set(name, global);
    }
    return global;
  };
  const remembered = (index: number): PickleValue => {
    const value = memo[index];
    if (value === undefined) throw new SyntaxError('it refers to what is not there');
    return value;
  };
  const remember = (index: number): void => {
    // Writers count up; an index beyond the number of opcodes so far is none of theirs.
    if (index > at) throw new SyntaxError('it numbers what it remembers as nobody does');
    memo[index] = top();
  };

  for (;;) {
    const opcode = bytes[advance(1)];
    switch (opcode) {
      case OP.proto:
        advance(1);
        break;
      case OP.frame:
        advance(8);
        break;
      case OP.stop: {
        const value = pop();
        if (stack.length > 0) throw new SyntaxError('it leaves more than one value');
        return { value, end: at, persistent };
      }
      case OP.mark:
        stack.push(MARK);
        break;
      case OP.pop:
        if (stack.pop() === undefined) throw new SyntaxError('it takes what is not there');
        break;
      case OP.popMark:
        popToMark();
        break;
      case OP.none:
        stack.push(null);
        break;
      case OP.newTrue:
        stack.push(true);
        break;
      case OP.newFalse:
        stack.push(false);
        break;
      case OP.binInt:
        stack.push(bytes.readInt32LE(advance(4)));
        break;
      case OP.binInt1:
        stack.push(bytes[advance(1)]);
        break;
      case OP.binInt2:
        stack.push(bytes.readUInt16LE(advance(2)));
        break;
      case OP.long1:
        stack.push(integer(bytes.subarray(...span(advance(bytes[advance(1)]), at))));
        break;
      case OP.binFloat:
        stack.push(bytes.readDoubleBE(advance(8)));
        break;
      case OP.binUnicode:
        stack.push(text(bytes.readUInt32LE(advance(4)), 'utf8'));
        break;
      case OP.shortBinUnicode:
        stack.push(text(bytes[advance(1)], 'utf8'));
        break;
      case OP.binUnicode8:
        stack.push(text(Number(bytes.readBigUInt64LE(advance(8))), 'utf8'));
        break;
      case OP.binString:
        stack.push(text(bytes.readUInt32LE(advance(4)), 'latin1'));
        break;
      case OP.shortBinString:
        stack.push(text(bytes[advance(1)], 'latin1'));
        break;
      case OP.binBytes:
        stack.push(bytes.subarray(...span(advance(bytes.readUInt32LE(advance(4))), at)));
        break;
      case OP.shortBinBytes:
        stack.push(bytes.subarray(...span(advance(bytes[advance(1)]), at)));
        break;
      case OP.emptyTuple:
      case OP.emptyList:
        stack.push([]);
        break;
      case OP.tuple1:
      case OP.tuple2:
      case OP.tuple3: {
        const items: PickleValue[] = [];
        for (let i = opcode - OP.tuple1; i >= 0; i--) items.unshift(pop());
        stack.push(items);
        break;
      }
      case OP.tuple:
      case OP.list:
        stack.push(popToMark());
        break;
      case OP.append: {
        const item = pop();
        topOf(isList).push(item);
        break;
      }
      case OP.appends: {
        const items = popToMark();
        const list = topOf(isList);
        for (const item of items) list.push(item);
        break;
      }
      case OP.emptyDict:
        stack.push(new Map());
        break;
      case OP.dict: {
        const items = popToMark();
        stack.push(new Map());
        setItems(items);
        break;
      }
      case OP.setItem: {
        const value = pop();
        setItems([pop(), value]);
        break;
      }
      case OP.setItems:
        setItems(popToMark());
        break;
      case OP.global: {
        const module = line();
        stack.push(globalOf(`${module}.${line()}`));
        break;
      }
      case OP.stackGlobal: {
        const name = pop();
        const module = pop();
        if (typeof name !== 'string' || typeof module !== 'string')
          throw new SyntaxError('a global has no name');
        stack.push(globalOf(`${module}.${name}`));
        break;
      }
      case OP.reduce: {
        const args = pop();
        const global = pop();
        if (!(global instanceof PickleGlobal) || !Array.isArray(args)) {
          throw new SyntaxError('it calls what is no function');
        }
        // An ordered dictionary is one like others, which its items come to.
        stack.push(global.name === 'collections.OrderedDict' ? new Map() : new PickleCall(global, args));
        break;
      }
      case OP.build:
        // Attributes of a dictionary, such as a state_dict's versions.
        pop();
        topOf(isMap);
        break;
      case OP.binPersId:
        persistent.push(new PersistentId(pop()));
        stack.push(persistent[persistent.length - 1]);
        break;
      case OP.binGet:
        stack.push(remembered(bytes[advance(1)]));
        break;
      case OP.longBinGet:
        stack.push(remembered(bytes.readUInt32LE(advance(4))));
        break;
      case OP.binPut:
        remember(bytes[advance(1)]);
        break;
      case OP.longBinPut:
        remember(bytes.readUInt32LE(advance(4)));
        break;
      case OP.memoize:
        memo.push(top());
        break;
      default:
        throw new SyntaxError(
          `it has the opcode 0x${opcode.toString(16).padStart(2, '0')}, which is not read`,
        );
    }
  }
}

const span = (from: number, to: number): [number, number] => [from, to];

/** Little-endian, in two's complement. */
function integer(bytes: Buffer): number | bigint {
  if (bytes.length > LONGEST_NUMBER) throw new SyntaxError(`it has a number of ${bytes.length} bytes`);
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]);
  if (bytes.length > 0 && bytes[bytes.length - 1] & 128) value -= 1n << BigInt(8 * bytes.length);
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
