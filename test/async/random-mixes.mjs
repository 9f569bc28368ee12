/**
 * Random mixes of calls at once, of several heads over the same and other weights, of which some are aborted and some heads
 * closed: every answer is held, bit for bit, against that of the synchronous method. Prints counts, in JSON; whatever is wrong
 * goes to stderr, and the program then ends with 1.
 * Arguments: seed, calls.
 */
import { subscribe } from 'node:diagnostics_channel';
import { LMHead, LMHeadError } from '../../dist/index.mjs';
import { random } from '../stress/random.mjs';

const [seed, wanted] = process.argv.slice(2).map(Number);

const { below } = random(seed);
const chance = percent => below(100) < percent;
const pick = list => list[below(list.length)];
const unit = () => below(2 ** 30) / 2 ** 29 - 1;
const floats = (n, scale = 1) => Float32Array.from({ length: n }, () => unit() * scale);
const halves = numbers => Uint16Array.from(new Uint32Array(numbers.buffer), word => word >>> 16);

// ---- heads ------------------------------------------------------------------------------------------------------------------

/** Another head over the weights of one, with settings of its own. */
function attach(head, changes) {
  const { handle } = head;
  return LMHead.attach(structuredClone({ ...handle, settings: { ...handle.settings, ...changes } }));
}

function someSettings({ vocabSize, hiddenSize }) {
  return {
    threads: 1 + below(7),
    bias: chance(50) ? floats(vocabSize) : undefined,
    logitScale: chance(50) ? 1 : 0.3 + unit() / 4,
    softCap: chance(30) ? 3 : undefined,
    capOrder: pick(['scale-then-cap', 'cap-then-scale']),
    validVocabSize: chance(50) ? vocabSize : 1 + below(vocabSize),
    norm: { type: pick(['rmsnorm', 'layernorm']), weight: floats(hiddenSize), eps: 1e-6 },
  };
}

/** A head under test, and the one that tells what is right: of the same settings, and with strict turns. */
function pair(base, changes = {}) {
  const settings = someSettings(base);
  return {
    head: attach(base, { ...settings, ...changes }),
    truth: attach(base, { ...settings, coalesce: false }),
    settings,
  };
}

async function group(vocabSize, hiddenSize, kind) {
  const sizes = { vocabSize, hiddenSize, backend: 'native' };
  const weight = floats(vocabSize * hiddenSize);
  let base;
  if (kind === 'bf16') base = LMHead.from(halves(weight), { ...sizes, dtype: kind });
  else base = LMHead.from(weight, sizes);
  if (kind === 'q8_0') base = (await base.quantize('q8_0')).head;
  if (kind.startsWith('i8'))
    base = (await base.quantize('i8', { activations: kind === 'i8' ? 'f32' : 'i16' })).head;
  return { base, pairs: [pair(base), pair(base), pair(base), pair(base, { coalesce: false })] };
}

const groups = [
  await group(1, 3, 'f32'),
  await group(700, 33, 'f32'),
  await group(1500, 40, 'bf16'),
  await group(600, 64, 'q8_0'),
  await group(900, 20, 'i8'),
  await group(900, 70, 'i8, i16'),
  await group(9000, 8, 'f32'),
];
const plugs = LMHead.from(floats(20_000 * 32), { vocabSize: 20_000, hiddenSize: 32, backend: 'native' });
const plug = { hidden: floats(12 * 32), targets: new Uint32Array(12) };

// ---- calls ------------------------------------------------------------------------------------------------------------------

const some = (count, limit) => Array.from({ length: below(count) }, () => below(limit));
/** One for all rows, or one for each. */
const perRow = (n, make) => (chance(20) ? Array.from({ length: n }, make) : make());

function drawing(n, valid) {
  const options = { seed: 1 + below(1000), step: below(1000) };
  const add = (percent, more) => {
    if (chance(percent)) Object.assign(options, more());
  };
  add(60, () => ({ temperature: perRow(n, () => pick([0, 0.5, 0.9, 1, 1.7])) }));
  add(40, () => ({ topK: perRow(n, () => pick([1, 5, 40, 5000])) }));
  add(40, () => ({ topP: perRow(n, () => pick([0.1, 0.8, 0.95])) }));
  add(30, () => ({ minP: perRow(n, () => pick([1e-9, 0.01, 0.2])) }));
  add(10, () => ({ typicalP: 0.7 }));
  add(10, () => ({ topNSigma: 1.5 }));
  add(10, () => ({ minKeep: perRow(n, () => pick([2, 40, 2000])) }));
  add(10, () => ({ epsilonCutoff: 1e-4 }));
  add(10, () => ({ xtcProbability: 0.5, xtcThreshold: 0.05 }));
  add(5, () => ({ xtcProbability: 1, xtcThreshold: 0.01, xtcProtectedIds: some(40, valid) }));
  add(10, () => ({ temperatureRange: 0.3 }));
  add(10, () => ({ stream: below(9) }));
  add(20, () => ({ bannedIds: some(40, valid) }));
  add(20, () => ({ logitBias: Object.fromEntries(some(20, valid).map(id => [id, unit() * 5])) }));
  add(20, () => ({ allowedIds: [below(valid), ...some(chance(50) ? 5 : valid, valid)] }));
  add(20, () => ({
    history: some(60, valid),
    repetitionPenalty: 1.3,
    frequencyPenalty: 0.2,
    noRepeatNgramSize: pick([0, 3]),
    bannedSequences: [[below(valid), below(valid)], [below(valid)]],
  }));
  return options;
}

