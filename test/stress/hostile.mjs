/**
 * Hostile arguments of every public function: wrong things in any place, objects that run code when they are looked at, memory
 * that goes or changes meanwhile. Each call has to give a right result, or an LMHeadError, or what the argument's own code threw.
 *
 * Arguments: how many cases, the first seed. Prints JSON: the counts. A case depends on its seed alone (but for what another
 * thread writes), so `hostile.mjs 1 SEED show` runs it again, and shows what it is called with.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import vm from 'node:vm';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import * as lmhead from '../../dist/index.mjs';
import { random } from './random.mjs';

const { LMHead, LMHeadError } = lmhead;
const [V, D] = [70, 6];

/** What hostile code throws. */
class Own extends Error {}
const OWN_SYMBOL = Symbol('own');

let dice = random(0);
const below = limit => dice.below(limit);
function seedDice(seed) {
  dice = random(seed);
  for (let i = 0; i < 4; i++) below(2);
}
const pick = list => list[below(list.length)];
const numbers = length => Float32Array.from({ length }, (_, i) => Math.sin(i + 1));

// ── memory that another thread writes ──────────────────────────────────────────────────────────────────────────────────────

const changing = isMainThread ? new SharedArrayBuffer(4 * 4 * V) : workerData;

function write() {
  const words = new Uint32Array(changing);
  const pause = new Int32Array(new SharedArrayBuffer(4));
  const values = [0, 1, 2 ** 31, 0x7f800000, 0x3f800000, 0xffffffff, 69, 70];
  for (;;) {
    for (let i = 0; i < 2000; i++) words[below(words.length)] = pick(values);
    Atomics.wait(pause, 0, 0, 1);
  }
}

// ── what is called ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const shared = new Float32Array(new SharedArrayBuffer(4 * V * D));
shared.set(numbers(V * D));
const norm = () => ({ type: 'rmsnorm', weight: numbers(D), eps: 1e-5 });
const sizes = () => ({ vocabSize: V, hiddenSize: D, norm: norm() });
const MAKERS = {
  native: () => LMHead.from(numbers(V * D), { ...sizes(), backend: 'native', threads: 2 }),
  borrowed: () => LMHead.from(shared, { ...sizes(), backend: 'native', copy: false, validVocabSize: 66 }),
  halves: () =>
    LMHead.from(new Uint16Array(V * D).fill(0x3c00), { ...sizes(), backend: 'native', dtype: 'bf16' }),
  reference: () => LMHead.from(numbers(V * D), { ...sizes(), backend: 'reference' }),
};
const heads = new Map();
/** The case's head: what getters close, and call while they are read. */
let head;
const samplers = new Map();
function someHead() {
  const kind = pick(Object.keys(MAKERS));
  if (!heads.has(kind)) heads.set(kind, MAKERS[kind]());
  head = heads.get(kind);
  head.kind = kind;
}
function closeHead() {
  head.close();
  heads.delete(head.kind);
  samplers.delete(head.kind);
}
function sampler() {
  if (!samplers.has(head.kind)) samplers.set(head.kind, head.sampler({ seed: 1, history: [1] }));
  return samplers.get(head.kind);
}

const states = () => {
  const n = 1 + below(3);
  const kind = below(8);
  if (kind === 0) return { data: numbers(n * D), type: 'float32', dims: [n, D] };
  if (kind === 1) return new Float32Array(changing, 4 * below(8), n * D);
  return numbers(n * D);
};
const ids = length =>
  pick([
    () => Array.from({ length }, () => below(60)),
    () => Uint32Array.from({ length }, () => below(60)),
    () => BigInt64Array.from({ length }, () => BigInt(below(60))),
    () => new Uint32Array(changing, 0, length),
    () => ({ type: 'int64', data: new BigInt64Array(length), dims: [length] }),
  ])();
