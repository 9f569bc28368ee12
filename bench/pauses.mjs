/**
 * What a call over a small head costs after a pause, as a server calls it: the first, second and third call of a burst, beside calls
 * without a pause. `node bench/pauses.mjs [pause in ms …]`; also `npm run bench -- --pauses`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { LMHead } from '../dist/index.mjs';
import { randomHidden, randomWeights } from './random-head.mjs';
import { duration, median, table } from './timing.mjs';

const SHAPE = { vocabSize: 4096, hiddenSize: 2048 };
const BURST = 3;
const ROUNDS = 60;

export async function printPauses(pauses = [12, 50]) {
  const head = LMHead.from(randomWeights(SHAPE.vocabSize, SHAPE.hiddenSize), { ...SHAPE, backend: 'native' });
  const hidden = randomHidden(1, SHAPE.hiddenSize);
  const timed = () => {
    const start = process.hrtime.bigint();
    head.argmaxSync(hidden);
    return Number(process.hrtime.bigint() - start) / 1e9;
  };
  const steady = [];
  const bursts = pauses.map(() => Array.from({ length: BURST }, () => []));
  for (let i = 0; i < 200; i++) timed(); // compiled, and in the caches that it stays in
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, pause] of pauses.entries()) {
      await sleep(pause);
      for (const times of bursts[i]) times.push(timed());
    }
    for (let i = 0; i < 20; i++) timed();
    steady.push(timed());
  }
  head.close();
  console.log(
    `\nA head of ${SHAPE.vocabSize} × ${SHAPE.hiddenSize}, f32: \`argmaxSync\` of one state, medians.\n`,
  );
  const cells = times => `${duration(median(times))}, ${(median(times) / median(steady)).toFixed(2)} ×`;
  table(
    ['', 'first call', 'second', 'third'],
    [
      ['without a pause', duration(median(steady)), '', ''],
      ...pauses.map((pause, i) => [`after ${pause} ms`, ...bursts[i].map(cells)]),
    ],
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const pauses = process.argv.slice(2).map(Number);
  await printPauses(pauses.length > 0 ? pauses : undefined);
}
