/**
 * What calls hold that are aborted while they wait behind a long pass: prints, in JSON, by how many bytes the process has grown
 * when they have all rejected and the pass still runs, and what copies of all their hidden states would have taken.
 * Arguments: how many, backend. Needs --expose-gc.
 */
import { LMHead } from '../../dist/index.mjs';
import { settled } from './growth.mjs';

const [calls, backend] = [Number(process.argv[2]), process.argv[3]];
const [vocabSize, hiddenSize, n] = backend === 'native' ? [50_000, 64, 512] : [500, 64, 512];
const head = LMHead.from(new Float32Array(vocabSize * hiddenSize), { vocabSize, hiddenSize, backend });
const hidden = new Float32Array(n * hiddenSize);

const ending = new AbortController();
const long = Array.from({ length: 200 }, () =>
  head.score(new Float32Array(1024 * hiddenSize), new Uint32Array(1024), { signal: ending.signal }),
);
const ended = Promise.allSettled(long);

/** One at a time, and many by one signal. */
async function abortSome(count, together) {
  for (let done = 0; done < count; done += together) {
    const controller = new AbortController();
    const pending = Array.from({ length: together }, () =>
      head.topK(hidden, 5, { signal: controller.signal }),
    );
    controller.abort();
    await Promise.allSettled(pending);
  }
}

await abortSome(100, 10);
const before = await settled();
await abortSome(calls / 2, 1);
await abortSome(calls / 2, 20);
const { rss } = await settled();
const waiting = await Promise.race([
  ended.then(() => false),
  new Promise(resolve => setImmediate(resolve, true)),
]);
ending.abort();
await ended;
console.log(JSON.stringify({ waiting, grown: rss - before.rss, copies: calls * hidden.byteLength }));
