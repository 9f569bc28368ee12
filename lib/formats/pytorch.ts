/**
 * PyTorch checkpoints (.bin, .pt, .pth): a pickle of a dictionary of tensors, whose storages lie beside it as they are, in a ZIP archive
 * or, as before version 1.6, one after another behind the pickle.
 */
import { LMHeadError } from '../errors';
import { PersistentId, PickleCall, PickleEnds, PickleGlobal, type PickleValue, readPickle } from './pickle';
import { type FilePlan, MOST_HEADER_BYTES } from './read-plan';
import { countOf, quoted, type TensorEntry, type TensorTable } from './tensor-table';
import { asBuffer, readMember, type ZipMember } from './zip';

/** How the old form begins: a pickle of a number. */
export const LEGACY_MAGIC = '\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.';

/** Types of storage by their names, and types of tensors by torch's: safetensors' names. */
const STORAGES = new Map([
  ['FloatStorage', 'F32'],
  ['DoubleStorage', 'F64'],
  ['HalfStorage', 'F16'],
  ['BFloat16Storage', 'BF16'],
  ['LongStorage', 'I64'],
  ['IntStorage', 'I32'],
  ['ShortStorage', 'I16'],
  ['CharStorage', 'I8'],
  ['ByteStorage', 'U8'],
  ['BoolStorage', 'BOOL'],
]);
const DTYPES = new Map([
  ...['float32', 'float'].map(name => [name, 'F32'] as const),
  ...['float64', 'double'].map(name => [name, 'F64'] as const),
  ...['float16', 'half'].map(name => [name, 'F16'] as const),
  ['bfloat16', 'BF16'],
  ['float8_e4m3fn', 'F8_E4M3'],
  ['float8_e5m2', 'F8_E5M2'],
  ...['int64', 'int32', 'int16', 'int8'].map(name => [name, `I${name.slice(3)}`] as const),
  ...['uint64', 'uint32', 'uint16', 'uint8'].map(name => [name, `U${name.slice(4)}`] as const),
  ['bool', 'BOOL'],
]);
const BYTES = new Map([
  ...['F64', 'I64', 'U64'].map(name => [name, 8] as const),
  ...['F32', 'I32', 'U32'].map(name => [name, 4] as const),
  ...['F16', 'BF16', 'I16', 'U16'].map(name => [name, 2] as const),
  ...['I8', 'U8', 'BOOL', 'F8_E4M3', 'F8_E5M2'].map(name => [name, 1] as const),
]);
const UNTYPED = 'torch.storage.UntypedStorage';
const REBUILD = 'torch._utils._rebuild_';
const PARAMETER = `${REBUILD}parameter`;
const WITHOUT_NUMBERS = `${REBUILD}meta_tensor_no_storage`;
const FUNCTIONS = new Set([
  ...['tensor', 'tensor_v2', 'tensor_v3'].map(name => REBUILD + name),
  ...[PARAMETER, WITHOUT_NUMBERS],
]);
const OTHERS = new Set(['collections.OrderedDict', 'torch.Size', UNTYPED]);
/** A checkpoint of training has its model under one of these. */
const MODEL_KEYS = ['state_dict', 'model_state_dict', 'model', 'module', 'weights', 'params', 'net'];
const MOST_NESTING = 3;
const MOST_DIMENSIONS = 64;
const FIRST_READ = 1 << 16;

function isAllowed(name: string): boolean {
  if (FUNCTIONS.has(name) || OTHERS.has(name)) return true;
  const [, own] = /^torch\.(\w+)$/.exec(name) ?? [];
  return own !== undefined && (STORAGES.has(own) || DTYPES.has(own));
}

/** A tensor as the pickle describes it. */
interface Described {
  storage: { key: string; bytes: number };
  dtype: string;
  /** In values, into the storage. */
  offset: number;
  shape: number[];
  stride: number[];
}

const PICKLE = /^[^/]+\/data\.pkl$/;

/** Has torch.save written the archive? */
export function isCheckpoint(members: Map<string, ZipMember>): boolean {
  return [...members.keys()].some(name => PICKLE.test(name));
}

/**
 * The tensors of a ZIP archive that torch.save has written.
 * @param name the file's name, for messages
 */
