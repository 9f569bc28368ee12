// Every method of a native head against the float64 reference, in one process that forks nothing: an emulator of another CPU
// does not follow a child. No test runner, and nothing but the package's public names and the reference's error bound.
//
//   node every-method.mjs ISA PACKAGE_FOLDER
//
// The kernel table in use must be ISA. The last line is `N passed, N failed`.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';

const [isa, folder] = process.argv.slice(2);
const require = createRequire(import.meta.url);
const lmhead = require(resolve(folder));
const { boundedLogitOf } = require(resolve(folder, 'dist/reference/logits.js'));
const { floats } = require(resolve(folder, 'dist/half.js'));
const { LMHead, LMHeadError, capabilities } = lmhead;

const { isa: inUse, available, threads } = capabilities();
assert.equal(inUse, isa, `the kernels in use are ${inUse} of ${available}; nothing here would test ${isa}`);
console.log(`${process.arch}, Node ${process.version}: ${inUse} of ${available}, ${threads} threads`);

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

/** Ids and counts as they are, float32 numbers within the rounding of one; objects field by field. */
function assertClose(actual, expected, what) {
  if (expected instanceof Float32Array || typeof expected === 'number') {
    const [got, wanted] = typeof expected === 'number' ? [[actual], [expected]] : [actual, expected];
    assert.equal(got.length, wanted.length, what);
    for (let i = 0; i < wanted.length; i++) {
      const near = Math.abs(got[i] - wanted[i]) <= ABSOLUTE + RELATIVE * Math.abs(wanted[i]);
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

/** What to call with n hidden states: method, arguments, options. `first` is the first one's place in the random stream. */
function calls(V, n, first) {
  const at = { seed: SEED, step: 3 + first };
  const targets = Uint32Array.from({ length: n }, (_, i) => ((first + i) * 97) % V);
  const all = { logits: true, logProbs: true, argmax: true, top: 3, sample: true, targets, entropy: true };
  const samplings = [
    {},
    { temperature: 0 },
    { temperature: 0.7 },
    { topK: Math.min(V, 40), topP: 0.9 },
    { topP: 0.8, temperature: 1.5 },
    { minP: 0.05 },
    { topK: Math.min(V, 50), topP: 0.95, minP: 0.05, temperature: 0.8 },
  ];
  return [
    ['logits', [], {}],
    ['logProbs', [], {}],
    ['logProbs', [], { temperature: 0.6 }],
    ['probs', [], {}],
    ['topK', [Math.min(V, 10)], {}],
    ['topK', [V], {}],
    ['argmax', [], {}],
    ['score', [targets], { entropy: true }],
    ['score', [targets], { temperature: 2 }],
    ...samplings.map(options => ['sample', [], { ...options, ...at }]),
    ['run', [], { ...all, ...at }],
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
  // A vocabulary of one number per id, times a hidden state of 1: the reference's logits are u itself.
  const one = Float32Array.of(1);
  const twins = Array.from({ length: n }, (_, row) =>
    LMHead.from(rowOf(u, row, n), { vocabSize: V, hiddenSize: 1, backend: 'reference' }),
  );
  for (const [i, [method, values, options]] of calls(V, n, 0).entries()) {
    await check(`${name}: ${method} ${i}`, async () => {
      const result = head[`${method}Sync`](hidden, ...values, { ...options, ...input });
      assert.deepEqual(await head[method](hidden, ...values, { ...options, ...input }), result, 'async');
      for (let row = 0; row < n; row++) {
        const [, ...alone] = calls(V, 1, row)[i];
        const expected = twins[row][`${method}Sync`](one, ...alone.flat());
        assertClose(rowOf(result, row, n), rowOf(expected, 0, 1), `row ${row}`);
      }
    });
  }
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
    await check(`${dtype}, V=${V} d=${d}: verify`, async () => {
      const { ok, argmaxAgrees } = await head.verify(someNumbers(n * d, 8));
      assert.ok(ok && argmaxAgrees);
    });
  }
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
await check('functions over held logits', () => {
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

// A mapped file, read where it lies.
await check('open', async () => {
  const path = join(resolve(folder), 'assets/tiny-lm.safetensors');
  const mapped = await LMHead.open(path, { backend: 'native' });
  const read = LMHead.openSync(path, { backend: 'native', mmap: false });
  const h = someNumbers(3 * mapped.hiddenSize, 5);
  assert.deepEqual(mapped.logitsSync(h), read.logitsSync(h));
  assert.ok((await mapped.verify(h)).ok);
});

console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
