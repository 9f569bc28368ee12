/** Calls of the addon's functions that are right. */
import { addon } from './addon.mjs';
import { arrayOf, ascending, exchangeMemories, floats, randomFloats, words } from './arrays.mjs';
import { below, bits, chance, pick } from './chance.mjs';

const ROW_PARAMETERS = 21;
export const V = 70;
export const D = 16; // a hidden state is used in place, for D is a multiple of 16

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
export const KINDS = {
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
export const MIX = [
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

export function newHead() {
  const memory = exchangeMemories([]);
  const weights = randomFloats(V * D);
  exchangeMemories(memory);
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