const subset = valid => [...new Set([below(valid), ...some(20, valid)])];
const common = valid => ({
  ...(chance(30) && { norm: true }),
  ...(chance(8) && { rows: subset(valid), ...(chance(50) && { over: 'vocabulary' }) }),
});
/** For what ids are asked of: all rows. */
const whole = () => (chance(30) ? { norm: true } : {});
const untold = () => (chance(30) ? { withLogProbs: false } : {});
const heated = n => (chance(40) ? { temperature: perRow(n, () => 0.5 + below(3)) } : {});

/** By method: the arguments after the hidden states, the last of them options. */
const METHODS = {
  logits: (_, valid) => [common(valid)],
  logProbs: (n, valid) => [{ ...common(valid), ...heated(n) }],
  probs: (n, valid) => [{ ...common(valid), ...heated(n) }],
  argmax: (_, valid) => [common(valid)],
  topK: (n, valid) => [
    1 + below(Math.min(valid, pick([3, 60, 3000]))),
    { ...whole(), ...heated(n), ...untold() },
  ],
  lens: (n, valid) => [1 + below(Math.min(valid, 9)), { ...heated(n), ...untold() }],
  sample: (n, valid) => [
    { ...whole(), ...drawing(n, valid), ...(chance(20) ? { topLogProbs: below(6) } : untold()) },
  ],
  candidates: (n, valid) => [{ ...whole(), ...drawing(n, valid) }],
  score: (n, valid) => [
    Array.from({ length: n }, () => below(valid)),
    { ...whole(), ...heated(n), ...(chance(50) && { entropy: true }) },
  ],
  run: (n, valid) => [
    {
      ...whole(),
      ...(chance(60) && { sample: true, ...drawing(n, valid), temperature: 0.8 }),
      ...(chance(50) && { logits: true }),
      ...(chance(50) && { logProbs: true }),
      ...(chance(50) && { argmax: true }),
      ...(chance(50) && { top: 1 + below(Math.min(valid, 20)) }),
      ...(chance(50) && { targets: Array.from({ length: n }, () => below(valid)) }),
    },
  ],
  verifyDraft: draft,
  nearest: (_, valid) => [1 + below(Math.min(valid, 9)), { metric: pick(['dot', 'cosine']) }],
  nextAll: (n, valid) =>
    Array.from({ length: n }, () => {
      const { step, ...options } = drawing(1, valid);
      return { ...whole(), ...options, ...untold() };
    }),
  verifyDrafts: (n, valid) => {
    const lengths = [];
    for (let left = n; left > 0; left -= lengths.at(-1)) lengths.push(1 + below(left));
    return lengths.map(length => [length, ...draft(length, valid)]);
  },
};
/** What is not simply asked of a head: method(head, what METHODS has given, hidden states, signal). */
const BY_LISTS = {
  nextAll: (head, all, hidden, ...signal) =>
    head.nextAll(
      all.map(options => head.sampler(options)),
      hidden,
      ...signal,
    ),
  nextAllSync: (head, all, hidden) =>
    head.nextAllSync(
      all.map(options => head.sampler(options)),
      hidden,
    ),
  verifyDrafts: (head, all, hidden, ...signal) => head.verifyDrafts(drafts(head, all, hidden), ...signal),
  verifyDraftsSync: (head, all, hidden) => head.verifyDraftsSync(drafts(head, all, hidden)),
};

function draft(n, valid) {
  const draftIds = Array.from({ length: n - below(2) }, () => below(valid));
  return [draftIds, { ...whole(), ...drawing(n, valid) }];
}

function drafts({ hiddenSize }, all, hidden) {
  const { data = hidden, type } = hidden;
  let first = 0;
  return all.map(([n, draftIds, options]) => {
    const rows = data.subarray(first * hiddenSize, (first + n) * hiddenSize);
    first += n;
    return { hidden: type ? { data: rows, type, dims: [n, hiddenSize] } : rows, draftIds, options };
  });
}

