// Every method of a native head against the float64 reference, in one process that forks nothing: an emulator of another CPU
// does not follow a child. No test runner, and nothing but the package's public names and the reference's error bound.
//
//   node every-method.mjs ISA PACKAGE_FOLDER
//
// The kernel table in use must be ISA. The last line is `N passed, N failed`.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const [isa, folder] = process.argv.slice(2);
const require = createRequire(import.meta.url);
const lmhead = require(resolve(folder));
const { boundedLogitOf } = require(resolve(folder, 'dist/reference/logits.js'));
const { floats } = require(resolve(folder, 'dist/dtypes/half.js'));
const { LMHead, LMHeadError, capabilities } = lmhead;

const { isa: inUse, available, threads } = capabilities();
assert.equal(inUse, isa, `the kernels in use are ${inUse} of ${available}; nothing here would test ${isa}`);
console.log(`${process.arch}, Node ${process.version}: ${inUse} of ${available}, ${threads} threads`);

/** The methods that a head has, its class's and those of the classes that it extends, and those that have been called here. */
const METHODS = [];
const called = new Set();
for (
  let { prototype } = LMHead;
  prototype !== Object.prototype;
  prototype = Object.getPrototypeOf(prototype)
) {
  const owner = prototype;
  for (const [name, { value: method }] of Object.entries(Object.getOwnPropertyDescriptors(owner))) {
    if (method === undefined || name === 'constructor') continue;
    METHODS.push(name);
    owner[name] = function (...values) {
      called.add(name);
      return method.apply(this, values);
    };
  }
}

let passed = 0;
let failed = 0;
async function check(name, body) {
  try {
    await body();
    passed++;
  } catch (error) {
    failed++;
    console.log(`FAILED ${name}\n${error.stack}`);
  }
}

