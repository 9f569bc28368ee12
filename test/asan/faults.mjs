/**
 * In a build with LMHEAD_FAULTS: has every allocation of the addon's, and every call of Node-API, fail once, whatever is called.
 * The call gives what it gives without a fault, or an LMHeadError; a promise settles; and what comes after it is right.
 * The last line is `N passed, N failed`.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { Worker } from 'node:worker_threads';
import { LMHead, LMHeadError } from '../../dist/index.mjs';
import { METHODS, SLOW_METHODS } from '../memory/methods.mjs';

const require = createRequire(import.meta.url);
const { loadAddon } = require('../../dist/backend/addon.js');
const { armFault } = loadAddon();
const KINDS = { allocation: 0, 'call of Node-API': 1 };

// Calls draw seeds of their own: the same in every call, so that their results can be compared.
require('node:crypto').randomFillSync = view => view.fill(7);

const numbers = length => Float32Array.from({ length }, (_, i) => Math.sin(i + 1));
const [vocabSize, hiddenSize] = [600, 33];
const weight = numbers(vocabSize * hiddenSize);
const halves = new Uint16Array(vocabSize * hiddenSize).fill(0x3c00);
const shared = new Float32Array(new SharedArrayBuffer(weight.byteLength));
const norm = { type: 'layernorm', weight: numbers(hiddenSize), bias: numbers(hiddenSize), eps: 1e-5 };
const sizes = { vocabSize, hiddenSize, norm, backend: 'native', threads: 2 };
const file = fileURLToPath(new URL('../../assets/tiny-lm.safetensors', import.meta.url));
const hidden = numbers(hiddenSize);
const many = numbers(40 * hiddenSize);

const head = LMHead.from(weight, sizes);
const mask = new Uint32Array(Math.ceil(vocabSize / 32)).fill(0x55555555);

/** Calls of every kind; what they return is compared. */
const CALLS = {
  ...Object.fromEntries(
    Object.entries({ ...METHODS, ...SLOW_METHODS }).map(([name, call]) => [
      name,
      () => call(head, hidden, {}),
    ]),
  ),
  'from, copied': () => madeAndClosed(() => LMHead.from(weight, sizes)),
  'from, borrowed': () => madeAndClosed(() => LMHead.from(shared, { ...sizes, copy: false })),
  'from, screened': () =>
    madeAndClosed(() => {
      const head = LMHead.from(weight, { ...sizes, screen: true });
      head.argmaxSync(hidden);
      return head;
    }),
  'from, transposed': () => madeAndClosed(() => LMHead.from(weight, { ...sizes, layout: 'dv' })),
  'from, untied': () =>
    madeAndClosed(() => LMHead.from(weight, { ...sizes, inputEmbedding: weight, bias: numbers(vocabSize) })),
  'from, of halves': () => madeAndClosed(() => LMHead.from(halves, { ...sizes, dtype: 'bf16' })),
  'open, mapped': () => madeAndClosed(() => LMHead.openSync(file, { backend: 'native' })),
  'open, read': async () => {
    const opened = await LMHead.open(file, { backend: 'native', mmap: false });
    return madeAndClosed(() => opened);
  },
  'large hidden states': () => head.argmax(numbers(2000 * hiddenSize)),
  'many rows': () => head.sample(many, { minP: 0.01, topLogProbs: 3, seed: 1 }),
  'many rows, without log-probabilities': () =>
    head.sample(many, { temperature: 0.7, seed: 1, withLogProbs: false }),
  'the best, without log-probabilities': () => head.topK(many, 3, { withLogProbs: false }),
  'candidates of many rows': () => head.candidates(many, {}),
  'candidates of many rows, at once': () => head.candidatesSync(many, {}),
  'a draft and its log-probabilities': () =>
    head.verifyDraft(many.subarray(0, 3 * hiddenSize), [1, 2], {
      draftLogProbs: new Float32Array(2 * vocabSize).fill(-3),
      seed: 1,
    }),
  'several at once': async () => {
    const calls = Array.from({ length: 5 }, (_, i) => head.topK(many, 2 + i));
    const results = await Promise.allSettled(calls);
    for (const { reason } of results) if (reason) throw reason;
    return results.map(({ value }) => value.ids);
  },
  'an abort of those that wait': async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const settled = Promise.allSettled(Array.from({ length: 5 }, () => head.logProbs(many, { signal })));
    controller.abort();
    return (await settled).map(({ reason }) => reason instanceof LMHeadError);
  },
  'an end of those that wait': async () => {
    const closing = LMHead.attach(head.handle);
    try {
      const settled = Promise.allSettled(Array.from({ length: 5 }, () => closing.logProbs(many)));
      closing.close();
      for (const { reason } of await settled) if (reason && !(reason instanceof LMHeadError)) throw reason;
    } finally {
      closing.close();
    }
  },
  'a thread that loads the addon': async () => {
    const entry = fileURLToPath(new URL('../../dist/index.js', import.meta.url));
    const body = `
      const { LMHead, LMHeadError } = require(${JSON.stringify(entry)});
      const { workerData, parentPort } = require('node:worker_threads');
      (async () => {
        try {
          const head = LMHead.attach(workerData.handle);
          parentPort.postMessage((await head.argmax(workerData.hidden))[0]);
        } catch (error) {
          if (!(error instanceof LMHeadError)) throw error;
          parentPort.postMessage(error.code);
        }
      })();`;
    const worker = new Worker(body, { eval: true, workerData: { handle: head.handle, hidden } });
    return new Promise((resolve, reject) => {
      let answer;
      worker.on('message', message => {
        answer = message;
      });
      worker.on('error', reject);
      worker.on('exit', () =>
        typeof answer === 'string' ? reject(new LMHeadError('LOAD', answer)) : resolve(answer),
      );
    });
  },
};
/** Those that hide what has failed. */
const ANY_RESULT = ['a call that fails'];

