/** A worker: one mapped head with all of its threads, and shards for as long as there are any. */
import { rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as wait } from 'node:timers/promises';
import { Worker } from 'bullmq';
import { capabilities, LMHead } from '../../dist/index.mjs';
import { readPlan, resultFile, setAsideFile, writeWhole } from './files.mjs';
import { complain, countsOf, openQueue, TRIES } from './queue.mjs';
import { scoreShard } from './score.mjs';

/** Milliseconds between two looks at whether anybody has something left. */
const IDLE = 2000;

/**
 * @param {object} options
 * @param {number} [options.concurrency] shards at a time: one is read while another is scored
 * @param {number} [options.lock] a worker that is silent for so many seconds is dead, and its shards are others'
 * @param {boolean} [options.stay] wait for more when all is done
 */
export async function work({ out, redis, queue: name, threads, concurrency = 2, lock = 30, stay = false }) {
  const plan = await readPlan(out);
  const { isa, version } = capabilities();
  if (isa !== plan.isa || version !== plan.version) {
    throw new Error(
      `LMHEAD_ISA: got ${isa} of lmhead ${version}; want ${plan.isa} of ${plan.version}, which the plan was made with`,
    );
  }
  const head = await LMHead.open(plan.model, { threads });
  const queue = openQueue({ redis, queue: name });
  const worker = new Worker(name, job => scored(head, out, job), {
    connection: { url: redis },
    name: `${hostname()}:${process.pid}`,
    concurrency,
    lockDuration: lock * 1000,
    stalledInterval: lock * 1000,
    // A shard that takes its worker down with it gets as many tries as one that fails.
    maxStalledCount: TRIES - 1,
  });
  worker.on('error', complain);
  let settled = Promise.resolve();
  worker.on('failed', (job, { message, name }) => {
    if (job === undefined) return;
    console.error(`${job.data.name}: ${message} (try ${job.attemptsMade} of ${TRIES})`);
    // The queue's own word, of a shard whose workers have all died.
    if (name === 'UnrecoverableError') settled = settled.then(() => setAside(out, job.data.name, message));
  });
  let done = 0;
  worker.on('completed', () => done++);

  const end = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => end.abort());
  // What is left may be in the hands of others: should they die, somebody has to be there.
  while (!end.signal.aborted) {
    await wait(IDLE, undefined, { signal: end.signal }).catch(() => undefined);
    if (stay || end.signal.aborted) continue;
    const counts = await countsOf(queue).catch(complain);
    if (counts?.left === 0) break;
  }
  await worker.close(); // when the shards in hand are scored
  await settled;
  await queue.close();
  head.close();
  console.log(`${done} shards`);
}

/** A shard that is done twice is the same file. */
async function scored(head, out, job) {
  const { name } = job.data;
  try {
    const result = await scoreShard(head, job.data);
    await writeWhole(resultFile(out, name), `${JSON.stringify(result)}\n`);
    await rm(setAsideFile(out, name), { force: true });
  } catch (error) {
    if (job.attemptsMade + 1 >= TRIES) await setAside(out, name, error.message);
    throw error;
  }
}

function setAside(out, name, error) {
  return writeWhole(setAsideFile(out, name), `${JSON.stringify({ name, error })}\n`);
}
