/**
 * Calls the native addon's own functions with arrays in shared memory, which another thread changes all the time: from numbers that are
 * right to numbers that are not, and back. Every call has to give a result whose ids are there, or an LMHeadError.
 * `node racing-memory.mjs [calls]`; the last line is `N calls: …`, and the exit code 1 where one went wrong.
 */
import { createRequire } from 'node:module';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

const calls = Number(process.argv[2] ?? 2000);
const [V, D, n, k] = [300, 16, 4, 5];
const PARAMETERS = [
  1,
  0,
  1,
  -Infinity,
  1,
  2,
  3,
  1,
  -Infinity,
  -Infinity,
  0,
  0,
  0,
  -Infinity,
  0,
  1,
  Infinity,
  0,
  0,
];
const COLUMNS = PARAMETERS.length;

/** What is in shared memory: the type of its numbers, how many there are, those that are right, and wrong ones. */
const SHARED = {
  hidden: [Float32Array, n * D, i => Math.sin(i), i => (i % 3 ? Number.NaN : 1e38)],
  halves: [Uint16Array, n * D, () => 0x3c00, () => 0x7e01],
  logits: [Float32Array, n * V, i => Math.cos(i), i => (i % 5 ? -Infinity : Number.NaN)],
  rising: [Float32Array, n * V, i => i % V, i => -(i % V)],
  parameters: [Float64Array, n * COLUMNS, i => PARAMETERS[i % COLUMNS], () => 1e300],
  shares: [
    Float64Array,
    n * COLUMNS,
    i => (i % COLUMNS === 2 ? 0.9 : PARAMETERS[i % COLUMNS]),
    i => (i % COLUMNS === 1 ? V : Number.NaN),
  ],
  ranges: [Uint32Array, 2 * n, i => (i % 2 ? 3 : 0), () => 0xffffffff],
  ids: [Uint32Array, 3, i => 10 * i, () => 0xfffffff0],
  values: [Float64Array, 9, () => 1, () => Number.NaN],
  allowed: [Uint32Array, Math.ceil(V / 32), () => 0xffffffff, () => 0],
  few: [Uint32Array, Math.ceil(V / 32), i => (i === 2 ? 0xff : 0), i => (i === 5 ? 1 : 0)],
  targets: [Uint32Array, n, i => i, () => 0x7fffffff],
  rows: [Uint32Array, 7, i => 11 * i, i => 0xffffff00 - i],
  draft: [Uint32Array, n - 1, i => i, () => 0xfffffffe],
  draftLogProbs: [Float32Array, (n - 1) * V, () => -5.7, () => Number.NaN],
  out: [Float32Array, n * V, () => 0, () => 1],
};

const views = buffers =>
  Object.fromEntries(Object.entries(SHARED).map(([name, [Type]]) => [name, new Type(buffers[name])]));

if (isMainThread) await main();
else changeAllTheTime();

function changeAllTheTime() {
  const { buffers, state } = workerData;
  const of = views(buffers);
  const valuesOf = column =>
    Object.entries(SHARED).map(([name, each]) => [
      name,
      each[0].from({ length: each[1] }, (_, i) => each[column](i)),
    ]);
  const [right, wrong] = [valuesOf(2), valuesOf(3)];
  const put = values => {
    for (const [name, numbers] of values) of[name].set(numbers);
  };
  put(right);
  Atomics.store(state, 0, 1);
  Atomics.notify(state, 0);
  for (let i = 0; Atomics.load(state, 1) === 0; i++) {
    // Mostly right, so that arguments pass the checks; wrong for moments.
    put(wrong);
    for (let times = 0; times < 4 + (i % 9); times++) put(right);
  }
}

