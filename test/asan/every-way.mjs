/**
 * For AddressSanitizer, which ends the process with a report: every method, on every kind of weights; errors; heads closed while
 * busy; worker threads that share, end and are terminated in the middle of passes. The last line is `N passed, N failed`.
 */
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { LMHead } from '../../dist/index.mjs';
import { METHODS, SLOW_METHODS } from '../memory/methods.mjs';

const numbers = length => Float32Array.from({ length }, (_, i) => Math.sin(i + 1));
const [vocabSize, hiddenSize] = [1031, 33];
const weight = numbers(vocabSize * hiddenSize);
const halves = new Uint16Array(vocabSize * hiddenSize).fill(0x3c00);
const shared = new Float32Array(new SharedArrayBuffer(weight.byteLength));
const norm = { type: 'layernorm', weight: numbers(hiddenSize), bias: numbers(hiddenSize), eps: 1e-5 };
const sizes = { vocabSize, hiddenSize, norm, backend: 'native', threads: 3 };
const file = fileURLToPath(new URL('../../assets/tiny-lm.safetensors', import.meta.url));

const ofFile = { norm: { type: 'rmsnorm', weight: numbers(64), eps: 1e-5 }, backend: 'native' };

const HEADS = {
  f32: () => LMHead.from(weight, sizes),
  f16: () => LMHead.from(halves, { ...sizes, dtype: 'f16' }),
  bf16: () => LMHead.from(halves, { ...sizes, dtype: 'bf16' }),
  borrowed: () => LMHead.from(shared, { ...sizes, copy: false }),
  transposed: () => LMHead.from(weight, { ...sizes, layout: 'dv' }),
  untied: () => LMHead.from(weight, { ...sizes, inputEmbedding: halves, dtype: 'f16' }),
  dressed: () =>
    LMHead.from(weight, { ...sizes, bias: numbers(vocabSize), softCap: 5, validVocabSize: 1000 }),
  quantized: async () => (await LMHead.from(weight, sizes).quantize('i8')).head,
  screened: () => LMHead.from(weight, { ...sizes, screen: true, threads: 3 }),
  mapped: () => LMHead.openSync(file, { ...ofFile, threads: 3 }),
  read: () => LMHead.open(file, { ...ofFile, mmap: false }),
};

/** Many calls, of which one runs and the others wait. */
function makeBusy(head) {
  const hidden = numbers(200 * head.hiddenSize);
  const calls = [];
  for (let i = 0; i < 10; i++) calls.push(head.logProbs(hidden), head.score(hidden, new Uint32Array(200)));
  return Promise.allSettled(calls);
}

async function everyMethod(open) {
  const head = await open();
  const attached = LMHead.attach(structuredClone(head.handle));
  for (const one of [head, attached])
    for (const [name, call] of Object.entries({ ...METHODS, ...SLOW_METHODS })) {
      // Guidance is of logits that are linear in the hidden state.
      if (name.startsWith('guidance') && open === HEADS.dressed) continue;
      await call(one, numbers(head.hiddenSize), {});
    }
  head.close();
  attached.close();
}

async function closedWhileBusy() {
  for (let i = 0; i < 5; i++) {
    const head = HEADS.borrowed();
    const attached = LMHead.attach(head.handle);
    const calls = [makeBusy(head), makeBusy(attached)];
    await new Promise(resolve => setTimeout(resolve, i));
    head.close();
    attached.close();
    await Promise.all(calls);
  }
}

async function terminatedWorkers() {
  const head = HEADS.f32();
  for (let i = 0; i < 6; i++) {
    const worker = new Worker(new URL(import.meta.url), { workerData: head.handle });
    await once(worker, 'message');
    const own = makeBusy(head);
    await new Promise(resolve => setTimeout(resolve, 3 * i));
    await worker.terminate();
    await own;
  }
  head.close();
}

if (isMainThread) {
  let passed = 0;
  for (const [name, open] of Object.entries(HEADS)) {
    await everyMethod(open);
    console.log(`ok every method, ${name}`);
    passed++;
  }
  for (const test of [closedWhileBusy, terminatedWorkers]) {
    await test();
    console.log(`ok ${test.name}`);
    passed++;
  }
  void makeBusy(HEADS.f32()); // and the process ends
  setTimeout(() => {
    console.log(`${passed} passed, 0 failed`);
    process.exit(0);
  }, 20);
} else {
  void makeBusy(LMHead.attach(workerData));
  parentPort.postMessage('busy');
}