/** n numbers from [-1, 1), the same for the same seed. */
function someNumbers(n, seed) {
  let state = seed >>> 0;
  return Float32Array.from({ length: n }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** 16 bits of each number, cut off: any bits will do for a weight. */
function narrow(numbers, dtype) {
  if (dtype === 'f32') return numbers;
  if (dtype === 'bf16') return Uint16Array.from(new Uint32Array(numbers.buffer), bits => bits >>> 16);
  const fraction = x => Math.floor(Math.abs(x) * 1023); // 0.5 to 1 in steps, and either sign
  return Uint16Array.from(numbers, x => (x < 0 ? 0x8000 : 0) | 0x3800 | fraction(x));
}

/**
 * What float32 results may differ from the reference's. A log-probability near 0 is the log of 1 + s, s a sum of e^x where x is
 * rounded to float32: that changes s by up to |x|·2^-24 of it, and |x| stays below 28 until s is below ABSOLUTE.
 */
const RELATIVE = 2 ** -19;
const ABSOLUTE = 2 ** -40;
/** A log-sum-exp adds the largest logit to the log of the sum, and the two may cancel. */
const ABSOLUTE_OF_SUM = 2 ** -20;

/** Ids and counts as they are, float32 numbers within the rounding of one; objects field by field. */
function assertClose(actual, expected, what) {
  if (expected instanceof Float32Array || typeof expected === 'number') {
    const [got, wanted] = typeof expected === 'number' ? [[actual], [expected]] : [actual, expected];
    assert.equal(got.length, wanted.length, what);
    const absolute = what.endsWith('logSumExp') ? ABSOLUTE_OF_SUM : ABSOLUTE;
    for (let i = 0; i < wanted.length; i++) {
      const near = Math.abs(got[i] - wanted[i]) <= absolute + RELATIVE * Math.abs(wanted[i]);
      if (!near && !Object.is(got[i], wanted[i]))
        assert.fail(`${what} at ${i}: got ${got[i]}, want ${wanted[i]}`);
    }
  } else if (ArrayBuffer.isView(expected)) {
    assert.deepEqual(actual, expected, what);
  } else {
    assert.deepEqual(Object.keys(actual), Object.keys(expected), what);
    for (const key of Object.keys(expected)) assertClose(actual[key], expected[key], `${what}.${key}`);
  }
}

const SEED = 0x123456789abcdefn;

/** What to call with n hidden states: method, arguments, options. `draft` is of n − 1 tokens. */
function calls(V, n, draft) {
  const at = { seed: SEED, step: 3 };
  const targets = Uint32Array.from({ length: n }, (_, i) => (i * 97) % V);
  const all = { logits: true, logProbs: true, argmax: true, top: 3, sample: true, targets, entropy: true };
  const rows = [...new Set([V - 1, 0, V >> 1])];
  const filters = [
    {},
    { temperature: 0 },
    { temperature: 0.7 },
    { topK: Math.min(V, 40), topP: 0.9 },
    { topP: 0.8, temperature: 1.5 },
    { minP: 0.05 },
    { topK: Math.min(V, 50), topP: 0.95, minP: 0.05, temperature: 0.8 },
    { typicalP: 0.7, topNSigma: 2 },
    { epsilonCutoff: 0.002, etaCutoff: 0.01, temperatureRange: 0.3 },
    { pLess: true, stageOrder: ['temperature', 'pLess'], temperature: 1.2 },
    { xtcProbability: 0.5, xtcThreshold: 0.05, maxSurprisal: 9, seed: SEED },
    {
      logitBias: { 0: 1.5 },
      bannedIds: [1],
      history: [2, 3, 2],
      repetitionPenalty: 1.3,
      presencePenalty: 0.2,
    },
    { rows, topP: 0.9 },
  ];
  return [
    ['logits', [], {}],
    ['logits', [], { rows }],
    ['logProbs', [], {}],
    ['logProbs', [], { temperature: 0.6 }],
    ['logProbs', [], { rows, over: 'vocabulary' }],
    ['probs', [], {}],
    ['topK', [Math.min(V, 10)], {}],
    ['topK', [V], {}],
    ['topK', [2], { rows }],
    ['topK', [Math.min(V, 10)], { withLogProbs: false }],
    ['argmax', [], {}],
    ['score', [targets], { entropy: true }],
    ['score', [targets], { temperature: 2 }],
    ...filters.map(options => ['sample', [], { ...options, ...at }]),
    ...filters.map(options => ['sample', [], { ...options, ...at, withLogProbs: false }]),
    ...filters.map(options => ['candidates', [], options]),
    ['run', [], { ...all, ...at }],
    ['verifyDraft', [draft.ids], { temperature: 0.7, ...at }],
    ['verifyDraft', [draft.ids], { draftLogProbs: draft.logProbs, topP: 0.95, ...at }],
  ];
}

/** Row `row` of a result of n rows. */
function rowOf(result, row, n) {
  if (ArrayBuffer.isView(result)) {
    const width = result.length / n;
    return result.slice(row * width, (row + 1) * width);
  }
  // Of score's fields some are about all rows together.
  const own = Object.entries(result).filter(([, value]) => typeof value === 'object');
  return Object.fromEntries(own.map(([key, value]) => [key, rowOf(value, row, n)]));
}

/** Logits within their bound of float64; and from those very logits the results that the reference has. */
async function checkHead(name, head, { hidden, hiddenDtype = 'f32', wide, epilogue }) {
  const { vocabSize: V, hiddenSize: d } = head;
  const n = hidden.length / d;
  const input = hiddenDtype === 'f32' ? {} : { hiddenDtype };
  const u = head.logitsSync(hidden, input);
  await check(`${name}: logits`, () => {
    const h = floats(hidden, hiddenDtype);
    for (let row = 0; row < n; row++) {
      for (let id = 0; id < V; id++) {
        const { logit, bound } = boundedLogitOf(h.subarray(row * d, (row + 1) * d), wide, id, id, epilogue);
        const error = Math.abs(u[row * V + id] - logit);
        assert.ok(error <= bound, `row ${row} id ${id}: got ${u[row * V + id]}, want ${logit} ± ${bound}`);
      }
    }
  });
  // E transposed is u itself, and each hidden state picks a row of it: the reference's logits are u.
  const twin = LMHead.from(u, { vocabSize: V, hiddenSize: n, layout: 'dv', backend: 'reference' });
  const pick = Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));
  const draft = {
    ids: twin.argmaxSync(pick).subarray(0, n - 1),
    logProbs: twin.logProbsSync(pick.subarray(0, n * (n - 1)), { temperature: 2 }),
  };
  for (const [i, [method, values, options]] of calls(V, n, draft).entries()) {
    await check(`${name}: ${method} ${i}`, async () => {
      const result = head[`${method}Sync`](hidden, ...values, { ...options, ...input });
      assert.deepEqual(await head[method](hidden, ...values, { ...options, ...input }), result, 'async');
      assertClose(result, twin[`${method}Sync`](pick, ...values, options), method);
    });
  }
  await check(`${name}: sampler`, async () => {
    const options = { seed: SEED, topP: 0.9, repetitionPenalty: 1.2, mirostat: { tau: 4 }, topLogProbs: 2 };
    const [native, reference] = [head.sampler({ ...options, ...input }), twin.sampler(options)];
    for (let row = 0; row < n; row++) {
      const h = hidden.subarray(row * d, (row + 1) * d);
      const token = row % 2 ? native.nextSync(h) : await native.next(h);
      assert.equal(token.id, reference.nextSync(rowOf(pick, row, n)).id, `at ${row}`);
    }
  });
  await check(`${name}: many samplers and drafts`, async () => {
    const samplers = (of, more) =>
      Array.from({ length: n }, (_, i) => of.sampler({ seed: i, topK: 5, ...more }));
    const wanted = twin.nextAllSync(samplers(twin), pick);
    const ids = tokens => tokens.map(({ id }) => id);
    assert.deepEqual(ids(head.nextAllSync(samplers(head, input), hidden)), ids(wanted));
    assert.deepEqual(ids(await head.nextAll(samplers(head, input), hidden)), ids(wanted));
    const drafts = (h, more) => [{ hidden: h, draftIds: draft.ids, options: { temperature: 0, ...more } }];
    const verdicts = twin.verifyDraftsSync(drafts(pick));
    assert.deepEqual(head.verifyDraftsSync(drafts(hidden, input))[0].ids, verdicts[0].ids);
    assert.deepEqual((await head.verifyDrafts(drafts(hidden, input)))[0].ids, verdicts[0].ids);
    const scores = Array.from({ length: n }, (_, i) => -i);
    const { parents, ids: next } = twin.beamSync(pick, scores, { topK: 3, minKeep: 2 });
    const beams = await head.beam(hidden, scores, { topK: 3, minKeep: 2, ...input });
    assert.deepEqual([beams.parents, beams.ids], [parents, next]);
  });
}

