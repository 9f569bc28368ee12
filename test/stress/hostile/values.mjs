/** Hostile things to put in the place of good ones: wrong types, lying arrays, memory that goes, other realms, proxies, getters that act. */
import vm from 'node:vm';
import * as lmhead from '../../../dist/index.mjs';
import { below, changing, D, dice, numbers, OWN_SYMBOL, Own, pick, V } from './chance.mjs';
import { closeHead, head, sampler } from './heads.mjs';

const { LMHead } = lmhead;

const otherRealm = vm.createContext({});
const HUGE = 1n << 400_000n;
const TYPES = [
  Float32Array,
  Float64Array,
  Uint8Array,
  Uint8ClampedArray,
  Int8Array,
  Uint16Array,
  Int16Array,
  Uint32Array,
  Int32Array,
  BigInt64Array,
  BigUint64Array,
];

export const SIMPLE = [
  undefined,
  null,
  true,
  false,
  Number.NaN,
  Infinity,
  -Infinity,
  -0,
  0,
  -1,
  1,
  2,
  1.5,
  V,
  D,
  1e9,
  1e308,
  5e-324,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53,
  2 ** 53 - 1,
  '',
  '1',
  'x',
  '__proto__',
  'topK',
  '\0',
  'x'.repeat(100_000),
  0n,
  -1n,
  3n,
  1n << 64n,
  HUGE,
  Symbol('s'),
  Symbol.iterator,
  () => 1,
  class {},
  async () => {},
];

function typedArray(good) {
  const Type = pick(TYPES);
  const length = pick([0, 1, good?.length ?? 3, (good?.length ?? 3) + 1, D, 2 * D, V]);
  return new Type(Number.isInteger(length) && length >= 0 && length < 1000 ? length : 1);
}

/** Of a typed array, or a new one: its numbers on memory that has gone, is shared, may shrink, or is written by another thread. */
function onOtherMemory(good) {
  const list = ArrayBuffer.isView(good) && !(good instanceof DataView) ? good : numbers(D);
  const Type = list.constructor;
  const size = list.BYTES_PER_ELEMENT;
  const copy = buffer => {
    const array = new Type(buffer, 0, list.length);
    for (let i = 0; i < list.length; i++) array[i] = list[i];
    return array;
  };
  switch (below(8)) {
    case 0: {
      const array = copy(new ArrayBuffer(list.byteLength));
      structuredClone(0, { transfer: [array.buffer] });
      return array;
    }
    case 1:
      return copy(new SharedArrayBuffer(list.byteLength));
    case 2: {
      const buffer = new ArrayBuffer(list.byteLength, { maxByteLength: 2 * list.byteLength + 8 });
      const array = copy(buffer);
      buffer.resize(pick([0, list.byteLength >> 1, list.byteLength + size]));
      return array;
    }
    case 3: {
      const buffer = new ArrayBuffer(list.byteLength, { maxByteLength: 2 * list.byteLength + 8 });
      const tracking = new Type(buffer);
      buffer.resize(list.byteLength + pick([0, size, -size, 0]) * (list.length > 1 ? 1 : 0));
      return tracking;
    }
    case 4: {
      const buffer = new SharedArrayBuffer(list.byteLength, { maxByteLength: 2 * list.byteLength + 8 });
      const tracking = new Type(buffer);
      if (below(2)) buffer.grow(list.byteLength + size);
      return tracking;
    }
    case 5:
      return new Type(changing, 0, Math.min(list.length, Math.floor(changing.byteLength / size)));
    case 6:
      return copy(new ArrayBuffer(list.byteLength + 8)).subarray(0);
    default: {
      const padded = new ArrayBuffer(list.byteLength + size);
      return new Type(padded, size, list.length);
    }
  }
}

/** A typed array, or a subclass of it, whose properties lie. */
function lying(good) {
  const list = ArrayBuffer.isView(good) && !(good instanceof DataView) ? good : numbers(D);
  class Lying extends list.constructor {}
  const array = new Lying(list.length);
  for (let i = 0; i < list.length; i++) array[i] = list[i];
  const lies = {
    length: () => pick([0, 1, list.length * 2, -1, Number.NaN, 2 ** 32, '3', 1e6]),
    byteLength: () => pick([0, 4, 1e9]),
    byteOffset: () => pick([4, 1e9, -4]),
    buffer: () => pick([new ArrayBuffer(8), changing, {}, undefined]),
    BYTES_PER_ELEMENT: () => pick([1, 8, 0]),
    [Symbol.toStringTag]: () => 'Uint8Array',
    [Symbol.iterator]: () => undefined,
    constructor: () => pick([undefined, Uint8Array, { [Symbol.species]: Uint8Array }]),
    subarray: () => () => pick([undefined, new Float32Array(0), changing]),
    slice: () => () => undefined,
    set: () => () => {
      throw new Own();
    },
    at: () => () => 0,
    map: () => undefined,
  };
  for (let count = 1 + below(3); count > 0; count--) {
    const name = pick(Reflect.ownKeys(lies));
    const value = lies[name]();
    if (below(3)) Object.defineProperty(array, name, { value, configurable: true });
    else Object.defineProperty(array, name, { get: action(() => value), configurable: true });
  }
  return array;
}

