/**
 * Calls the native addon's own functions, past all checks of lib/, with arguments that lib/ would never give: of every type, length and
 * memory; objects whose properties are getters that close the head, detach, resize, throw, change or call back; proxies; other realms.
 * Every call has to give a result, or an LMHeadError, or what the caller's own code threw; and nothing may be written outside of the
 * arrays. `node hostile-arguments.mjs [calls] [seed]`; the last line is `N calls: …`, and the exit code 1 where one went wrong.
 */
import { createRequire } from 'node:module';
import { createContext, runInContext } from 'node:vm';

const require = createRequire(import.meta.url);
const { loadAddon } = require('../../dist/backend/addon.js');
const { LMHeadError } = require('../../dist/errors.js');
const addon = loadAddon();

const calls = Number(process.argv[2] ?? 3000);
const seed = Number(process.argv[3] ?? 1);
const collect = globalThis.gc ?? (() => undefined);

// ---- chance -----------------------------------------------------------------------------------------------------------------

let state = seed >>> 0;
function bits() {
  state = (state + 0x9e3779b9) >>> 0;
  let z = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return (z ^ (z >>> 15)) >>> 0;
}
const below = n => bits() % n;
const chance = (one, of = 100) => below(of) < one;
const pick = list => list[below(list.length)];

// ---- arrays, with a margin on both sides that nobody may write to ---------------------------------------------------------------

const MARGIN = 64;
const MARK = 0xa5;
/** The bytes that arrays of the current call lie in. */
let memories = [];

/** @param kind how its memory is: plain, shared, resizable, or as large as typed arrays that V8 keeps in its heap */
function arrayOf(Type, length, kind = pick(['plain', 'plain', 'plain', 'shared', 'resizable', 'small'])) {
  if (kind === 'small') return new Type(length);
  const bytes = length * Type.BYTES_PER_ELEMENT;
  const size = MARGIN + bytes + MARGIN;
  const buffer =
    kind === 'shared'
      ? new SharedArrayBuffer(size)
      : new ArrayBuffer(size, kind === 'resizable' ? { maxByteLength: 2 * size } : undefined);
  new Uint8Array(buffer).fill(MARK);
  const array = new Type(buffer, MARGIN, length).fill(0);
  memories.push({ buffer, bytes });
  return array;
}

const resized = new WeakSet();

function marginsAreWhole() {
  return memories.every(({ buffer, bytes }) => {
    if (buffer.byteLength === 0 || resized.has(buffer)) return true; // its margins went
    const all = new Uint8Array(buffer);
    return (
      all.subarray(0, MARGIN).every(byte => byte === MARK) &&
      all.subarray(MARGIN + bytes).every(byte => byte === MARK)
    );
  });
}

const floats = (length, kind) => arrayOf(Float32Array, length, kind);
const words = (length, kind) => arrayOf(Uint32Array, length, kind);
const randomFloats = length => floats(length).map(() => below(2001) / 500 - 2);
/** `count` of the ids below `bound`, ascending. */
function ascending(count, bound) {
  const all = Array.from({ length: bound }, (_, id) => id);
  while (all.length > count) all.splice(below(all.length), 1);
  const ids = words(all.length);
  ids.set(all);
  return ids;
}

// ---- calls that are right ----------------------------------------------------------------------------------------------------

const ROW_PARAMETERS = 21;
const V = 70;
const D = 16; // a hidden state is used in place, for D is a multiple of 16

