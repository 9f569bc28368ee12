/** How far it is: a line every few seconds. */
import { setTimeout as wait } from 'node:timers/promises';
import { namesIn, readPlan } from './files.mjs';
import { complain, countsOf, openQueue } from './queue.mjs';

/** The rate is that of so many of the latest lines. */
const WINDOW = 30;

/** @param {{ out: string, redis: string, queue: string, every?: number, once?: boolean }} options */
export async function watch({ out, redis, queue: name, every = 5, once = false }) {
  const { shards } = await readPlan(out);
  const queue = openQueue({ redis, queue: name });
  const seen = [];
  try {
    for (;;) {
      const counts = await countsOf(queue).catch(complain);
      if (counts) {
        // The files know what is done; the queue, what somebody is still to do.
        const done = (await namesIn(out, 'results')).size;
        const aside = (await namesIn(out, 'set-aside')).size;
        seen.push({ time: performance.now(), done });
        if (seen.length > WINDOW) seen.shift();
        console.log(lineOf({ shards, done, aside, ...counts }, seen));
        if (once || done + aside >= shards) return;
        if (counts.left === 0)
          return console.log('nothing is in the queue: `bulk-scoring plan` puts the rest there');
      }
      await wait(every * 1000);
    }
  } finally {
    await queue.close();
  }
}

function lineOf({ shards, done, aside, active }, seen) {
  const [first] = seen;
  const now = seen.at(-1);
  const rate = now.time > first.time ? ((now.done - first.done) / (now.time - first.time)) * 1000 : 0;
  const share = ((100 * (done + aside)) / shards).toFixed(1);
  const parts = [`${done} of ${shards} shards (${share} %)`, `${active} in work`, `${aside} set aside`];
  if (rate > 0) parts.push(`${rate.toFixed(1)} a second`, `${duration((shards - done - aside) / rate)} left`);
  return parts.join(', ');
}

function duration(seconds) {
  if (seconds < 120) return `${Math.ceil(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