const CALL = {
  temperature: () => pick([1, 0.5, [1]]),
  norm: () => true,
  rows: () => pick([[1, 5, 9], Uint32Array.of(9, 1)]),
  over: () => 'rows',
  hiddenDtype: () => undefined,
  guidance: () => ({ hidden: numbers(pick([1, 2]) * D), scale: pick([1.5, [2]]) }),
};
const TELL = { withLogProbs: () => pick([true, false]) };
const SAMPLE = {
  ...CALL,
  topK: () => 5,
  topP: () => 0.9,
  minP: () => 0.1,
  typicalP: () => 0.9,
  epsilonCutoff: () => 1e-3,
  etaCutoff: () => 1e-3,
  topNSigma: () => 2,
  pLess: () => true,
  xtcProbability: () => 0.5,
  xtcThreshold: () => 0.1,
  xtcProtectedIds: () => ids(3),
  temperatureRange: () => 0.2,
  temperatureExponent: () => 1,
  maxSurprisal: () => 9,
  minKeep: () => 2,
  stageOrder: () => ['temperature', 'topK', 'topP', 'minP'],
  logitBias: () => pick([{ 3: 1 }, new Map([[2, -Infinity]])]),
  bannedIds: () => ids(3),
  allowedIds: () => pick([[1, 2, 3, 9, 5], Uint32Array.of(1, 60)]),
  allowedMask: () => new (pick([Uint32Array, Int32Array]))(Math.ceil(V / 32)).fill(7),
  seed: () => pick([1, 5n, [1]]),
  step: () => 1,
  stream: () => 1,
  topLogProbs: () => 3,
  history: () => ids(12),
  promptLength: () => 1,
  penaltyWindow: () => 8,
  repetitionPenalty: () => 1.1,
  frequencyPenalty: () => 0.1,
  presencePenalty: () => 0.1,
  dryMultiplier: () => 0.8,
  dryBase: () => 1.7,
  dryAllowedLength: () => 1,
  dryWindow: () => 9,
  dryBreakers: () => [3, [4, 5]],
  noRepeatNgramSize: () => 3,
  minLength: () => 2,
  eosIds: () => ids(2),
  beginSuppressIds: () => ids(2),
  bannedSequences: () => [ids(2), [4, 5]],
  biasedSequences: () => [{ ids: ids(2), bias: 2 }],
  length: () => 3,
};
const WIDE = { ...CALL, out: () => new Float32Array(3 * V) };
const SCORE = { ...CALL, ignoreIndex: () => -100, entropy: () => true };
const RUN = {
  ...TELL,
  ...SAMPLE,
  ...SCORE,
  logits: () => true,
  logProbs: () => true,
  argmax: () => true,
  top: () => 3,
  sample: () => true,
  targets: () => ids(2),
};
const ASYNC = { signal: () => new AbortController().signal };
const HELD = { ...SAMPLE };
const FROM = {
  vocabSize: () => V,
  hiddenSize: () => D,
  dtype: () => undefined,
  layout: () => pick(['vd', 'dv']),
  bias: () => numbers(V),
  logitScale: () => 2,
  softCap: () => 30,
  capOrder: () => 'scale-then-cap',
  validVocabSize: () => 66,
  embeddingScale: () => 2,
  norm,
  inputEmbedding: () => numbers(V * D),
  activations: () => 'f32',
  backend: () => pick(['native', 'reference']),
  threads: () => 2,
  copy: () => true,
  performanceMarks: () => false,
};
const SAMPLER = {
  ...TELL,
  ...SAMPLE,
  mirostat: () => ({ tau: 3, eta: 0.1 }),
  logits: () => u => void u.fill(1, 0, 3),
};
const NEXT = {
  bannedIds: SAMPLE.bannedIds,
  logitBias: SAMPLE.logitBias,
  allowedIds: SAMPLE.allowedIds,
  rows: CALL.rows,
  guidance: () => ({ hidden: numbers(D), scale: 1.5 }),
};

