/**
 * Worker threads that call every method, again and again, and are terminated at a moment of no one's choosing. Arguments: how
 * many, and a seed. Prints JSON: how many were terminated, in how many methods, and how many had to be told nothing (they ended
 * before they were ready). The process has to live, and its head to give what it gave.
 */
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { LMHead } from '../../dist/index.mjs';
import { METHODS, SLOW_METHODS } from '../memory/methods.mjs';
import { random } from './random.mjs';

const CALLS = { ...METHODS, ...SLOW_METHODS, 'a head of its own': () => ownHead(64).close() };
const AT_ONCE = 4;
const numbers = length => Float32Array.from({ length }, (_, i) => Math.sin(i + 1));
const hiddenSize = 16;
const norm = { type: 'rmsnorm', weight: numbers(hiddenSize), eps: 1e-5 };

function ownHead(vocabSize) {
  return LMHead.from(numbers(vocabSize * hiddenSize), { vocabSize, hiddenSize, norm, backend: 'native' });
}

/** Calls, one after another or some at once, for ever. */
async function callForEver({ name, handle, vocabSize }) {
  const head = handle ? LMHead.attach(handle) : ownHead(vocabSize);
  const hidden = numbers(hiddenSize);
  const call = CALLS[name];
  parentPort.postMessage('ready');
  if (/Sync|embed|attach|Of$|From|oftmax|own|saved/.test(name)) for (;;) await call(head, hidden, {});
  const { signal } = new AbortController();
  const chain = async options => {
    for (;;) {
      await call(head, hidden, options);
      // Node 20 loses a termination that comes while it notes a rejection, but for the event loop.
      if (name.includes('fails')) await new Promise(setImmediate);
    }
  };
  await Promise.all(Array.from({ length: 10 }, (_, i) => chain(i % 2 ? { signal } : {})));
}

async function terminateSome(count, seed) {
  const { below } = random(seed);
  const names = Object.keys(CALLS);
  const heads = [50, 3001].map(ownHead);
  const answers = () => heads.map(head => head.logitsSync(numbers(hiddenSize)).join());
  const wanted = answers();
  let left = count;
  let early = 0;
  const used = new Set();
  const one = async () => {
    while (left > 0) {
      const name = names[(seed + --left) % names.length];
      used.add(name);
      const head = heads[below(heads.length)];
      const workerData = below(2) ? { name, handle: head.handle } : { name, vocabSize: head.vocabSize };
      const worker = new Worker(fileURLToPath(import.meta.url), { workerData });
      const failed = new Promise((_, reject) => worker.once('error', reject));
      const ready = new Promise(resolve => worker.once('message', () => resolve(true)));
      // Some while they begin.
      const begun = below(10) ? ready : new Promise(resolve => setTimeout(() => resolve(false), below(60)));
      if (!(await Promise.race([begun, failed]))) early++;
      // Mostly at once: a call takes microseconds, and a timer a millisecond.
      if (below(3)) await new Promise(resolve => setTimeout(resolve, below(8)));
      await Promise.race([worker.terminate(), failed]);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  if (answers().join() !== wanted.join()) throw new Error('the heads have changed');
  console.log(JSON.stringify({ terminated: count, methods: used.size, early }));
}

if (isMainThread) await terminateSome(Number(process.argv[2]), Number(process.argv[3]));
else await callForEver(workerData);
