/** One worker of the pool: has the model's layers to itself, and its head in common with all others. */
import { parentPort, workerData } from 'node:worker_threads';
import { LMHead } from '../../dist/index.mjs';
import { loadModel } from '../tiny-lm/model.mjs';
import { Reader } from '../tiny-lm/reader.mjs';

const model = loadModel(new URL(workerData.asset));
const head = LMHead.attach(workerData.handle);
const d = head.hiddenSize;

/** The negative log-likelihood of a story's tokens, each after those before it. */
async function score(story) {
  const ids = model.tokenizer.encodeStory(story);
  const reader = new Reader(model, head);
  const hidden = new Float32Array((ids.length - 1) * d);
  for (let i = 0; i + 1 < ids.length; i++) hidden.set(reader.read(ids[i]), i * d);
  const { nll, count } = await head.score(hidden, ids.subarray(1), { norm: true });
  return { tokens: count, loss: nll * count };
}

parentPort.on('message', async shard => {
  const scores = await Promise.all(shard.map(score));
  parentPort.postMessage({
    tokens: scores.reduce((sum, { tokens }) => sum + tokens, 0),
    loss: scores.reduce((sum, { loss }) => sum + loss, 0),
  });
});
parentPort.postMessage('attached');