function rowParameters(n) {
  const table = arrayOf(Float64Array, n * ROW_PARAMETERS);
  const filters = [
    {},
    { 0: 0 },
    { 1: 5 },
    { 2: 0.8 },
    { 3: -2 },
    { 7: 0.7 },
    { 8: -5 },
    { 9: -4 },
    { 10: 1.5 },
    { 11: 1 },
    { 12: 1, 13: -2 },
    { 0: 0.9, 14: 0.5 },
    { 16: 3 },
  ];
  for (let i = 0; i < n; i++) {
    const row = {
      0: 1,
      2: 1,
      3: -Infinity,
      4: bits(),
      5: bits(),
      6: bits(),
      7: 1,
      8: -Infinity,
      9: -Infinity,
      13: -Infinity,
    };
    Object.assign(
      row,
      { 15: 1, 16: Infinity, 18: below(3), 19: 1 + below(3), 20: 2 * below(200) },
      pick(filters),
    );
    for (const [column, value] of Object.entries(row)) table[i * ROW_PARAMETERS + Number(column)] = value;
  }
  return table;
}

/** Lists of ids for n rows, which share one; an array of `values` goes with each. */
function idLists(n, valid) {
  const ids = ascending(1 + below(8), valid);
  const ranges = words(2 * n);
  for (let i = 0; i < n; i++) ranges.set([0, ids.length], 2 * i);
  return { ranges, ids };
}

function adjustments(n, valid) {
  const result = { allowedStride: 0 };
  if (chance(50)) {
    const lists = idLists(n, valid);
    const values = arrayOf(Float64Array, 3 * lists.ids.length);
    for (let i = 0; i < lists.ids.length; i++) values.set([below(5) - 2, 1.2, 0.1], 3 * i);
    result.patches = { ...lists, values };
  }
  if (chance(50)) {
    const lists = idLists(n, valid);
    result.biases = { ...lists, values: arrayOf(Float64Array, lists.ids.length).map(() => below(5) - 2) };
  }
  if (chance(50)) {
    const lists = idLists(n, valid);
    const penalties = arrayOf(Float64Array, 3 * n);
    for (let i = 0; i < n; i++) penalties.set([1.2, 0.1, 0.2], 3 * i);
    result.counted = { ...lists, counts: words(lists.ids.length).map(() => below(3)), penalties };
  }
  if (chance(50)) {
    const mask = Math.ceil(V / 32);
    result.allowedStride = chance(50) ? mask : 0;
    result.allowed = words(n * mask).fill(0xffffffff);
  }
  return result;
}

function list(n, k) {
  return { k, counts: words(n), ids: words(n * k), logProbs: floats(n * k) };
}

/** What a shard's results are merged by, beside `sample` and targets. Its own part has as many rows as ids are `taken` of it. */
function partialResults(n, valid, taken) {
  const end = taken + below(valid - taken + 1);
  const k = below(Math.min(valid, 9));
  const sums = () => arrayOf(Float64Array, n * Math.ceil(valid / 256) * 3);
  return {
    begin: below(end - taken + 1),
    end,
    sums: sums(),
    drawnSums: sums(),
    drawnLogits: floats(n),
    k,
    counts: words(n),
    ids: words(n * k),
    logits: floats(n * k),
    targetLogits: randomFloats(n),
  };
}