const NONE = { logitScale: 1, softCap: 0, capOrder: 'scale-then-cap' };

// Dtypes, and sizes around every vector length and the kernels' blocks.
for (const dtype of ['f32', 'f16', 'bf16']) {
  for (const [V, d, n] of [
    [5, 1, 2],
    [263, 33, 5],
    [300, 100, 13],
    [41, 257, 3],
  ]) {
    const weight = narrow(someNumbers(V * d, V), dtype);
    const options = {
      vocabSize: V,
      hiddenSize: d,
      dtype: dtype === 'f32' ? undefined : dtype,
      backend: 'native',
    };
    const head = LMHead.from(weight, options);
    for (const hiddenDtype of ['f32', 'f16', 'bf16']) {
      const hidden = narrow(someNumbers(n * d, d), hiddenDtype);
      await checkHead(`${dtype} × ${hiddenDtype}, V=${V} d=${d} n=${n}`, head, {
        hidden,
        hiddenDtype,
        wide: floats(weight, dtype),
        epilogue: NONE,
      });
    }
    await check(`${dtype}, V=${V} d=${d}: embed`, () => {
      const ids = Uint32Array.of(V - 1, 0, V >> 1);
      const rows = Array.from(ids, id => [...floats(weight, dtype).subarray(id * d, (id + 1) * d)]);
      assert.deepEqual([...head.embed(ids)], rows.flat());
    });
    await check(
      `${dtype}, V=${V} d=${d}: the same bits alone, in a batch, and for any number of threads`,
      () => {
        const h = someNumbers(n * d, 7);
        const batch = head.logitsSync(h);
        const threaded = LMHead.from(weight, { ...options, threads: 3 }).logitsSync(h);
        assert.deepEqual(threaded, batch);
        for (let row = 0; row < n; row++)
          assert.deepEqual(head.logitsSync(h.subarray(row * d, (row + 1) * d)), rowOf(batch, row, n));
      },
    );
    await check(`${dtype}, V=${V} d=${d}: nearest`, async () => {
      const vector = someNumbers(d, 9);
      const u = head.logitsSync(vector);
      const k = Math.min(V, 12);
      const best = head.topKSync(vector, k);
      assert.deepEqual(await head.nearest(vector, k), { ids: best.ids, similarities: best.logits });
      const length = x => Math.hypot(...x);
      const cosines = Float32Array.from(u, (x, id) => x / (length(vector) * length(head.embed([id]))));
      const { ids, similarities } = head.nearestSync(vector, k, { metric: 'cosine' });
      const bestCosines = [...cosines].sort((a, b) => b - a);
      for (const [i, id] of ids.entries()) {
        assert.ok(Math.abs(similarities[i] - cosines[id]) < 1e-5, `cosine of ${id}`);
        assert.ok(Math.abs(similarities[i] - bestCosines[i]) < 1e-5, `cosine at ${i}`);
      }
    });
    await check(`${dtype}, V=${V} d=${d}: verify`, async () => {
      const { ok, argmaxAgrees } = await head.verify(someNumbers(n * d, 8));
      assert.ok(ok && argmaxAgrees);
      const said = JSON.parse(JSON.stringify(head));
      assert.deepEqual(said, { vocabSize: V, hiddenSize: d, dtype, backend: head.backend });
    });
  }
}

