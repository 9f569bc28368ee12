/**
 * OpenAI's API over an ONNX decoder: /v1/completions, /v1/chat/completions and /v1/models, on plain node:http.
 *
 *     node examples/openai-server/server.mjs [--model folder] [--port 8080]
 *     curl localhost:8080/passes
 *     curl localhost:8080/v1/completions -d '{"prompt": "One summer there was a little rabbit", "max_tokens": 40}'
 *
 * Without a folder, the small model of this project is served. Texts of all clients share passes of the head; who hangs up has no more
 * computed for.
 */
import { randomUUID } from 'node:crypto';
import { once, setMaxListeners } from 'node:events';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { piecesOf } from './choice.mjs';
import { openModel } from './model.mjs';
import { BadRequest, messagesOf, promptsOf, readParameters } from './parameters.mjs';
import { Chat, Completion } from './shapes.mjs';

const MOST_BYTES = 8 * 2 ** 20;
/** Texts at a time; more clients are asked to come again. */
const MOST_TEXTS = 256;
/** Of a prompt, so many tokens say what a text that goes on from it looks like. */
const CONTEXT = 8;

/**
 * @param {number} port 0: any that is free
 * @param {string} [folder] of a model
 * @returns {Promise<{ url: string, name: string, close(): Promise<void> }>}
 */
export async function startServer(port, folder) {
  const model = await openModel(folder);
  const state = { model, texts: 0 };
  const server = createServer((request, response) => {
    answer(state, request, response).catch(error => fail(response, error));
  });
  await new Promise(resolve => server.listen(port, resolve));
  return {
    url: `http://localhost:${server.address().port}`,
    name: model.name,
    async close() {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
      await model.close();
    },
  };
}

async function answer(state, request, response) {
  const [pathname] = request.url.split('?');
  const { model } = state;
  const its = { id: model.name, object: 'model', owned_by: 'lmhead' };
  if (request.method === 'GET' && pathname === '/v1/models') {
    return json(response, 200, { object: 'list', data: [its] });
  }
  if (request.method === 'GET' && pathname === `/v1/models/${encodeURIComponent(model.name)}`) {
    return json(response, 200, its);
  }
  if (request.method === 'GET' && pathname === '/passes') {
    return json(response, 200, { ...model.decoder.sharing, texts: state.texts });
  }
  const isChat = pathname === '/v1/chat/completions';
  if (request.method !== 'POST' || !(isChat || pathname === '/v1/completions')) {
    return json(response, 404, errorOf('not_found_error', `there is no ${request.method} ${pathname}`));
  }
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  // Each of its texts waits for these.
  setMaxListeners(0, response, gone.signal);
  const body = await bodyOf(request);
  const parameters = readParameters(body, isChat);
  if (parameters.model !== undefined && parameters.model !== model.name) {
    const message = `the model ${JSON.stringify(parameters.model)} does not exist; want ${JSON.stringify(model.name)}`;
    return json(response, 404, errorOf('invalid_request_error', message, 'model', 'model_not_found'));
  }
  const prompts = isChat ? [model.encodeChat(messagesOf(body.messages))] : promptsOf(body.prompt, model);
  const wrong = prompts.find(({ length }) => length === 0 || length >= model.positions);
  if (wrong) {
    throw new BadRequest(
      isChat ? 'messages' : 'prompt',
      `${wrong.length} tokens; want 1 to ${model.positions - 1}`,
    );
  }
  const count = prompts.length * parameters.choices;
  if (state.texts + count > MOST_TEXTS) {
    response.setHeader('retry-after', '1');
    return json(
      response,
      429,
      errorOf('rate_limit_error', `${state.texts} texts are being written; want fewer`),
    );
  }
  state.texts += count;
  try {
    const Shape = isChat ? Chat : Completion;
    const shape = new Shape(model, parameters, `${isChat ? 'chatcmpl' : 'cmpl'}-${randomUUID()}`);
    await write(model, prompts, parameters, isChat, shape, response, gone.signal);
  } finally {
    state.texts -= count;
  }
}

async function write(model, prompts, parameters, isChat, shape, response, signal) {
  const { choices, stream, includeUsage } = parameters;
  const send = async data => {
    if (!response.headersSent)
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    // A client that reads slowly is waited for, and its texts with it.
    if (!response.write(`data: ${data}\n\n`)) await once(response, 'drain', { signal });
  };
  // All choices of a prompt go on from one state.
  const texts = prompts.flatMap((ids, prompt) => {
    const state = model.decoder.prefill(ids, { signal });
    state.catch(() => undefined); // told of by whoever waits for it
    return Array.from({ length: choices }, (_, i) => ({
      ids,
      state,
      index: prompt * choices + i,
      stream: i,
    }));
  });
  const usage = { prompt: prompts.reduce((sum, ids) => sum + ids.length, 0), completion: 0 };
  await allOf(
    texts.map(async ({ ids, state, index, stream: own }) => {
      const grammar = parameters.grammar && (await model.grammar(parameters.grammar.schema));
      try {
        const options = {
          ...parameters.options,
          stream: own,
          signal,
          maxTokens: Math.min(parameters.maxTokens, model.positions - ids.length),
          nextOptions: grammar?.nextOptions,
        };
        const before = isChat ? [] : ids.slice(-CONTEXT);
        const tell = async piece => {
          shape.add(index, piece);
          if (stream) await send(JSON.stringify(shape.chunk(index, piece)));
        };
        for await (const piece of piecesOf(model, await state, before, options, parameters.stop)) {
          usage.completion++;
          await tell(piece);
        }
        if (options.maxTokens === 0) await tell({ text: '', finish: 'length' });
      } finally {
        grammar?.dispose();
      }
    }),
  );
  if (!stream) return json(response, 200, shape.whole(usage));
  if (includeUsage) await send(JSON.stringify(shape.usageChunk(usage)));
  await send('[DONE]');
  response.end();
}

/** Waits for all of them, also where one fails: nothing goes on behind an answer. */
async function allOf(promises) {
  const results = await Promise.allSettled(promises);
  const failed = results.find(({ status }) => status === 'rejected');
  if (failed) throw failed.reason;
}

async function bodyOf(request) {
  const chunks = [];
  let length = 0;
  // Where it is too long, the rest is not waited for, and yet the client is told.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    length += chunk.length;
    if (length > MOST_BYTES) throw new BadRequest('body', `want ${MOST_BYTES} bytes at most`, 413);
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString());
  } catch {
    throw new BadRequest('body', 'want JSON');
  }
}

const errorOf = (type, message, param = null, code = null) => ({ error: { message, type, param, code } });

function fail(response, error) {
  if (response.destroyed) return; // nobody is there to be told
  const isClients =
    error instanceof BadRequest || /^ERR_LMHEAD_(ARGUMENT|RANGE|SHAPE|DTYPE)$/.test(error.code);
  if (!isClients) console.error(error);
  const told = isClients
    ? errorOf('invalid_request_error', error.message, error.parameter)
    : errorOf('server_error', 'the server failed');
  const status = isClients ? (error.status ?? 400) : 500;
  if (status === 413) response.setHeader('connection', 'close');
  if (!response.headersSent) return json(response, status, told);
  response.end(`data: ${JSON.stringify(told)}\n\n`);
}

function json(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({
    options: { model: { type: 'string' }, port: { type: 'string', default: '8080' } },
  });
  const { url, name } = await startServer(Number(values.port), values.model);
  console.log(`${url}/v1 serves ${name}`);
}