/** The arguments of a request over `n` rows, of which `given` are looked at; 19 of them. */
function request(n, valid, withView) {
  const view = withView && chance(30) ? ascending(1 + below(valid), valid) : undefined;
  const width = view ? view.length : V;
  const ranked = view ? view.length : valid;
  const drafts = chance(15);
  const draws = !drafts && chance(50);
  const k = 1 + below(Math.min(ranked, 9));
  const sample = draws ? { ids: words(n), logProbs: floats(n) } : undefined;
  const listed = sample && chance(30);
  if (listed) {
    const told = below(Math.min(ranked, 5));
    Object.assign(sample, {
      modelLogProbs: floats(n),
      topLogProbs: list(n, told),
      modelTopLogProbs: list(n, told),
    });
  }
  const top = !drafts && chance(30);
  const scored = !drafts && chance(30);
  const targets = scored ? words(n).fill(view ? view[0] : below(valid)) : undefined;
  const candidates = draws && chance(30);
  const partial = !view && !drafts && !listed && !candidates && chance(20);
  const rare =
    view || drafts || listed || partial || chance(10)
      ? {
          rows: view,
          overVocabulary: chance(50),
          metric: withView && !draws && !drafts ? pick([0, 0, 1, 2]) : 0,
          draft: drafts
            ? {
                ids: words(n - below(2)).fill(1),
                logProbs: chance(50) ? floats(n * width).fill(-4) : undefined,
                accepted: words(1),
                outIds: words(n),
                outLogProbs: floats(n),
              }
            : undefined,
          listed: listed ? sample : undefined,
          partial: partial ? partialResults(n, valid, top ? k : 1) : undefined,
        }
      : undefined;
  const wide = () => (!drafts && chance(20) ? floats(n * width) : undefined);
  return [
    !drafts && chance(30) ? words(n) : undefined,
    wide(),
    wide(),
    wide(),
    draws || drafts || chance(30) ? rowParameters(n) : undefined,
    top ? k : undefined,
    top ? words(n * k) : undefined,
    top ? floats(n * k) : undefined,
    top && (partial || chance(70)) ? floats(n * k) : undefined,
    sample?.ids,
    sample && (partial || chance(70)) ? sample.logProbs : undefined,
    targets,
    scored ? floats(n) : undefined,
    scored ? words(n) : undefined,
    scored && chance(50) ? floats(n) : undefined,
    chance(50) ? floats(n) : undefined,
    (draws || drafts) && chance(60) ? adjustments(n, valid) : undefined,
    candidates ? true : undefined,
    rare,
  ];
}

function spec() {
  const dtype = pick([0, 0, 1, 2, 12]); // f32, f16, bf16, i8
  const matrix = shared => {
    if (chance(5))
      return {
        dtype,
        transposed: false,
        path: '/nowhere/at all',
        offset: 0,
        length: V * (dtype === 12 ? D + 4 : dtype === 0 ? 4 * D : 2 * D),
        mmap: chance(50),
      };
    const kind = shared ? 'shared' : undefined;
    const data =
      dtype === 0
        ? floats(V * D, kind).fill(0.25)
        : dtype === 12
          ? arrayOf(Uint8Array, V * (D + 4), kind).fill(1)
          : arrayOf(Uint16Array, V * D, kind).fill(0x3800);
    return { dtype, transposed: !shared && dtype < 3 && chance(20), data, copy: !shared };
  };
  return {
    vocabSize: V,
    hiddenSize: D,
    validVocabSize: pick([V, V - 3]),
    activations: dtype === 12 ? below(3) : dtype === 2 ? pick([0, 3]) : 0, // i8 and i16; bf16
    threads: 1 + below(3),
    output: matrix(chance(30)),
    input: chance(20) ? matrix(false) : undefined,
    inputRows: V,
    bias: chance(30) ? floats(V) : undefined,
    logitScale: 1,
    softCap: pick([0, 20]),
    capFirst: chance(50),
    coalesce: chance(70),
  };
}

/** How many jobs have been numbered, to be aborted. */
let tickets = 0;

