// Every method of a native head, in one process that forks nothing: an emulator of another CPU does not follow a child. No test
// runner, and nothing but the package's public names. What only the float64 reference can judge is written to ANSWERS, for
// against-reference.mjs, which no emulator slows down.
//
//   node every-method.mjs ISA PACKAGE_FOLDER ANSWERS
//
// The kernel table in use must be ISA. The last line is `N passed, N failed`.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { serialize } from 'node:v8';
import {
  assertClose,
  BEAM,
  Checks,
  calls,
  drawsOfGivenLogits,
  greedyDraft,
  manySamplers,
  rowOf,
  SAMPLER,
  scoresOf,
  someNumbers,
} from './calls.mjs';

const [isa, folder, answersPath] = process.argv.slice(2);
const require = createRequire(import.meta.url);
const lmhead = require(resolve(folder));
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

const checks = new Checks();
const check = (name, body) => checks.check(name, body);

/** 16 bits of each number, cut off: any bits will do for a weight. */
function narrow(numbers, dtype) {
  if (dtype === 'f32') return numbers;
  if (dtype === 'bf16') return Uint16Array.from(new Uint32Array(numbers.buffer), bits => bits >>> 16);
  const fraction = x => Math.floor(Math.abs(x) * 1023); // 0.5 to 1 in steps, and either sign
  return Uint16Array.from(numbers, x => (x < 0 ? 0x8000 : 0) | 0x3800 | fraction(x));
}

/** What heads answered: what against-reference.mjs reads. */
const answers = [];

/** Asks a head everything, twice where a method has two forms. */
async function askHead(name, head, { hidden, hiddenDtype = 'f32', wide, epilogue }) {
  const { vocabSize: V, hiddenSize: d } = head;
  const n = hidden.length / d;
  const input = hiddenDtype === 'f32' ? {} : { hiddenDtype };
  const draft = {
    ids: head.argmaxSync(hidden, input).subarray(0, n - 1),
    logProbs: head.logProbsSync(hidden.subarray(0, d * (n - 1)), { temperature: 2, ...input }),
  };
  const answer = { name, V, d, n, wide, epilogue, draft, results: [] };
  answer.hidden = floats(hidden, hiddenDtype);
  answer.logits = head.logitsSync(hidden, input);
  for (const [i, [method, values, options]] of calls(V, n, draft).entries()) {
    await check(`${name}: ${method} ${i}, both forms`, async () => {
      const result = head[`${method}Sync`](hidden, ...values, { ...options, ...input });
      assert.deepEqual(await head[method](hidden, ...values, { ...options, ...input }), result, 'async');
      answer.results[i] = structuredClone(result);
    });
  }
  await check(`${name}: sampler`, async () => {
    const sampler = head.sampler({ ...SAMPLER, ...input });
    answer.sampled = [];
    for (let row = 0; row < n; row++) {
      const h = hidden.subarray(row * d, (row + 1) * d);
      answer.sampled.push((row % 2 ? sampler.nextSync(h) : await sampler.next(h)).id);
    }
  });
  await check(`${name}: many samplers and drafts`, async () => {
    const samplers = () => manySamplers(head, n, input);
    const ids = tokens => tokens.map(({ id }) => id);
    answer.next = ids(head.nextAllSync(samplers(), hidden));
    assert.deepEqual(ids(await head.nextAll(samplers(), hidden)), answer.next);
    const drafts = greedyDraft(hidden, draft, input);
    answer.verified = head.verifyDraftsSync(drafts)[0].ids;
    assert.deepEqual((await head.verifyDrafts(drafts))[0].ids, answer.verified);
    const { parents, ids: best } = await head.beam(hidden, scoresOf(n), { ...BEAM, ...input });
    assert.deepEqual(head.beamSync(hidden, scoresOf(n), { ...BEAM, ...input }).ids, best);
    answer.beam = [parents, best];
  });
  answers.push(answer);
}

const NONE = { logitScale: 1, softCap: 0, capOrder: 'scale-then-cap' };

// Dtypes, and sizes around every vector length and the kernels' blocks.
for (const dtype of ['f32', 'f16', 'bf16']) {
  for (const [V, d, n] of [
    [5, 1, 2],
    [263, 33, 5],
    [75, 100, 13],
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
      await askHead(`${dtype} × ${hiddenDtype}, V=${V} d=${d} n=${n}`, head, {
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
  await askHead(dtype, head, { hidden, wide, epilogue: NONE });
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
    await askHead(name, head, { hidden, wide: weight, epilogue });
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

await check('functions over given logits', () => {
  answers.push(drawsOfGivenLogits(lmhead));
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

writeFileSync(answersPath, serialize({ answers, ...checks.counts }));
checks.end();