async function main() {
  const require = createRequire(import.meta.url);
  const { loadAddon } = require('../../dist/backend/addon.js');
  const { LMHeadError } = require('../../dist/errors.js');
  const addon = loadAddon();

  const buffers = Object.fromEntries(
    Object.entries(SHARED).map(([name, [Type, length]]) => [
      name,
      new SharedArrayBuffer(length * Type.BYTES_PER_ELEMENT),
    ]),
  );
  const state = new Int32Array(new SharedArrayBuffer(8)); // [running, to end]
  const worker = new Worker(new URL(import.meta.url), { workerData: { buffers, state } });
  Atomics.wait(state, 0, 0);
  const of = views(buffers);

  const heads = [0, 2].map(dtype => {
    const data =
      dtype === 0
        ? Float32Array.from({ length: V * D }, (_, i) => Math.sin(i))
        : new Uint16Array(V * D).fill(0x3f80);
    const output = { dtype, transposed: false, data, copy: true };
    const spec = { vocabSize: V, hiddenSize: D, validVocabSize: V, activations: 0, threads: 2, output };
    return new addon.Head({ ...spec, logitScale: 1, softCap: 0 });
  });

  const floats = length => new Float32Array(length);
  /** A request by its parts, in the order that the addon takes them; and the ids that it gets. */
  function request(parts) {
    const ids = [];
    const wanted = length => {
      ids.push(new Uint32Array(length));
      return ids.at(-1);
    };
    const { parameters, out, argmax, top, sample, targets, adjustments, candidates, rare } = parts;
    const list = [
      ...[argmax && wanted(n), out, undefined, undefined, parameters],
      ...[top && k, top && wanted(n * k), top && floats(n * k), top && floats(n * k)],
      ...[sample && wanted(n), sample && floats(n)],
      ...[targets, targets && floats(n), targets && new Uint32Array(n), targets && floats(n)],
      ...[floats(n), adjustments, candidates, rare?.(wanted)],
    ];
    return { list, ids };
  }
  const { parameters, shares, targets } = of;
  const adjustments = {
    ranges: of.ranges,
    ids: of.ids,
    values: of.values,
    allowed: of.allowed,
    allowedStride: 0,
  };
  const draft = wanted => {
    const results = { accepted: new Uint32Array(1), outIds: wanted(n), outLogProbs: floats(n) };
    return { metric: 0, draft: { ids: of.draft, logProbs: of.draftLogProbs, ...results } };
  };
  const OVER_ALL = [
    { argmax: true, top: true, out: of.out },
    { targets, top: true },
    { parameters, sample: true },
    { parameters, sample: true, adjustments },
    { parameters: shares, sample: true, candidates: true, adjustments },
    { parameters, sample: true, adjustments: { allowed: of.few, allowedStride: 0 } },
    { parameters: shares, rare: draft },
  ];
  const OVER_ROWS = [
    { top: true, argmax: true, rare: () => ({ rows: of.rows, overVocabulary: true, metric: 0 }) },
    { parameters, sample: true, rare: () => ({ rows: of.rows, metric: 0 }) },
  ];
  const REQUESTS = [...OVER_ALL, ...OVER_ROWS];

  const counts = { returned: 0, LMHeadError: 0 };
  function judge(result, ids) {
    counts.returned++;
    if (Array.isArray(result)) return; // a row without a token, and so on
    const stray = [...ids.flatMap(list => [...list]), ...(result?.ids ?? [])].find(id => id >= V);
    if (stray === undefined) return;
    console.error(`wrong: an id of ${stray}`);
    process.exitCode = 1;
  }
  function failed(error) {
    if (!(error instanceof LMHeadError)) throw error;
    counts.LMHeadError++;
  }

  const pending = [];
  for (let i = 0; i < calls; i++) {
    const place = i % REQUESTS.length;
    const { list, ids } = request(REQUESTS[place]);
    const hidden = i % 2 ? [of.hidden, 0] : [of.halves, 2];
    const head = heads[i % 2];
    const way = i % 11;
    try {
      if (way === 0) judge(heads[0].readRows(0, of.rows, floats(7 * D)), []);
      else if (way < 5 && place < OVER_ALL.length)
        judge(addon.runLogits(i % 2 ? of.logits : of.rising, n, V, ...list, 2), ids);
      else if (way < 8) judge(head.run(n, ...hidden, ...list), ids);
      else pending.push(head.runAsync(n, ...hidden, ...list).then(result => judge(result, ids), failed));
    } catch (error) {
      failed(error);
    }
    if (pending.length > 20) await pending.shift();
  }
  await Promise.all(pending);
  Atomics.store(state, 1, 1);
  await new Promise(resolve => worker.once('exit', resolve));
  console.log(`${calls} calls: ${counts.returned} returned, ${counts.LMHeadError} LMHeadError`);
}