export function* readPytorchZip(
  name: string,
  fileSize: number,
  members: Map<string, ZipMember>,
): FilePlan<TensorTable> {
  try {
    const pickle = [...members.keys()].find(key => PICKLE.test(key))!;
    const root = pickle.slice(0, -'data.pkl'.length);
    if (members.has(`${root}constants.pkl`)) throw new SyntaxError('it is a TorchScript program');
    const order = members.get(`${root}byteorder`);
    if (members.get(pickle)!.deflated || order?.deflated) throw new SyntaxError('it is compressed');
    const bigEndian =
      order !== undefined && asBuffer(yield* readMember(order, fileSize, 16)).toString('latin1') === 'big';
    const bytes = yield* readMember(members.get(pickle)!, fileSize, MOST_HEADER_BYTES);
    const { value } = readPickle(asBuffer(bytes), isAllowed);
    const tensors: TensorTable = new Map();
    for (const [key, tensor] of stateOf(value)) {
      const described = describe(tensor, key);
      if (!described) continue;
      const member = members.get(`${root}data/${described.storage.key}`);
      if (!member) throw new SyntaxError(`tensor ${quoted(key)} has no bytes`);
      if (member.deflated) throw new SyntaxError('it is compressed');
      if (described.storage.bytes > member.size || member.header + member.size > fileSize) {
        throw new SyntaxError(`tensor ${quoted(key)} is cut short`);
      }
      const entry = entryOf(described, key, 0);
      if (bigEndian) entry.bigEndian = true;
      tensors.set(key, { ...entry, zipHeader: member.header });
    }
    return tensors;
  } catch (error) {
    throw unreadable(name, error);
  }
}

/** As `readPytorchZip`, of a file in the form of before. */
export function* readPytorchLegacy(name: string, fileSize: number): FilePlan<TensorTable> {
  const longest = Math.min(fileSize, MOST_HEADER_BYTES);
  for (let length = Math.min(FIRST_READ, longest); ; length = Math.min(2 * length, longest)) {
    const bytes = asBuffer(yield { offset: 0, length });
    try {
      return legacyTensors(bytes, fileSize);
    } catch (error) {
      if (error instanceof PickleEnds && length < longest) continue;
      throw unreadable(name, error);
    }
  }
}

function legacyTensors(bytes: Buffer, fileSize: number): TensorTable {
  // A number, a version, and what machine wrote it; then the object, and the keys of its storages in their order.
  let at = LEGACY_MAGIC.length;
  const next = () => {
    const read = readPickle(bytes, isAllowed, at);
    at = read.end;
    return read;
  };
  next();
  const { value: system } = next();
  const { value: object, persistent } = next();
  const { value: keys } = next();
  if (!Array.isArray(keys)) throw new SyntaxError('it does not say where its tensors lie');
  const tensors: TensorTable = new Map();
  const sizes = new Map<string, number>();
  for (const id of persistent) {
    const storage = storageOf(id);
    if (storage) sizes.set(storage.key, storage.bytes);
  }
  const starts = new Map<string, number>();
  let start = at;
  for (const key of keys) {
    const size = typeof key === 'string' ? sizes.get(key) : undefined;
    if (size === undefined) throw new SyntaxError('it does not say how long its tensors are');
    // Each begins with its length.
    starts.set(key as string, start + 8);
    start += 8 + size;
  }
  for (const [key, tensor] of stateOf(object)) {
    const its = describe(tensor, key);
    if (!its) continue;
    const begin = starts.get(its.storage.key);
    if (begin === undefined) throw new SyntaxError(`tensor ${quoted(key)} has no bytes`);
    const entry = entryOf(its, key, begin);
    if (entry.end > fileSize) throw new SyntaxError(`tensor ${quoted(key)} is cut short`);
    if (system instanceof Map && system.get('little_endian') === false) entry.bigEndian = true;
    tensors.set(key, entry);
  }
  return tensors;
}

function unreadable(name: string, error: unknown): unknown {
  if (!(error instanceof SyntaxError)) return error;
  return new LMHeadError(
    'FORMAT',
    `${name}: ${error.message}; want a PyTorch checkpoint of nothing but tensors (torch.save of a state_dict), or convert it to ` +
      '.safetensors (in Python: safetensors.torch.save_file of its tensors)',
    { cause: error },
  );
}