// Weights that are quantized here: by each kernel's own way with them.
for (const dtype of ['i8', 'q8_0']) {
  const [V, d, n] = [263, 96, 5];
  const floats = LMHead.from(someNumbers(V * d, 6), { vocabSize: V, hiddenSize: d, backend: 'native' });
  const hidden = someNumbers(n * d, 7);
  const { head, error } = await floats.quantize(dtype, { hidden });
  const wide = head.embed(Array.from({ length: V }, (_, id) => id));
  await check(`${dtype}: its error`, () =>
    assert.ok(error.weights.relative < 0.01 && error.logits.max < 0.2),
  );
  await checkHead(dtype, head, { hidden, wide, epilogue: NONE });
}

// What stands between a product and a logit; and a vocabulary of several chunks, with padding, on several threads.
{
  const [V, d, n] = [1031, 40, 4];
  const weight = someNumbers(V * d, 1);
  const hidden = someNumbers(n * d, 2);
  for (const epilogue of [
    { ...NONE, bias: someNumbers(V, 3) },
    { ...NONE, logitScale: -0.37 },
    { ...NONE, bias: someNumbers(V, 3), logitScale: 1.7, softCap: 3 },
    { ...NONE, logitScale: 1.7, softCap: 3, capOrder: 'cap-then-scale' },
  ]) {
    const { bias, logitScale, softCap, capOrder } = epilogue;
    const head = LMHead.from(weight, {
      ...{ vocabSize: V, hiddenSize: d, threads: 3, backend: 'native' },
      ...{ bias, logitScale, softCap: softCap || undefined, capOrder },
    });
    const name = `epilogue ${JSON.stringify({ bias: Boolean(bias), logitScale, softCap, capOrder })}`;
    await checkHead(name, head, { hidden, wide: weight, epilogue });
  }
  await check('validVocabSize', () => {
    const head = LMHead.from(weight, {
      vocabSize: V,
      hiddenSize: d,
      validVocabSize: V - 9,
      backend: 'native',
    });
    const p = head.probsSync(hidden);
    assert.ok(p.subarray(V - 9, V).every(x => x === 0));
    assert.ok(
      head
        .logitsSync(hidden)
        .subarray(V - 9, V)
        .every(x => x === -Infinity),
    );
  });
  await check("layout 'dv'", () => {
    const transposed = Float32Array.from(
      { length: V * d },
      (_, i) => weight[(i % V) * d + Math.floor(i / V)],
    );
    const options = { vocabSize: V, hiddenSize: d, backend: 'native' };
    const head = LMHead.from(transposed, { ...options, layout: 'dv' });
    assert.deepEqual(head.logitsSync(hidden), LMHead.from(weight, options).logitsSync(hidden));
  });
  await check('the final norm, and the lens', async () => {
    const norm = { type: 'rmsnorm', weight: someNumbers(d, 5), eps: 1e-5 };
    const head = LMHead.from(weight, { vocabSize: V, hiddenSize: d, norm, backend: 'native' });
    const normalized = hidden.map((x, i) => {
      const row = hidden.subarray(i - (i % d), i - (i % d) + d);
      return (x / Math.sqrt(row.reduce((sum, y) => sum + y * y, 0) / d + norm.eps)) * norm.weight[i % d];
    });
    const top = head.lensSync(hidden, 5);
    assert.deepEqual(await head.lens(hidden, 5), top);
    assertClose(top, head.topKSync(normalized, 5), 'lens');
  });
  await check('heads over the same weights: attached, and saved', async () => {
    const head = LMHead.from(weight, {
      vocabSize: V,
      hiddenSize: d,
      bias: someNumbers(V, 3),
      backend: 'native',
    });
    const logits = head.logitsSync(hidden);
    assert.deepEqual(LMHead.attach(structuredClone(head.handle)).logitsSync(hidden), logits);
    const folder = mkdtempSync(join(tmpdir(), 'lmhead-'));
    try {
      const path = join(folder, 'head.safetensors');
      await head.save(path);
      head.saveSync(path);
      assert.deepEqual(LMHead.openSync(path, { backend: 'native', mmap: false }).logitsSync(hidden), logits);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
  await check('NaN and infinities: where they are, and nowhere else', () => {
    const head = LMHead.from(weight, { vocabSize: V, hiddenSize: d, backend: 'native' });
    const bad = hidden.slice();
    bad[d + 1] = NaN;
    const u = head.logitsSync(bad);
    const healthy = head.logitsSync(hidden);
    assert.ok(rowOf(u, 1, n).every(Number.isNaN));
    for (const row of [0, 2, 3]) assert.deepEqual(rowOf(u, row, n), rowOf(healthy, row, n));
    for (const call of [() => head.argmaxSync(bad), () => head.topKSync(bad, 2), () => head.sampleSync(bad)])
      assert.throws(call, { code: 'ERR_LMHEAD_NAN' });
  });
  await check('close', async () => {
    const closed = { code: 'ERR_LMHEAD_CLOSED' };
    const head = LMHead.from(weight, { vocabSize: V, hiddenSize: d, backend: 'native' });
    const expected = head.argmaxSync(hidden);
    const pending = head.argmax(hidden).catch(error => error); // runs to its end, or had not begun
    head.close();
    assert.throws(() => head.argmaxSync(hidden), closed);
    const result = await pending;
    if (result instanceof LMHeadError) assert.equal(result.code, closed.code);
    else assert.deepEqual(result, expected);
  });
}

// Functions over logits that the caller holds: the reference by the same trick.
await check('functions over given logits', () => {
  const V = 700;
  const u = someNumbers(V, 4).map(x => 6 * x);
  const twin = LMHead.from(u, { vocabSize: V, hiddenSize: 1, backend: 'reference' });
  const one = Float32Array.of(1);
  assertClose(
    lmhead.logSoftmax(u, V, { temperature: 0.7 }),
    twin.logProbsSync(one, { temperature: 0.7 }),
    'logSoftmax',
  );
  assertClose(lmhead.softmax(u, V), twin.probsSync(one), 'softmax');
  assertClose(lmhead.topKOf(u, V, 300), twin.topKSync(one, 300), 'topKOf');
  const options = { topK: 60, topP: 0.9, temperature: 0.8 };
  const { ids, probs } = lmhead.candidatesOf(u, V, options);
  assert.deepEqual(ids, twin.topKSync(one, ids.length).ids);
  assert.ok(Math.abs(probs.reduce((a, b) => a + b) - 1) < 1e-5);
  for (let step = 0; step < 200; step++) {
    const drawn = { ...options, seed: SEED, step };
    assertClose(lmhead.sampleFrom(u, V, drawn), twin.sampleSync(one, drawn), `sampleFrom at step ${step}`);
  }
});

// A mapped file, read in place.
await check('open', async () => {
  const path = join(resolve(folder), 'assets/tiny-lm.safetensors');
  const mapped = await LMHead.open(path, { backend: 'native' });
  const read = LMHead.openSync(path, { backend: 'native', mmap: false });
  const h = someNumbers(3 * mapped.hiddenSize, 5);
  assert.deepEqual(mapped.logitsSync(h), read.logitsSync(h));
  assert.ok((await mapped.verify(h)).ok);
});

await check('every method has been called', () =>
  assert.deepEqual(
    METHODS.filter(name => !called.has(name)),
    [],
  ),
);

console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
