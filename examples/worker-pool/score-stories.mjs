/**
 * How well the model knows a hundred stories, computed by a pool of worker threads that share one copy of its head.
 *
 *     node examples/worker-pool/score-stories.mjs [workers] [stories]
 *
 * The main thread opens the head and hands its handle to each worker; whoever is free gets the next shard of stories.
 */
import { once } from 'node:events';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { LMHead } from '../../dist/index.mjs';
import { finalNorm, loadModel } from '../tiny-lm/model.mjs';
import { seededRandom } from '../tiny-lm/random.mjs';
import { tellStories } from '../tiny-lm/stories.mjs';

const ASSET = new URL('../../assets/tiny-lm.safetensors', import.meta.url);
const STORIES_PER_SHARD = 5;

/**
 * @param {object} options
 * @param {number} options.workers
 * @param {string[]} options.stories
 * @returns {Promise<{ tokens: number, perplexity: number, shards: number[] }>} shards: how many each worker has scored
 */
export async function scoreStories({ workers: count, stories }) {
  const model = loadModel(ASSET);
  const head = await LMHead.open(ASSET, { norm: finalNorm(model) });
  const workers = Array.from(
    { length: count },
    () =>
      new Worker(new URL('worker.mjs', import.meta.url), {
        workerData: { handle: head.handle, asset: ASSET.href },
      }),
  );
  await Promise.all(workers.map(worker => once(worker, 'message'))); // all have attached: ours may go
  head.close();

  const shards = [];
  for (let i = 0; i < stories.length; i += STORIES_PER_SHARD)
    shards.push(stories.slice(i, i + STORIES_PER_SHARD));
  let tokens = 0;
  let loss = 0;
  const scored = await Promise.all(
    workers.map(async worker => {
      let done = 0;
      for (let shard = shards.shift(); shard; shard = shards.shift()) {
        worker.postMessage(shard);
        const [sums] = await once(worker, 'message');
        tokens += sums.tokens;
        loss += sums.loss;
        done++;
      }
      return done;
    }),
  );
  await Promise.all(workers.map(worker => worker.terminate()));
  return { tokens, perplexity: Math.exp(loss / tokens), shards: scored };
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [workers, count] = [Number(process.argv[2] ?? 4), Number(process.argv[3] ?? 100)];
  const stories = tellStories(count, seededRandom(2026)).map(({ text }) => text);
  const { tokens, perplexity, shards } = await scoreStories({ workers, stories });
  console.log(`${tokens} tokens of ${count} stories: perplexity ${perplexity.toFixed(4)}`);
  console.log(`shards by worker: ${shards.join(', ')}`);
}