/** A call of every kind: { receiver, name, arguments }. */
const KINDS = {
  Head: () => ({ receiver: addon, name: 'Head', list: [spec()] }),
  run(head) {
    const n = 1 + below(5);
    const hidden = chance(70)
      ? [randomFloats(n * D), 0]
      : [arrayOf(Uint16Array, n * D).fill(0x3c00), 1 + below(2)];
    return { receiver: head, name: 'run', list: [n, ...hidden, ...request(n, V - 3, true)] };
  },
  runAsync(head) {
    const call = KINDS.run(head);
    const ticket = chance(50) ? ++tickets : undefined;
    const facts = chance(30) ? arrayOf(Float64Array, 5) : undefined;
    return { ...call, name: 'runAsync', list: [...call.list, ticket, facts], ticket };
  },
  runAll(head) {
    const list = Array.from({ length: 1 + below(4) }, () => {
      const call = KINDS.run(head).list;
      call[3 + 17] = undefined; // candidates are of one call alone
      return [head, ...call];
    });
    return { receiver: head, name: 'runAll', list: [list] };
  },
  runAllAsync(head) {
    const call = KINDS.runAll(head);
    const ticket = chance(50) ? ++tickets : undefined;
    const facts = chance(30) ? arrayOf(Float64Array, 5) : undefined;
    return { ...call, name: 'runAllAsync', list: [...call.list, ticket, facts] };
  },
  abort: head => ({ receiver: head, name: 'abort', list: [1 + below(tickets + 1)] }),
  quantize(head) {
    const first = below(V);
    const count = below(V - first + 1);
    const results = [arrayOf(Uint8Array, count * (D + 4)), arrayOf(Float64Array, count * 3)];
    return {
      receiver: head,
      name: 'quantize',
      list: [first, count, 12, ...results, chance(50) ? ++tickets : undefined],
    };
  },
  makeCopy: head => ({ receiver: head, name: 'makeCopy', list: [chance(50) ? ++tickets : undefined] }),
  useCopy: head => ({ receiver: head, name: 'useCopy', list: [] }),
  loadCopy: head => ({
    receiver: head,
    name: 'loadCopy',
    list: [process.argv[1], below(99), 1 + below(9999), chance(50)],
  }),
  screening: head => ({ receiver: head, name: 'screening', list: [] }),
  copiedRows: head => ({ receiver: head, name: 'copiedRows', list: [] }),
  readCopy(head) {
    try {
      head.useCopy();
    } catch {
      // A head that is closed says so again.
    }
    return { receiver: head, name: 'readCopy', list: [below(600), arrayOf(Uint8Array, below(600))] };
  },
  readRows(head) {
    const ids = ascending(below(10), V);
    return { receiver: head, name: 'readRows', list: [below(2), ids, floats(ids.length * D)] };
  },
  readBytes(head) {
    const offset = below(V * D * 4);
    return {
      receiver: head,
      name: 'readBytes',
      list: [below(2), offset, arrayOf(Uint8Array, V * D * 4 - offset)],
    };
  },
  token: head => ({ receiver: head, name: 'token', list: [below(2)] }),
  timeRead: head => ({ receiver: head, name: 'timeRead', list: [] }),
  close: head => ({ receiver: head, name: 'close', list: [] }),
  runLogits() {
    const n = 1 + below(5);
    return {
      receiver: addon,
      name: 'runLogits',
      list: [randomFloats(n * V), n, V, ...request(n, V, false), 1 + below(3)],
    };
  },
  select: () => ({ receiver: addon, name: 'select', list: [undefined] }),
  externalMemory: () => ({ receiver: addon, name: 'externalMemory', list: [] }),
  addressOf: () => ({ receiver: addon, name: 'addressOf', list: [arrayOf(Uint8Array, below(20))] }),
};
/** Most calls are passes. */
const MIX = [
  'run',
  'run',
  'run',
  'runLogits',
  'runLogits',
  'runAsync',
  'runAsync',
  'runAll',
  'runAllAsync',
  'Head',
  'Head',
].concat(Object.keys(KINDS));

function newHead() {
  const memory = memories;
  memories = [];
  const weights = randomFloats(V * D);
  memories = memory;
  return new addon.Head({
    vocabSize: V,
    hiddenSize: D,
    validVocabSize: V - 3,
    activations: 0,
    threads: 3,
    output: { dtype: 0, transposed: false, data: weights, copy: true },
    logitScale: 1,
    softCap: 0,
    coalesce: chance(50),
  });
}

// ---- what makes them wrong ----------------------------------------------------------------------------------------------------

