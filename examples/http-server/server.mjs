/**
 * A server of stories, on plain node:http: the small model's tokens as server-sent events, one by one as they are drawn.
 *
 *     node examples/http-server/server.mjs [port]
 *     curl -N 'localhost:8080/story?prompt=Once%20upon%20a%20time&temperature=0.8&seed=7'
 *     curl localhost:8080/passes
 *
 * All requests share one head. Who hangs up has no more computed for: the request's AbortSignal goes with every call.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';
import { LMHead } from '../../dist/index.mjs';
import { finalNorm, loadModel } from '../tiny-lm/model.mjs';
import { Reader } from '../tiny-lm/reader.mjs';
import { END } from '../tiny-lm/tokenizer.mjs';

const ASSET = new URL('../../assets/tiny-lm.safetensors', import.meta.url);

/**
 * What texts are made by: the small model here; `npm run bench -- --server` has another.
 *
 * @typedef {object} Model
 * @property {(text: string) => number[]} encode
 * @property {(id: number) => string} decode
 * @property {number} end the id that ends a text
 * @property {() => Text} begin
 * @property {() => Promise<void>} close
 *
 * @typedef {object} Text
 * @property {boolean} full is there no position left?
 * @property {(id: number) => void} read the text's next token
 * @property {(options: import('../../dist/index.mjs').SampleOptions & { signal: AbortSignal }) => Promise<{ id: number, logProb: number }>} draw
 */

/** @returns {Promise<Model>} */
async function smallModel() {
  const model = loadModel(ASSET);
  const { tokenizer } = model;
  const head = await LMHead.open(ASSET, { norm: finalNorm(model) });
  return {
    encode: text => tokenizer.encode(text),
    decode: id => tokenizer.vocabulary[id],
    end: END,
    begin() {
      const reader = new Reader(model, head);
      let hidden;
      return {
        get full() {
          return reader.full;
        },
        read(id) {
          hidden = reader.read(id);
        },
        async draw(options) {
          const { ids, logProbs } = await head.sample(hidden, { norm: true, ...options });
          return { id: ids[0], logProb: logProbs[0] };
        },
      };
    },
    close: () => head[Symbol.asyncDispose](),
  };
}

/**
 * @param {number} port 0: any that is free
 * @param {Model} [given]
 * @returns {Promise<{ url: string, close(): Promise<void> }>}
 */
export async function startServer(port, given) {
  const model = given ?? (await smallModel());
  const passes = new PassStatistics();

  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://localhost');
    if (pathname === '/story') tellStory(model, searchParams, response);
    else if (pathname === '/passes') json(response, 200, passes.summary());
    else json(response, 404, { error: 'try /story?prompt=Once%20upon%20a%20time or /passes' });
  });
  await new Promise(resolve => server.listen(port, resolve));
  return {
    url: `http://localhost:${server.address().port}`,
    async close() {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
      await model.close();
      passes.close();
    },
  };
}

async function tellStory(model, parameters, response) {
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  const { signal } = gone;
  try {
    const temperature = Number(parameters.get('temperature') ?? 0.8);
    const seed = parameters.has('seed') ? Number(parameters.get('seed')) : undefined;
    const prompt = model.encode(parameters.get('prompt') ?? '');
    const text = model.begin();
    for (const id of [model.end, ...prompt]) text.read(id);

    for (let step = 0; !text.full; step++) {
      const { id, logProb } = await text.draw({ temperature, seed, step, signal });
      if (step === 0)
        response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      if (id === model.end) break;
      response.write(`data: ${JSON.stringify({ id, text: model.decode(id), logProb })}\n\n`);
      text.read(id);
    }
    response.end('event: end\ndata: {}\n\n');
  } catch (error) {
    // Nobody is there to be told of ABORTED; wrong parameters are the client's to know.
    if (!signal.aborted) json(response, 400, { error: error.message });
  }
}

/** How many calls there were of which method, their mean times, and how many of them shared a pass. */
class PassStatistics {
  #methods = new Map();
  #onPass = ({ method, queueTime, passTime, calls, error }) => {
    const sums = this.#methods.get(method) ?? { calls: 0, failed: 0, queueTime: 0, passTime: 0, passes: 0 };
    sums.calls++;
    if (error) sums.failed++;
    sums.queueTime += queueTime;
    sums.passTime += passTime;
    if (calls) sums.passes += 1 / calls; // a pass that served n calls is told of n times; one that was cancelled before, of none
    this.#methods.set(method, sums);
  };

  constructor() {
    subscribe('lmhead:pass', this.#onPass);
  }

  /** Milliseconds. */
  summary() {
    return Object.fromEntries(
      [...this.#methods].map(([method, { calls, failed, queueTime, passTime, passes }]) => [
        method,
        {
          calls,
          failed,
          meanQueueTime: queueTime / calls,
          meanPassTime: passTime / calls,
          callsPerPass: calls / passes,
        },
      ]),
    );
  }

  close() {
    unsubscribe('lmhead:pass', this.#onPass);
  }
}

function json(response, status, value) {
  if (!response.headersSent) response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { url } = await startServer(Number(process.argv[2] ?? 8080));
  console.log(`${url}/story?prompt=Once%20upon%20a%20time`);
}
