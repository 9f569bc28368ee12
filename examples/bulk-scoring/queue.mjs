/** The queue: what is still to do, and who is at it. What is done is no longer in it. */
import { Queue } from 'bullmq';

export const TRIES = 3;

export function openQueue({ redis, queue }) {
  const opened = new Queue(queue, { connection: { url: redis } });
  opened.on('error', complain);
  return opened;
}

/** A queue's job of a shard; one that is there already is not added again. */
export const jobOf = shard => ({
  name: 'score',
  data: { name: shard.name, hidden: shard.hidden, targets: shard.targets, lengths: shard.lengths },
  opts: {
    jobId: `shard-${encodeURIComponent(shard.name)}`,
    attempts: TRIES,
    backoff: { type: 'fixed', delay: 1000 },
    removeOnComplete: true,
  },
});

/** How many jobs are in which state. */
export async function countsOf(queue) {
  const { waiting, active, delayed, failed } = await queue.getJobCounts(
    'waiting',
    'active',
    'delayed',
    'failed',
  );
  return { left: waiting + active + delayed, active, failed };
}

let last;

/** A Redis that cannot be reached says so all the time: once is enough. */
export function complain(error) {
  if (error.message === last) return;
  last = error.message;
  console.error(`redis: ${error.message || error.code}`);
}
