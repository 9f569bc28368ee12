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
 * @param {number} port 0: any that is free
 * @returns {Promise<{ url: string, close(): Promise<void> }>}
 */
export async function startServer(port) {
  const model = loadModel(ASSET);
  const head = await LMHead.open(ASSET, { norm: finalNorm(model) });
  const passes = new PassStatistics();

  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://localhost');
    if (pathname === '/story') tellStory(model, head, searchParams, response);
    else if (pathname === '/passes') json(response, 200, passes.summary());
    else json(response, 404, { error: 'try /story?prompt=Once%20upon%20a%20time or /passes' });
  });
  await new Promise(resolve => server.listen(port, resolve));
  return {
    url: `http://localhost:${server.address().port}`,
    async close() {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
      await head[Symbol.asyncDispose]();
      passes.close();
    },
  };
}

async function tellStory({ config, tensors, tokenizer }, head, parameters, response) {
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  try {
    const temperature = Number(parameters.get('temperature') ?? 0.8);
    const seed = parameters.has('seed') ? Number(parameters.get('seed')) : undefined;
    const prompt = tokenizer.encode(parameters.get('prompt') ?? '');
    const reader = new Reader({ config, tensors }, head);
    let hidden = reader.read(END);
    for (const id of prompt) hidden = reader.read(id);

    for (let step = 0; !reader.full; step++) {
      const { ids, logProbs } = await head.sample(hidden, {
        norm: true,
        temperature,
        seed,
        step,
        signal: gone.signal,
      });
      if (step === 0)
        response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      if (ids[0] === END) break;
      const token = { id: ids[0], text: tokenizer.vocabulary[ids[0]], logProb: logProbs[0] };
      response.write(`data: ${JSON.stringify(token)}\n\n`);
      hidden = reader.read(ids[0]);
    }
    response.end('event: end\ndata: {}\n\n');
  } catch (error) {
    // Nobody is there to be told of ABORTED; wrong parameters are the client's to know.
    if (!gone.signal.aborted) json(response, 400, { error: error.message });
  }
}

/** How many passes there were, of which method, and their mean times. */
class PassStatistics {
  #methods = new Map();
  #onPass = ({ method, queueTime, passTime, error }) => {
    const sums = this.#methods.get(method) ?? { passes: 0, failed: 0, queueTime: 0, passTime: 0 };
    sums.passes++;
    if (error) sums.failed++;
    sums.queueTime += queueTime;
    sums.passTime += passTime;
    this.#methods.set(method, sums);
  };

  constructor() {
    subscribe('lmhead:pass', this.#onPass);
  }

  /** Milliseconds. */
  summary() {
    return Object.fromEntries(
      [...this.#methods].map(([method, { passes, failed, queueTime, passTime }]) => [
        method,
        { passes, failed, meanQueueTime: queueTime / passes, meanPassTime: passTime / passes },
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
