/**
 * What a call over a small head costs after a pause, as a server calls it: the first, second and third call of a burst, beside calls
 * without a pause. With one thread nobody is woken: its calls show what caches and clocks alone cost on this machine.
 * `node bench/pauses.mjs [pause in ms …]`; also `npm run bench -- --pauses`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { capabilities, LMHead } from '../dist/index.mjs';
import { randomHidden, randomWeights } from './random-head.mjs';
import { duration, median, table } from './timing.mjs';

const SHAPE = { vocabSize: 4096, hiddenSize: 2048 };
const BURST = 3;
const ROUNDS = 60;

/** Seconds of calls of a head without a pause, and of each call of the bursts after each pause. */
class Calls {
  steady = [];
  constructor(head, pauses) {
    this.head = head;
    this.hidden = randomHidden(1, head.hiddenSize);
    this.bursts = pauses.map(() => Array.from({ length: BURST }, () => []));
    for (let i = 0; i < 200; i++) this.time(); // compiled, and in the caches that it stays in
  }
  time() {
    const start = process.hrtime.bigint();
    this.head.argmaxSync(this.hidden);
    return Number(process.hrtime.bigint() - start) / 1e9;
  }
  burst(i) {
    for (const times of this.bursts[i]) times.push(this.time());
  }
  steadily() {
    for (let i = 0; i < 20; i++) this.time();
    this.steady.push(this.time());
  }
  cells(i) {
    const steady = median(this.steady);
    return this.bursts[i].map(
      times => `${duration(median(times))}, ${(median(times) / steady).toFixed(2)} ×`,
    );
  }
}

export async function printPauses(pauses = [12, 50]) {
  const weights = randomWeights(SHAPE.vocabSize, SHAPE.hiddenSize);
  const heads = [...new Set([capabilities().threads, 1])].map(threads =>
    LMHead.from(weights, { ...SHAPE, threads, backend: 'native' }),
  );
  const all = heads.map(head => new Calls(head, pauses));
  for (let round = 0; round < ROUNDS; round++) {
    for (const calls of all) {
      calls.steadily();
      for (const [i, pause] of pauses.entries()) {
        await sleep(pause);
        calls.burst(i);
      }
    }
  }
  console.log(
    `\nA head of ${SHAPE.vocabSize} × ${SHAPE.hiddenSize}, f32: \`argmaxSync\` of one state, medians.\n`,
  );
  table(
    ['threads', '', 'first call', 'second', 'third'],
    all.flatMap(calls => [
      [String(calls.head.threads), 'without a pause', duration(median(calls.steady)), '', ''],
      ...pauses.map((pause, i) => ['', `after ${pause} ms`, ...calls.cells(i)]),
    ]),
  );
  for (const head of heads) head.close();
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const pauses = process.argv.slice(2).map(Number);
  await printPauses(pauses.length > 0 ? pauses : undefined);
}