/** Options: some of those that there are, with good values. */
function some(makers, chance = 6) {
  const options = {};
  for (const [name, make] of Object.entries(makers)) if (below(chance) === 0) options[name] = make();
  // What has no effect alone is refused, and that early: most cases should get further.
  if ('over' in options) options.rows ??= [1, 2];
  if ('stageOrder' in options)
    for (const name of ['topNSigma', 'typicalP', 'epsilonCutoff', 'etaCutoff', 'pLess']) delete options[name];
  if ('allowedIds' in options) delete options.allowedMask;
  if ('minLength' in options) options.eosIds ??= [1];
  if (Object.keys(options).some(name => /Penalty|dry|Window|noRepeat|Sequences|prompt/.test(name)))
    options.history ??= [1, 2, 1];
  return options;
}
const folder = isMainThread ? mkdtempSync(join(tmpdir(), 'lmhead-hostile-')) : '';
// What is saved under an odd name stays there.
if (isMainThread) process.chdir(folder);

/** Each: what it is called on, its good arguments, and what options there are. */
const TARGETS = {};
function target(name, on, makeArguments, options = {}) {
  TARGETS[name] = { on, makeArguments, options };
}
const onHead = () => head;
const onClass = () => LMHead;
const onModule = () => lmhead;
for (const [name, makeRest, options] of [
  ['logits', () => [], WIDE],
  ['logProbs', () => [], WIDE],
  ['probs', () => [], WIDE],
  ['topK', () => [3], { ...CALL, ...TELL }],
  ['argmax', () => [], CALL],
  ['sample', () => [], { ...SAMPLE, ...TELL }],
  ['candidates', () => [], { ...SAMPLE, ...TELL }],
  ['score', h => [ids(rowsIn(h))], SCORE],
  [
    'lens',
    () => [2],
    { ...CALL, ...TELL, translators: () => pick([[null], [undefined, null], [{ weight: numbers(D * D) }]]) },
  ],
  ['run', () => [], RUN],
]) {
  for (const form of ['Sync', '']) {
    const all = form ? options : { ...options, ...ASYNC };
    target(
      name + form,
      onHead,
      () => {
        const hidden = states();
        return [hidden, ...makeRest(hidden), some(all)];
      },
      all,
    );
  }
}
const NEAREST = { rows: CALL.rows, metric: () => pick(['dot', 'cosine']) };
for (const form of ['Sync', '']) {
  const draftLogProbs = () => new Float32Array(2 * V).fill(-4);
  const draft = { ...SAMPLE, draftLogProbs, ...(form ? {} : ASYNC) };
  target(
    `verifyDraft${form}`,
    onHead,
    () => {
      const hidden = numbers(3 * D);
      return [hidden, ids(2), some(draft)];
    },
    draft,
  );
  target(`nearest${form}`, onHead, () => [pick([3, numbers(D)]), 3, some(NEAREST)], NEAREST);
  target(`next${form}`, sampler, () => [numbers(D), some(NEXT, 3)], NEXT);
  const signal = form ? {} : ASYNC;
  target(`verify${form}`, sampler, () => [numbers(3 * D), ids(2), some(signal)], {
    draftLogProbs,
    ...signal,
  });
  const each = { each: () => [some(NEXT, 3), undefined] };
  target(
    `nextAll${form}`,
    onHead,
    () => [[sampler(), sampler()], numbers(2 * D), some({ ...each, ...signal })],
    { ...each, ...signal },
  );
  const beam = { ...SAMPLE, count: () => 4, ...signal };
  target(
    `beam${form}`,
    onHead,
    () => [numbers(2 * D), pick([[-1, -2], new Float64Array(2)]), some(beam)],
    beam,
  );
  target(
    `verifyDrafts${form}`,
    onHead,
    () => [
      [
        { hidden: numbers(3 * D), draftIds: ids(2), options: some({ ...SAMPLE, draftLogProbs }) },
        { hidden: numbers(D), draftIds: ids(1), sampler: sampler() },
      ],
      ...(form ? [] : [some(ASYNC)]),
    ],
    signal,
  );
}
target('embed', onHead, () => [ids(3), pick([undefined, new Float32Array(3 * D)])]);
target('verify', onHead, () => [numbers(D)]);
target('quantize', onHead, () => [pick(['i8', 'q8_0']), { hidden: numbers(D) }], {
  hidden: states,
  activations: () => 'i8',
});
target('save', onHead, () => [join(folder, 'head.safetensors')]);
target('saveSync', onHead, () => [join(folder, 'head.safetensors')]);
target('sampler', onHead, () => [some(SAMPLER)], SAMPLER);
target('accept', sampler, () => [3]);
target('restore', sampler, () => [JSON.parse(JSON.stringify(sampler()))]);
target('from', onClass, () => [numbers(V * D), { vocabSize: V, hiddenSize: D, ...some(FROM) }], FROM);
target('attach', onClass, () => [structuredClone(head.handle)]);
target('openSync', onClass, () => [join(folder, 'head.safetensors'), some(FROM)], {
  ...FROM,
  mmap: () => true,
  tensor: () => 'x',
});
target('open', onClass, () => [join(folder, 'head.safetensors'), some(FROM)], {
  ...FROM,
  mmap: () => true,
  tensor: () => 'x',
});
const held = () => pick([() => numbers(2 * V), () => new Float32Array(changing, 0, 2 * V)])();
target('softmax', onModule, () => [held(), V, some(WIDE)], { temperature: CALL.temperature, out: WIDE.out });
target('logSoftmax', onModule, () => [held(), V, some(WIDE)], {
  temperature: CALL.temperature,
  out: WIDE.out,
});
target('topKOf', onModule, () => [held(), V, 3]);
target('sampleFrom', onModule, () => [held(), V, some(HELD)], HELD);
target('candidatesOf', onModule, () => [held(), V, some(HELD)], HELD);
target('rowsOf', onModule, () => [head.topKSync(numbers(D), 3)]);
const NAMES = Object.keys(TARGETS);

