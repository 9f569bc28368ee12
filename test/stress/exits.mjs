/**
 * A process that ends while jobs run and wait. Arguments: the way in which it ends, and a seed that says which jobs, how many and
 * when. `result` is what the process has to end with.
 */
import { fileURLToPath } from 'node:url';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { LMHead } from '../../dist/index.mjs';
import { METHODS, SLOW_METHODS } from '../memory/methods.mjs';
import { random } from './random.mjs';

const CALLS = { ...METHODS, ...SLOW_METHODS };
const hiddenSize = 32;
const numbers = length => Float32Array.from({ length }, (_, i) => Math.sin(i + 1));
const norm = { type: 'rmsnorm', weight: numbers(hiddenSize), eps: 1e-5 };
const [way, seed] = isMainThread ? [process.argv[2], Number(process.argv[3])] : workerData;

const { below } = random(seed);

const many = numbers(100 * hiddenSize);
const heads = [40, 5003].map(vocabSize =>
  LMHead.from(numbers(vocabSize * hiddenSize), { vocabSize, hiddenSize, norm, backend: 'native' }),
);
const { signal } = new AbortController();
const names = Object.keys(CALLS);
let pending = 0;

function start() {
  const head = heads[below(heads.length)];
  const call =
    below(3) > 0
      ? CALLS[names[below(names.length)]](head, numbers(hiddenSize), below(2) ? { signal } : {})
      : head.logProbs(many);
  pending++;
  return Promise.resolve(call).then(() => {
    pending--;
  });
}

function jobs() {
  return Array.from({ length: 1 + below(40) }, start);
}

const WAYS = {
  exit: () => process.exit(7),
  exitCode: () => {
    process.exitCode = 5;
  },
  throw: () => {
    throw new Error('on purpose');
  },
  reject: () => {
    Promise.reject(new Error('on purpose'));
  },
  close: () => {
    for (const head of heads) head.close();
    process.exit(7);
  },
  kill: () => process.kill(process.pid, 'SIGTERM'),
  none: () => {},
};

if (way === 'end') {
  // Nothing else keeps the process: all of the jobs have to end first.
  void Promise.all(jobs()).then(() => console.log(`pending ${pending}`));
} else if (way === 'workers') {
  for (const worker of ['none', 'exit', 'throw', 'reject']) {
    new Worker(fileURLToPath(import.meta.url), { workerData: [worker, seed] }).on('error', () => {});
  }
  void Promise.allSettled(jobs());
  setTimeout(WAYS.exit, 40 + below(80));
} else if (way.startsWith('first ')) {
  // When the first of the jobs has ended: from within its completion.
  void Promise.race(jobs()).then(() => process.nextTick(WAYS[way.slice(6)]));
} else {
  for (const job of jobs()) job.catch(() => {}); // closed ones reject
  if (below(3) === 0) WAYS[way]();
  else setTimeout(WAYS[way], below(30));
}
