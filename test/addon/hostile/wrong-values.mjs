/** What makes a right call wrong: other values in its arguments, and getters that do mischief. */
import { createContext, runInContext } from 'node:vm';
import { addon, LMHeadError } from './addon.mjs';
import { arrayOf, resized } from './arrays.mjs';
import { below, chance, pick } from './chance.mjs';
import { KINDS } from './right-calls.mjs';

const collect = globalThis.gc ?? (() => undefined);

const elsewhere = createContext({});
/** Whatever hostile code has thrown, so that it is known again. */
let thrown = new Set();

/** @returns the set that what the next call's code throws will be in */
export function forgetThrown() {
  thrown = new Set();
  return thrown;
}
function throws() {
  const error = pick([
    () => new Error('on purpose'),
    () => new LMHeadError('RANGE', 'on purpose'),
    () => Object.assign(new Error('like one of the addon'), { code: 'ERR_LMHEAD_CLOSED' }),
    () => undefined,
    () => 5,
    () => Symbol('thrown'),
    () => ({
      get code() {
        throw 1;
      },
    }),
    () => new Proxy({}, { has: () => true, get: () => undefined, getPrototypeOf: () => null }),
    () =>
      new Proxy(
        {},
        {
          has: () => true,
          get() {
            throw 1;
          },
        },
      ),
  ])();
  thrown.add(error);
  throw error;
}

/** Every typed array that an argument holds. */
function arraysIn(value, depth = 0) {
  if (ArrayBuffer.isView(value)) return [value];
  if (typeof value !== 'object' || value === null || depth > 3) return [];
  return Object.values(Object.getOwnPropertyDescriptors(value)).flatMap(({ value: each }) =>
    arraysIn(each, depth + 1),
  );
}

function detach({ buffer }) {
  if (!(buffer instanceof ArrayBuffer)) return;
  structuredClone(buffer, { transfer: [buffer] });
}
function resize({ buffer }) {
  if (!(buffer instanceof ArrayBuffer && buffer.resizable)) return;
  buffer.resize(below(buffer.maxByteLength + 1));
  resized.add(buffer);
}

/** Something that a caller's code may do while the addon reads its properties. */
function mischief(call, head) {
  const arrays = arraysIn(call.list);
  const others = arrays.length > 0 ? arrays : [new Uint8Array(1)];
  return pick([
    () => head.close(),
    () => detach(pick(others)),
    () => others.forEach(detach),
    () => resize(pick(others)),
    () => others.forEach(resize),
    throws,
    () => pick(others).fill(-1),
    () => {
      const inner = KINDS.run(head);
      head.run(...inner.list);
    },
    () => {
      call.list.length = 0;
      collect();
    },
    () => void head.runAsync(...KINDS.run(head).list).catch(() => undefined),
  ]);
}

function revoked() {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

/** A value in the place of one that was right. */
function wrongValue(right, call, head) {
  const length = ArrayBuffer.isView(right) ? right.length : below(20);
  return pick([
    () => undefined,
    () => null,
    () => true,
    () => Number.NaN,
    () => -1,
    () => 0.5,
    () => 2 ** 32,
    () => 2 ** 53,
    () => Infinity,
    () => below(200),
    () => 'text',
    () => 1n,
    () => Symbol('s'),
    () => throws,
    () => ({}),
    () => [],
    () => [1, 2, 3],
    () => new Map(),
    () => new DataView(new ArrayBuffer(8)),
    () => new ArrayBuffer(64),
    () => new SharedArrayBuffer(64),
    () =>
      arrayOf(
        pick([Int8Array, Uint8Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array]),
        length,
      ),
    () => arrayOf(BigInt64Array, length, 'small'),
    () => (ArrayBuffer.isView(right) && length > 0 ? new right.constructor(length - 1) : []),
    () => (ArrayBuffer.isView(right) ? new right.constructor(length + 7) : []),
    () => {
      // What goes wrong in memory that others write to: numbers that are none.
      if (ArrayBuffer.isView(right))
        new Uint8Array(right.buffer, right.byteOffset, right.byteLength).fill(pick([255, 127, 0, 128]));
      return right;
    },
    () => {
      if (ArrayBuffer.isView(right)) detach(right);
      return right;
    },
    () => {
      if (ArrayBuffer.isView(right)) resize(right);
      return right;
    },
    () => pick([...arraysIn(call.list), right]), // the memory of another argument
    () => {
      const other = pick([...arraysIn(call.list), new Uint8Array(64)]);
      if (!ArrayBuffer.isView(right)) return other;
      const { BYTES_PER_ELEMENT: size } = right.constructor;
      const { buffer, byteOffset, byteLength } = other;
      const first = Math.ceil(byteOffset / size) * size;
      return new right.constructor(
        buffer,
        first,
        Math.max(0, Math.floor((byteOffset + byteLength - first) / size)),
      ); // and another type of number
    },
    () => (ArrayBuffer.isView(right) ? Object.defineProperty(right, 'length', { value: 1e9 }) : right),
    () =>
      ArrayBuffer.isView(right)
        ? Object.defineProperty(right, 'buffer', { value: new SharedArrayBuffer(8) })
        : right,
    () => runInContext(`new Float32Array(${length})`, elsewhere),
    revoked,
    () => new Proxy(typeof right === 'object' && right !== null ? right : {}, {}),
    () => {
      const act = mischief(call, head);
      const target = typeof right === 'object' && right !== null && !ArrayBuffer.isView(right) ? right : {};
      return new Proxy(target, {
        get(of, name) {
          if (chance(50)) act();
          return Reflect.get(of, name);
        },
      });
    },
  ])();
}

/** Makes one argument, or a property of one, wrong, or right by a getter that does mischief. */
export function spoil(call, head) {
  try {
    spoilOne(call, head);
  } catch {
    // An argument that is spoilt already, such as a revoked proxy, is spoilt enough.
  }
}

function spoilOne(call, head) {
  let holder = call.list;
  let key = below(holder.length || 1);
  for (
    let value = holder[key];
    value && typeof value === 'object' && !ArrayBuffer.isView(value) && chance(80);
    value = holder[key]
  ) {
    const keys = Reflect.ownKeys(value);
    if (keys.length === 0) break;
    holder = value;
    key = pick(keys);
  }
  const right = holder[key];
  if (holder !== call.list && chance(50)) {
    const act = mischief(call, head);
    Object.defineProperty(holder, key, {
      configurable: true,
      enumerable: true,
      get() {
        act();
        return right;
      },
    });
    return;
  }
  const wrong = wrongValue(right, call, head);
  Object.defineProperty(holder, key, { configurable: true, enumerable: true, writable: true, value: wrong });
}

/** A receiver that is none. */
export const strangers = () => [
  undefined,
  null,
  {},
  addon,
  Object.create(addon.Head.prototype),
  new Proxy({}, {}),
  revoked(),
];
