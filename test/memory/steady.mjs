/**
 * Calls every method many times (a hundredth of that, where it is slow), and prints by how many bytes the process has grown: one line of JSON per method.
 * Arguments: calls per method, backend. Needs --expose-gc.
 */
import { LMHead } from '../../dist/index.mjs';
import { growth } from './growth.mjs';
import { METHODS, SLOW_METHODS } from './methods.mjs';

const [calls, backend] = [Number(process.argv[2]), process.argv[3]];
const [vocabSize, hiddenSize] = [200, 16];
const numbers = length => Float32Array.from({ length }, (_, i) => Math.sin(i + 1));
const norm = { type: 'rmsnorm', weight: numbers(hiddenSize), eps: 1e-5 };
const head = LMHead.from(numbers(vocabSize * hiddenSize), { vocabSize, hiddenSize, norm, backend });
const hidden = numbers(hiddenSize);
const { signal } = new AbortController();

/** Sequences of calls, some of them at once, some with a signal. */
async function repeat(call, times) {
  for (let i = 0; i < times; i += 10) {
    const pending = [];
    for (let j = 0; j < 10; j++) pending.push(call(head, hidden, j % 2 ? { signal } : {}));
    await Promise.all(pending);
  }
}

async function measure(methods, before, times) {
  // Until everything is compiled, and every heap about as large as it gets.
  for (const call of Object.values(methods)) await repeat(call, before);
  for (const [method, call] of Object.entries(methods)) {
    const { rss, external } = await growth(() => repeat(call, times));
    console.log(JSON.stringify({ kind: method, rss, external }));
  }
}
await measure(METHODS, 1000, calls);
await measure(SLOW_METHODS, 20, calls / 100);