function madeAndClosed(make) {
  const made = make();
  try {
    return made.argmaxSync(numbers(made.hiddenSize));
  } finally {
    made.close();
  }
}

let passed = 0;
let failed = 0;
function check(right, name, what) {
  if (right) return;
  console.error(`FAILED ${name}: ${what}`);
  failed++;
}

/** @returns {boolean} whether the fault was still to come */
function disarm(kind) {
  try {
    return armFault(kind, -1) >= 0;
  } catch {
    return true; // it has come to this very call
  }
}

/** @returns {Promise<{ value?: unknown, error?: unknown }>} */
async function outcome(call) {
  try {
    return { value: await call() };
  } catch (error) {
    return { error };
  }
}

const control = () => [
  head.argmaxSync(many),
  head.sampleSync(many, { topP: 0.9, seed: 7, allowedMask: mask }),
];
const wanted = control();

for (const [kindName, kind] of Object.entries(KINDS)) {
  for (const [name, call] of Object.entries(CALLS)) {
    const { value: right, error: unexpected } = await outcome(call);
    check(!unexpected, name, unexpected);
    let count = 0;
    let errors = 0;
    // Threads of several do not come to the same allocation each time; a few more faults than were counted make up for it.
    // Of a call that allocates for each row, a part of the later rows.
    for (let inVain = 0, each = 1; inVain < 3; count += each) {
      each = count < 300 ? 1 : 17;
      armFault(kind, count);
      const { value, error } = await outcome(call);
      const pending = disarm(kind);
      const where = `${name}, ${kindName} ${count}`;
      inVain = pending ? inVain + 1 : 0;
      if (error) {
        errors++;
        check(error instanceof LMHeadError, where, error);
        check(!pending, where, `${error} without a fault`);
      } else {
        check(ANY_RESULT.includes(name) || isDeepStrictEqual(value, right), where, 'another result');
      }
    }
    check(isDeepStrictEqual(control(), wanted), name, 'other results afterward');
    passed++;
    console.log(`ok ${name}: ${count} faults (${kindName}), ${errors} errors`);
  }
}
head.close();
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
