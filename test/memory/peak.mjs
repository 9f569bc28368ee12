/**
 * The most memory that this process held at any time since the weights and arguments were there (Linux): a line of JSON after
 * each of several large calls.
 * Arguments: positions, vocabulary; and of a head whose logits are all equal, so that filters keep them all, its threads.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { LMHead } from '../../dist/index.mjs';

const [n, vocabSize, threads] = process.argv.slice(2).map(Number);
const hiddenSize = 8;
const numbers = length => Float32Array.from({ length }, (_, i) => Math.sin(i + 1));
const weights = threads ? new Float32Array(vocabSize * hiddenSize) : numbers(vocabSize * hiddenSize);
const head = LMHead.from(weights, { vocabSize, hiddenSize, backend: 'native', threads });
const hidden = numbers(n * hiddenSize);
const targets = Uint32Array.from({ length: n }, (_, i) => i);

const CALLS = {
  score: () => head.score(hidden, targets, { entropy: true }),
  topK: () => head.topK(hidden, 50),
  sample: () => head.sample(hidden, { seed: 1 }),
  'sample, min-p': () => head.sample(hidden, { seed: 1, minP: 0.05 }),
  'sample, top-p': () => head.sample(hidden, { seed: 1, topP: 0.9 }),
};

/** Bytes: the most that were ever resident. */
const peak = () => 1024 * Number(/VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);

// All threads are started, and have what they keep.
head.argmaxSync(hidden.subarray(0, threads ? n * hiddenSize : hiddenSize));
gc();
writeFileSync('/proc/self/clear_refs', '5'); // the peak is what is resident now
const before = peak();
for (const [name, call] of Object.entries(CALLS)) {
  await call();
  console.log(JSON.stringify({ name, held: peak() - before }));
}
