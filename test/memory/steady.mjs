/**
 * Calls every method many times, and prints by how many bytes the process has grown: one line of JSON per method.
 * Arguments: calls per method, backend. Needs --expose-gc.
 */
import { LMHead } from '../../dist/index.mjs';
import { growth } from './growth.mjs';
import { METHODS } from './methods.mjs';

const [calls, backend] = [Number(process.argv[2]), process.argv[3]];
const [vocabSize, hiddenSize] = [200, 16];
const numbers = length => Float32Array.from({ length }, (_, i) => Math.sin(i + 1));
const head = LMHead.from(numbers(vocabSize * hiddenSize), { vocabSize, hiddenSize, backend });
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

// Until everything is compiled, and every heap about as large as it gets.
for (const call of Object.values(METHODS)) await repeat(call, 2000);
for (const [method, call] of Object.entries(METHODS)) {
  const { rss, external } = await growth(() => repeat(call, calls));
  console.log(JSON.stringify({ kind: method, rss, external }));
}