/** The dictionary of tensors: the pickle's value, or what a checkpoint of training has of the model. */
function stateOf(value: PickleValue): [string, PickleValue][] {
  const seen = new Set<PickleValue>();
  const find = (map: PickleValue, nesting: number): Map<PickleValue, PickleValue> | undefined => {
    if (!(map instanceof Map) || seen.has(map) || nesting > MOST_NESTING) return undefined;
    seen.add(map);
    for (const item of map.values()) if (isTensor(item)) return map;
    for (const key of MODEL_KEYS) {
      const found = find(map.get(key) ?? null, nesting + 1);
      if (found) return found;
    }
    for (const item of map.values()) {
      const found = find(item, nesting + 1);
      if (found) return found;
    }
    return undefined;
  };
  if (isTensor(value)) return [['tensor', value]];
  const state = find(value, 0);
  if (!state) throw new SyntaxError('it has no dictionary of tensors');
  return [...state].filter((item): item is [string, PickleValue] => typeof item[0] === 'string');
}

function isTensor(value: PickleValue): value is PickleCall {
  return value instanceof PickleCall && FUNCTIONS.has(value.global.name);
}

/** Undefined for what is no tensor, or one without values. */
function describe(value: PickleValue, key: string): Described | undefined {
  if (!isTensor(value)) return undefined;
  const wrong = () => new SyntaxError(`tensor ${quoted(key)} is not described as tensors are`);
  const inner = value.global.name === PARAMETER ? (value.args[0] ?? null) : value;
  if (!isTensor(inner) || inner.global.name === PARAMETER) throw wrong();
  const { global, args } = inner;
  if (global.name === WITHOUT_NUMBERS) return undefined;
  const [stored, offset, shape, stride] = args;
  if (!(stored instanceof PersistentId)) throw wrong();
  const storage = storageOf(stored);
  const dtype = storage?.dtype ?? dtypeOf(args[6]);
  if (!storage || dtype === undefined) throw wrong();
  if (!isSize(offset) || !isSizes(shape) || !isSizes(stride) || shape.length !== stride.length) throw wrong();
  return { storage, dtype, offset, shape, stride };
}

function dtypeOf(global: PickleValue | undefined): string | undefined {
  const own = global instanceof PickleGlobal ? global.name.slice('torch.'.length) : '';
  return STORAGES.get(own) ?? DTYPES.get(own);
}

/** What is kept elsewhere, as torch.save describes it: ('storage', type, key, device, how many values…). */
function storageOf({ id }: PersistentId): { key: string; bytes: number; dtype?: string } | undefined {
  if (!Array.isArray(id)) return undefined;
  const [what, type, key, , size] = id;
  if (what !== 'storage' || !(type instanceof PickleGlobal) || typeof key !== 'string' || !isSize(size))
    return undefined;
  if (type.name === UNTYPED) return { key, bytes: size };
  const dtype = dtypeOf(type);
  const bytes = dtype === undefined ? Number.NaN : size * BYTES.get(dtype)!;
  return Number.isSafeInteger(bytes) ? { key, bytes, dtype } : undefined;
}

const isSize = (value: PickleValue | undefined): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0;
function isSizes(value: PickleValue | undefined): value is number[] {
  return Array.isArray(value) && value.length <= MOST_DIMENSIONS && value.every(isSize);
}

/** @param begin where its storage begins */
function entryOf(
  { storage, dtype, offset, shape, stride }: Described,
  key: string,
  begin: number,
): TensorEntry {
  const each = BYTES.get(dtype)!;
  const count = countOf(shape, Math.floor(Number.MAX_SAFE_INTEGER / 8));
  if (count === undefined) throw new SyntaxError(`tensor ${quoted(key)} is too large to be`);
  const from = begin + offset * each;
  const layout = count === 0 ? 'rows' : layoutOf(shape, stride);
  const end = from + count * each;
  if (offset * each + count * each > storage.bytes && layout !== 'other') {
    throw new SyntaxError(`tensor ${quoted(key)} reaches beyond its storage`);
  }
  if (layout === 'other') return { dtype: `strided ${dtype}`, shape, begin: from, end: from };
  const entry: TensorEntry = { dtype, shape, begin: from, end };
  if (layout === 'columns') entry.columnMajor = true;
  return entry;
}

/** Do its values lie row by row, or column by column? Of a dimension of 1 the stride says nothing. */
function layoutOf(shape: number[], stride: number[]): 'rows' | 'columns' | 'other' {
  const follows = (order: number[]): boolean => {
    let step = 1;
    for (const i of order) {
      if (shape[i] !== 1 && stride[i] !== step) return false;
      step *= shape[i];
    }
    return true;
  };
  const order = shape.map((_, i) => i);
  if (follows([...order].reverse())) return 'rows';
  return shape.length === 2 && follows(order) ? 'columns' : 'other';
}
