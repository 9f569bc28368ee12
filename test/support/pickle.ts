/** Writes pickles and checkpoints as torch.save does, right ones and wrong ones. */
import { zip } from './zip';

const u8 = (x: number) => Buffer.of(x);
const u32 = (x: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(x >>> 0);
  return bytes;
};

/** What a pickle is made of: opcodes with their arguments. */
export const op = {
  proto: (version = 2) => Buffer.of(0x80, version),
  stop: Buffer.from('.'),
  mark: Buffer.from('('),
  none: Buffer.from('N'),
  true: Buffer.of(0x88),
  false: Buffer.of(0x89),
  int: (x: number) =>
    x >= 0 && x < 256
      ? Buffer.concat([Buffer.from('K'), u8(x)])
      : Number.isInteger(x) && Math.abs(x) < 2 ** 31
        ? Buffer.concat([Buffer.from('J'), u32(x)])
        : long(BigInt(x)),
  text: (s: string) => Buffer.concat([Buffer.from('X'), u32(Buffer.byteLength(s)), Buffer.from(s)]),
  global: (module: string, name: string) => Buffer.from(`c${module}\n${name}\n`),
  emptyTuple: Buffer.from(')'),
  tuple: Buffer.from('t'),
  emptyDict: Buffer.from('}'),
  emptyList: Buffer.from(']'),
  append: Buffer.from('a'),
  appends: Buffer.from('e'),
  setItem: Buffer.from('s'),
  setItems: Buffer.from('u'),
  reduce: Buffer.from('R'),
  build: Buffer.from('b'),
  persistent: Buffer.from('Q'),
  put: (index: number) => Buffer.concat([Buffer.from('r'), u32(index)]),
  get: (index: number) => Buffer.concat([Buffer.from('j'), u32(index)]),
};

function long(x: bigint): Buffer {
  const bytes: number[] = [];
  for (let rest = x; ; rest >>= 8n) {
    bytes.push(Number(rest & 255n));
    if ((rest === 0n || rest === -1n) && (bytes[bytes.length - 1] & 128) === (x < 0n ? 128 : 0)) break;
  }
  return Buffer.concat([Buffer.of(0x8a, bytes.length), Buffer.from(bytes)]);
}

export const pickle = (...parts: Uint8Array[]) => Buffer.concat([op.proto(), ...parts, op.stop]);
const tuple = (...parts: Uint8Array[]) => Buffer.concat([op.mark, ...parts, op.tuple]);
const ordered = Buffer.concat([op.global('collections', 'OrderedDict'), op.emptyTuple, op.reduce]);

export interface CheckpointTensor {
  name: string;
  /** Of torch: 'FloatStorage'. */
  storage: string;
  /** Which storage; default: one of its own. */
  key?: string;
  shape: number[];
  stride?: number[];
  offset?: number;
  /** Of the storage; default: all that it has. */
  numbers?: number;
  bytes: Uint8Array;
  parameter?: boolean;
}

const BYTES: Record<string, number> = {
  FloatStorage: 4,
  DoubleStorage: 8,
  HalfStorage: 2,
  BFloat16Storage: 2,
  LongStorage: 8,
};

export function tensorRecord(
  { storage, key = '0', shape, stride, offset = 0, numbers, bytes, parameter }: CheckpointTensor,
  view?: Uint8Array,
): Buffer {
  const strides = stride ?? shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
  const count = numbers ?? bytes.length / BYTES[storage];
  const stored = Buffer.concat([
    tuple(
      op.text('storage'),
      op.global('torch', storage),
      op.text(key),
      op.text('cpu'),
      op.int(count),
      ...(view ? [view] : []),
    ),
    op.persistent,
  ]);
  const record = Buffer.concat([
    op.global('torch._utils', '_rebuild_tensor_v2'),
    tuple(
      stored,
      op.int(offset),
      tuple(...shape.map(op.int)),
      tuple(...strides.map(op.int)),
      op.false,
      ordered,
    ),
    op.reduce,
  ]);
  if (!parameter) return record;
  return Buffer.concat([
    op.global('torch._utils', '_rebuild_parameter'),
    tuple(record, op.true, ordered),
    op.reduce,
  ]);
}

function state(tensors: readonly CheckpointTensor[], view?: Uint8Array): Buffer {
  const items = tensors.flatMap(tensor => [op.text(tensor.name), tensorRecord(tensor, view)]);
  // As a module's: with the versions of its parts.
  const metadata = Buffer.concat([op.emptyDict, op.text('_metadata'), ordered, op.setItem, op.build]);
  return Buffer.concat([ordered, op.mark, ...items, op.setItems, metadata]);
}

const withKeys = (tensors: readonly CheckpointTensor[]) =>
  tensors.map((tensor, i): CheckpointTensor => ({ key: String(i), ...tensor }));

/** As torch.save writes it: a ZIP archive. @param wrap makes more of the pickle of the state_dict */
export function checkpoint(
  tensors: readonly CheckpointTensor[],
  { wrap = (part: Buffer) => part, byteorder = 'little', deflate = false } = {},
): Buffer {
  const keyed = withKeys(tensors);
  const members: [string, Uint8Array][] = [
    ['m/data.pkl', pickle(wrap(state(keyed)))],
    ['m/byteorder', Buffer.from(byteorder)],
  ];
  for (const { key, bytes } of keyed) {
    if (!members.some(([name]) => name === `m/data/${key}`)) members.push([`m/data/${key}`, bytes]);
  }
  members.push(['m/version', Buffer.from('3\n')]);
  return zip(members, { deflate });
}

/** As it was before version 1.6. */
export function legacyCheckpoint(tensors: readonly CheckpointTensor[]): Buffer {
  const keyed = withKeys(tensors);
  const storages = new Map(keyed.map(tensor => [tensor.key!, tensor]));
  const system = Buffer.concat([op.emptyDict, op.text('little_endian'), op.true, op.setItem]);
  const keys = [...storages.keys()].sort();
  const data = keys.flatMap(key => {
    const { bytes, storage } = storages.get(key)!;
    const count = Buffer.alloc(8);
    count.writeBigUInt64LE(BigInt(bytes.length / BYTES[storage]));
    return [count, bytes];
  });
  return Buffer.concat([
    Buffer.from('80028a0a6cfc9c46f9206aa850192e', 'hex'),
    pickle(op.int(1001)),
    pickle(system),
    pickle(state(keyed, op.none)),
    pickle(op.emptyList, op.mark, ...keys.map(op.text), op.appends),
    ...data,
  ]);
}
