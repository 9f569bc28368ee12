/**
 * What passes cost the event loop: how late a timer of 1 ms comes in the main thread while eight scores of 512 hidden states
 * run, and what a call that returns a promise takes more than one that does not.
 *
 *     node bench/event-loop.mjs
 */
import { capabilities, LMHead } from '../dist/index.mjs';
import { measureCallCost } from './call-cost.mjs';
import { randomHidden, randomWeights } from './random-head.mjs';
import { duration, median, table } from './timing.mjs';

const quantile = (numbers, q) => [...numbers].sort((a, b) => a - b)[Math.floor(q * (numbers.length - 1))];

/** Milliseconds that each firing of a 1 ms timer was late, until `work` has settled. */
async function lateness(work) {
  const late = [];
  let due = performance.now() + 1;
  let timer;
  const tick = () => {
    late.push(performance.now() - due);
    due = performance.now() + 1;
    timer = setTimeout(tick, 1);
  };
  timer = setTimeout(tick, 1);
  await work();
  clearTimeout(timer);
  return late;
}

async function timerPace() {
  const [V, d, n] = [50257, 768, 512];
  const head = LMHead.from(randomWeights(V, d), { vocabSize: V, hiddenSize: d, backend: 'native' });
  const hidden = randomHidden(n, d);
  const targets = new Uint32Array(n).fill(1000);
  const scores = () => Promise.all(Array.from({ length: 8 }, () => head.score(hidden, targets)));
  await scores();
  const idle = await lateness(() => new Promise(resolve => setTimeout(resolve, 2000)));
  const start = performance.now();
  const busy = await lateness(scores);
  const seconds = (performance.now() - start) / 1000;
  head.close();
  console.log(
    `\nHow late a timer of 1 ms fires; ${V} × ${d} f32, ${capabilities().threads} threads, 8 scores of ${n} in ${seconds.toFixed(2)} s.\n`,
  );
  table(
    ['', 'firings', 'median', 'p99', 'most'],
    Object.entries({ 'nothing runs': idle, 'eight scores run': busy }).map(([name, late]) => [
      name,
      String(late.length),
      ...[median(late), quantile(late, 0.99), Math.max(...late)].map(ms => duration(ms / 1000)),
    ]),
  );
}

async function callCost() {
  const { sync, promise } = await measureCallCost();
  const row = (name, list) => [name, duration(median(list)), duration(Math.min(...list))];
  console.log('\nOne argmax, 512 × 64, one call after another.\n');
  table(
    ['', 'median', 'best'],
    [
      row('at once', sync),
      row('by a promise', promise),
      [
        'a promise adds',
        duration(median(promise) - median(sync)),
        duration(Math.min(...promise) - Math.min(...sync)),
      ],
    ],
  );
}

await timerPace();
await callCost();