function rowsIn(hidden) {
  return ArrayBuffer.isView(hidden) ? hidden.length / D : hidden.dims[0];
}

// ── hostile things ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const otherRealm = isMainThread ? vm.createContext({}) : undefined;
const HUGE = isMainThread ? 1n << 400_000n : 0n;
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

const SIMPLE = [
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
function action(value) {
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
function hostile(good) {
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

/** What is hostile already, and not to be looked into. */
let spoiled = new Set();

/** Puts something hostile somewhere into the arguments. */
function spoil(list, options) {
  let holder = list;
  let key = below(list.length + 1);
  const last = key === list.length - 1;
  // Into what an argument holds, mostly.
  for (let depth = 0; depth < 3; depth++) {
    const inner = valueAt(holder, key);
    if (typeof inner !== 'object' || inner === null || spoiled.has(inner) || below(4) === 0) break;
    const names = depth === 0 && last && below(2) ? Object.keys(options) : [];
    const keys = names.length > 0 ? names : Reflect.ownKeys(inner).filter(name => name !== 'length');
    if (keys.length === 0) break;
    holder = inner;
    key = pick(keys);
  }
  const good = valueAt(holder, key) ?? options[key]?.();
  let value;
  try {
    value = hostile(spoiled.has(good) ? undefined : good);
  } catch {
    value = pick(SIMPLE); // what it was to be made of is hostile already
  }
  spoiled.add(value);
  if (ArrayBuffer.isView(holder)) {
    // Not into a handle's weights: they are those of the other heads.
    const isBorrowed = holder.buffer instanceof SharedArrayBuffer;
    if (typeof value === typeof holder[key] && !isBorrowed) holder[key] = value;
  } else if (below(3) === 0 && holder !== list) {
    const get = action(below(2) ? () => good : () => value);
    Object.defineProperty(holder, key, { get, enumerable: true, configurable: true });
  } else {
    Object.defineProperty(holder, key, { value, enumerable: true, configurable: true, writable: true });
  }
}

/** Runs no getter. */
function valueAt(holder, key) {
  return Object.getOwnPropertyDescriptor(holder, key)?.value;
}

// ── the cases ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

const counts = { cases: 0, results: 0, refused: 0, own: 0, functions: NAMES.length };
const failures = [];

function judge(seed, name, error) {
  if (error instanceof LMHeadError) {
    const isShort = error.message.length < 2000 || error.message.startsWith('path: ');
    if (!/^ERR_LMHEAD_[A-Z]+$/.test(error.code) || !isShort) fail(seed, name, error);
    if (isOurs(error.cause)) fail(seed, name, error.cause);
    counts.refused++;
  } else if (error instanceof Own || error === OWN_SYMBOL || error === undefined) {
    counts.own++;
  } else {
    fail(seed, name, error);
  }
}

/** What was thrown while an argument was read, but by a mistake of the library's. */
function isOurs(cause) {
  if (!(cause instanceof TypeError || cause instanceof RangeError)) return false;
  const { code, message, stack } = cause;
  // Of Node's: about a path or a URL, or from an object that only looks like one of its own.
  if (typeof code === 'string' || /^ +at .*\(node:/m.test(stack.split('\n', 2)[1])) return false;
  return !/prox(y|ied)|incompatible receiver|private member|primitive value|memory|detached/.test(message);
}

function fail(seed, name, error) {
  if (failures.length < 1000)
    failures.push({ seed, name, error: String(error?.stack ?? error).slice(0, 600) });
}

/** Ids that are none, arrays of lengths that are none. */
function look(seed, name, result) {
  counts.results++;
  if (typeof result !== 'object' || result === null) return;
  const limit = name === 'restore' || name === 'rowsOf' ? Infinity : 2000;
  for (const [key, value] of Object.entries(result)) {
    if (key !== 'ids' || !(value instanceof Uint32Array)) continue;
    if (value.length > limit) fail(seed, name, `result: ${value.length} ids`);
    for (const id of value) if (id >= V && id !== 2 ** 32 - 1) fail(seed, name, `result: the id ${id}`);
  }
}

function runCase(seed) {
  seedDice(seed);
  someHead();
  counts.cases++;
  const name = pick(NAMES);
  const { on, makeArguments, options } = TARGETS[name];
  const list = makeArguments();
  detachable = list.filter(ArrayBuffer.isView);
  spoiled = new Set();
  for (let count = 1 + below(3); count > 0; count--) spoil(list, options);
  // To see one again.
  if (process.argv[4] === 'show')
    console.error(seed, head.kind, name, inspect(list, { depth: 4, showProxy: true }));
  try {
    const result = on()[name](...list);
    if (result instanceof Promise) {
      return result.then(
        value => {
          done(value);
          look(seed, name, value);
        },
        error => judge(seed, name, error),
      );
    }
    done(result);
    look(seed, name, result);
  } catch (error) {
    judge(seed, name, error);
  }
}

/** Heads that cases made. */
function done(result) {
  if (result instanceof LMHead) result.close();
  else if (result?.head instanceof LMHead) result.head.close();
}

async function runCases(count, first) {
  for (const event of ['unhandledRejection', 'uncaughtException'])
    process.on(event, error => fail(current, event, error));
  process.on('warning', () => {});
  // A promise that never settles keeps no process.
  const unsettled = new Set();
  process.on('exit', () => {
    if (unsettled.size > 0) console.error('never settled:', [...unsettled]);
  });
  let current = first;
  MAKERS.native().saveSync(join(folder, 'head.safetensors'));
  const wanted = MAKERS.native().logitsSync(numbers(D)).join();
  const writer = new Worker(fileURLToPath(import.meta.url), { workerData: changing });
  writer.unref();
  let pending = [];
  for (; current < first + count; current++) {
    unsettled.add(current);
    const seed = current;
    pending.push(Promise.resolve(runCase(current)).then(() => unsettled.delete(seed)));
    if (pending.length < 20) continue;
    await Promise.all(pending);
    pending = [];
    if (current % 1000 === 0) await new Promise(setImmediate);
  }
  await Promise.all(pending);
  await new Promise(setImmediate);
  if (MAKERS.native().logitsSync(numbers(D)).join() !== wanted) fail(first, 'logitsSync', 'other numbers');
  await writer.terminate();
  rmSync(folder, { recursive: true, force: true });
  console.log(JSON.stringify(counts));
  if (failures.length > 0) {
    console.error(JSON.stringify(failures, undefined, 1));
    process.exitCode = 1;
  }
}

if (!isMainThread) write();
else
  runCases(Number(process.argv[2]), Number(process.argv[3] ?? 0)).catch(error => {
    console.error('the test itself fails:', error);
    process.exit(2);
  });