const elsewhere = createContext({});
/** Whatever hostile code has thrown, so that it is known again. */
let thrown = new Set();
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
function spoil(call, head) {
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
const strangers = () => [
  undefined,
  null,
  {},
  addon,
  Object.create(addon.Head.prototype),
  new Proxy({}, {}),
  revoked(),
];

// ---- the calls -----------------------------------------------------------------------------------------------------------------

const counts = { returned: 0, LMHeadError: 0, own: 0, 'of JavaScript': 0 };
let failures = 0;
function wrong(what, detail) {
  console.error(`wrong: ${what}`, detail);
  failures++;
}

function judge(error) {
  if (thrown.has(error)) counts.own++;
  else if (error instanceof LMHeadError) counts.LMHeadError++;
  // V8's own: a revoked proxy, a receiver or constructor that is none; and what mischief stumbled over.
  else if (error instanceof TypeError || error instanceof RangeError || error?.name === 'DataCloneError')
    counts['of JavaScript']++;
  else wrong('an error of another kind', error);
}

const control = newHead();
const question = new Float32Array(3 * D).map((_, i) => Math.sin(i));
function answer(head) {
  const ids = new Uint32Array(3);
  const logits = new Float32Array(3 * V);
  head.run(3, question, 0, ids, logits);
  return Buffer.concat([Buffer.from(ids.buffer), Buffer.from(logits.buffer)]).toString('base64');
}
const expected = answer(control);

let head = newHead();
let closed = false;
const pending = new Set();
/** The tickets that an abort has named. */
const aborted = new Set();
/** Whether arguments that are right may come to it: no probabilities, no token left, a head that is closed, an abort. */
const isDue = (status, ticket) =>
  status === 2 || status === 4 || status === 5 || (status === 3 && aborted.has(ticket));
for (let i = 0; i < calls; i++) {
  memories = [];
  thrown = new Set();
  if (closed || chance(2)) head = newHead();
  closed = false;
  const name = pick(MIX);
  const call = KINDS[name](head);
  const spoilt = chance(80);
  if (spoilt) for (let times = 1 + below(3); times > 0; times--) spoil(call, head);
  if (spoilt && name !== 'Head' && chance(3)) call.receiver = pick(strangers());
  const own = thrown;
  const mine = memories;
  try {
    const { receiver, list, ticket } = call;
    let result;
    if (call.name === 'abort') aborted.add(list[0]);
    if (call.name === 'Head') {
      const made = chance(97)
        ? new addon.Head(...list)
        : Reflect.construct(addon.Head, list, pick([Object, Array, Map]));
      if (chance(50)) made.close?.();
    } else {
      const of = call.name in addon ? addon : head;
      result = of[call.name].apply(receiver, list);
    }
    counts.returned++;
    if (result instanceof Promise) {
      // Threads write to the arrays until it has settled: they stay as they are.
      const settled = result.then(
        value => {
          if (!spoilt && Array.isArray(value) && !isDue(value[0], ticket)) wrong(name, value);
        },
        error => {
          if (!own.has(error) && !(error instanceof LMHeadError)) wrong('a rejection of another kind', error);
        },
      );
      pending.add(settled);
      void settled.then(() => pending.delete(settled));
      if (chance(50) || pending.size > 30) await settled; // the others run, or wait, beside the next calls
    }
  } catch (error) {
    judge(error);
    closed = error instanceof LMHeadError && error.code === 'ERR_LMHEAD_CLOSED';
    if (!spoilt && error.code !== 'ERR_LMHEAD_CLOSED' && error.code !== 'ERR_LMHEAD_IO')
      wrong(`a right call of ${name}`, error);
  }
  memories = mine;
  if (!marginsAreWhole()) wrong(`${name} has written outside of its arrays`, call.list);
  if (i % 50 === 0 && answer(control) !== expected) wrong('another head has other results now', i);
}
await Promise.all(pending);
console.log(
  `${calls} calls: ${Object.entries(counts)
    .map(entry => entry.reverse().join(' '))
    .join(', ')}`,
);
if (failures > 0) process.exitCode = 1;