function fromOtherRealm(good) {
  const make = text => vm.runInContext(text, otherRealm);
  if (ArrayBuffer.isView(good) && !(good instanceof DataView)) {
    const Type = make(good.constructor.name);
    return Type.from(good);
  }
  if (Array.isArray(good)) return make('Array').from(good);
  if (good instanceof Map) return new (make('Map'))(good);
  if (typeof good === 'object' && good !== null) return Object.assign(make('({})'), good);
  return make(
    pick(['new Map([[1, 2]])', 'new Set([1])', '[1, 2]', '({})', 'new Float32Array(6)', '(() => 1)']),
  );
}

function strangeObject(good) {
  return pick([
    () => ({}),
    () => [],
    () => [[]],
    () => [[1], [2, 3]],
    () => [undefined],
    () => new Array(5),
    () => new Array(1e8),
    () => Object.create(null),
    () => new Map(),
    () => new Set([1, 2]),
    () => new WeakMap(),
    () => new Date(0),
    () => /x/,
    () => new Error('given'),
    () => Promise.resolve(1),
    () => new URL('http://example.com/x'),
    () => new DataView(new ArrayBuffer(24)),
    () => new ArrayBuffer(24),
    () => new SharedArrayBuffer(24),
    () => Buffer.from('abcd'),
    () => new Number(3),
    () => new String('x'),
    () => new Boolean(true),
    () => ({ length: 2 }),
    () => ({ length: 2, 0: 1, 1: 2 }),
    () => ({ length: -1 }),
    () => ({ length: 2 ** 32 }),
    () => ({ length: 1e15, 0: 1 }),
    () => ({ length: '2', 0: 1, 1: 2 }),
    () => ({ length: Number.NaN }),
    () => ({
      data: numbers(D),
      type: 'float32',
      dims: pick([[D], [1e9, D], [-1, D], [D, 1], [], [1, 1, 1, D], 'x', null, [1.5, D], [2, D]]),
    }),
    () => ({
      data: pick([numbers(D + 1), null, {}, new Uint8Array(D)]),
      type: pick(['float32', 'int64', 7, undefined]),
      dims: [D],
    }),
    () => ({ aborted: false }),
    () => ({ aborted: false, addEventListener() {}, removeEventListener() {} }),
    () => ({ aborted: true, addEventListener() {}, removeEventListener() {} }),
    () => AbortSignal.abort(new Own()),
    () => AbortSignal.timeout(0),
    () => ({ valueOf: () => 1, toString: () => '1' }),
    () => ({ [Symbol.toPrimitive]: () => 1 }),
    () => Object.defineProperty({}, 'then', { value: resolve => resolve(1) }),
    () =>
      typeof good === 'object' && good !== null ? Object.create(good) : Object.create(Float32Array.prototype),
    () => Object.create(LMHead.prototype),
    () => (typeof good === 'object' && good !== null ? Object.preventExtensions(good) : Object.freeze([])),
    () => lmhead,
    () => head,
  ])();
}

/** Code that runs while arguments are read, and then gives a value. */
export function action(value) {
  let reads = 0;
  const act = pick([
    () => value(),
    () => {
      closeHead();
      return value();
    },
    () => {
      for (const list of detachable.splice(0)) {
        try {
          structuredClone(0, { transfer: [list.buffer] });
        } catch {} // shared, or gone already
      }
      return value();
    },
    () => {
      for (const list of detachable) {
        try {
          list.buffer.resize(0);
        } catch {} // of fixed length
      }
      return value();
    },
    () => {
      throw new Own('thrown on purpose');
    },
    () => {
      throw OWN_SYMBOL;
    },
    () => {
      throw undefined;
    },
    () => (reads++ === 0 ? value() : pick(SIMPLE)),
    () => (reads++ % 2 === 0 ? value() : strangeObject(undefined)),
    () => {
      try {
        head.argmaxSync(numbers(D));
        sampler().nextSync(numbers(D));
      } catch {} // closed
      return value();
    },
  ]);
  return () => {
    const before = dice.state; // what runs now and then must not change what follows
    try {
      return act();
    } finally {
      dice.state = before;
    }
  };
}

/** Arrays of the case's arguments, whose memory code may take away. */
let detachable = [];

/** @param {readonly ArrayBufferView[]} arrays of the case that begins */
export function exposeArrays(arrays) {
  detachable = [...arrays];
}

function proxy(good) {
  const object = (typeof good === 'object' && good !== null) || typeof good === 'function' ? good : {};
  switch (below(5)) {
    case 0: {
      const { proxy, revoke } = Proxy.revocable(object, {});
      revoke();
      return proxy;
    }
    case 1:
      return new Proxy(object, {});
    case 2: {
      const value = pick(SIMPLE);
      return new Proxy(object, {
        get: (of, key) => (below(3) === 0 ? value : Reflect.get(of, key)),
      });
    }
    case 3: {
      const trap = pick(['get', 'has', 'ownKeys', 'getPrototypeOf', 'getOwnPropertyDescriptor']);
      const thrown = pick([new Own(), OWN_SYMBOL]);
      return new Proxy(object, {
        [trap]() {
          throw thrown;
        },
      });
    }
    default: {
      const { proxy, revoke } = Proxy.revocable(object, {
        get: (of, key) => {
          if (below(4) === 0) revoke();
          return Reflect.get(of, key);
        },
      });
      return proxy;
    }
  }
}

/** Something else than `good`, or much like it. */
export function hostile(good) {
  switch (below(9)) {
    case 0:
    case 1:
      return pick(SIMPLE);
    case 2:
      return typedArray(good);
    case 3:
      return onOtherMemory(good);
    case 4:
      return lying(good);
    case 5:
      return fromOtherRealm(good);
    case 6:
      return proxy(good);
    default:
      return strangeObject(good);
  }
}