function ask(head, method, hidden, list, signal) {
  if (BY_LISTS[method]) return BY_LISTS[method](head, list, hidden, ...(signal ? [{ signal }] : []));
  return head[method](hidden, ...list.slice(0, -1), signal ? { ...list.at(-1), signal } : list.at(-1));
}
/** Few of the others, which share no passes. */
const MIX = Object.keys(METHODS).concat(['argmax', 'topK', 'sample', 'sample', 'score', 'score', 'run']);

function someCall({ base, pairs }) {
  const { vocabSize, hiddenSize } = base;
  const of = pick(pairs);
  const valid = Math.min(vocabSize, of.settings.validVocabSize);
  const method = pick(MIX);
  const n = method === 'nearest' ? 1 : chance(70) ? 1 : 1 + below(chance(90) ? 16 : 60);
  const list = METHODS[method](n, valid);
  let hidden = floats(n * hiddenSize);
  if (chance(3)) hidden[below(hidden.length)] = pick([Number.NaN, Number.POSITIVE_INFINITY]);
  if (chance(20)) hidden = { data: halves(hidden), type: 'bfloat16', dims: [n, hiddenSize] };
  return { ...of, method, hidden, list };
}

/** What a call gives, or the error that it throws. */
function outcome(call) {
  try {
    return { value: call() };
  } catch (error) {
    return { error };
  }
}

function same(a, b) {
  if (ArrayBuffer.isView(a)) {
    if (!ArrayBuffer.isView(b) || a.length !== b.length || a.constructor !== b.constructor) return false;
    return Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(
      Buffer.from(b.buffer, b.byteOffset, b.byteLength),
    );
  }
  if (typeof a !== 'object' || a === null || typeof b !== 'object' || b === null) return Object.is(a, b);
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every(key => key in b && same(a[key], b[key]));
}

// ---- rounds -----------------------------------------------------------------------------------------------------------------

const counts = { calls: 0, right: 0, failed: 0, aborted: 0, closed: 0, shared: 0, most: 0 };
subscribe('lmhead:pass', ({ async, calls, rows, apart }) => {
  if (!async) return;
  if (calls > 1) counts.shared++;
  counts.most = Math.max(counts.most, calls);
  if (calls > 1 && (apart || rows > 64)) wrong('a pass', { calls, rows, apart });
});

let failures = 0;
function wrong(what, ...details) {
  failures++;
  if (failures < 10) console.error('wrong:', what, ...details);
}

const pause = () =>
  new Promise(resolve => (chance(50) ? setImmediate(resolve) : setTimeout(resolve, below(4))));

/** Calls at once; some are aborted meanwhile, and perhaps a head is closed. */
async function round() {
  const one = pick(groups);
  const closing = chance(10) ? pair(one.base) : undefined;
  const from = closing ? { ...one, pairs: [...one.pairs, closing] } : one;
  const busy = chance(70) ? plugs.score(plug.hidden, plug.targets) : undefined;
  const pending = [];
  const controllers = [];
  for (let count = 1 + below(80); count > 0; count--) {
    const call = someCall(chance(90) ? from : pick(groups));
    const controller = chance(15) ? new AbortController() : undefined;
    const promise = ask(call.head, call.method, call.hidden, call.list, controller?.signal);
    pending.push({ call, controller, settled: Promise.allSettled([promise]) });
    if (controller) {
      if (chance(20)) controller.abort();
      else controllers.push(controller);
    }
    if (chance(2)) await pause();
  }
  for (const controller of controllers) {
    if (chance(30)) await pause();
    controller.abort();
  }
  if (closing) {
    // Made before any is asked, so that some wait when the head is closed.
    const last = Array.from({ length: 20 }, () => someCall({ base: one.base, pairs: [closing] }));
    for (const call of last) {
      const promise = ask(call.head, call.method, call.hidden, call.list);
      pending.push({ call, settled: Promise.allSettled([promise]) });
    }
    closing.head.close();
  }
  for (const { call, controller, settled } of pending) judge(call, controller, (await settled)[0], closing);
  closing?.truth.close();
  await busy;
}

function judge({ head, truth, method, hidden, list }, controller, { status, value, reason }, closing) {
  counts.calls++;
  const code = reason?.code;
  if (code === 'ERR_LMHEAD_ABORTED' && controller) return void counts.aborted++;
  if (code === 'ERR_LMHEAD_CLOSED' && head === closing?.head) return void counts.closed++;
  const right = outcome(() => ask(truth, `${method}Sync`, hidden, list));
  if (status === 'rejected') {
    counts.failed++;
    if (
      !(reason instanceof LMHeadError) ||
      code !== right.error?.code ||
      reason.message !== right.error.message
    )
      wrong(method, list, reason, right);
  } else {
    counts.right++;
    if (right.error || !same(value, right.value)) wrong(method, list, value, right);
  }
}

while (counts.calls < wanted) await round();
console.log(JSON.stringify(counts));
if (failures > 0) process.exitCode = 1;
