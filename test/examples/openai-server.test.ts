/** examples/openai-server by OpenAI's own client. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type TinyModel, tinyDecoder } from '../support/onnx-decoders';
import { describeOnnxruntime } from '../support/onnxruntime';

describeOnnxruntime('examples/openai-server', () => {
  let server: ChildProcess;
  let said = '';
  let url: string;
  let client: OpenAI;
  let tokenizer: TinyModel['tokenizer'];
  beforeAll(async () => {
    ({ tokenizer } = (await tinyDecoder()).model);
    const file = join(__dirname, '../../examples/openai-server/server.mjs');
    server = spawn(process.execPath, [file, '--port', '0'], { stdio: ['ignore', 'pipe', 'pipe'] });
    server.stderr!.on('data', text => {
      said += text;
    });
    const [line] = await once(server.stdout!, 'data');
    url = String(line).split(' ')[0];
    client = new OpenAI({ baseURL: url, apiKey: 'none', maxRetries: 0 });
  }, 60_000);
  afterAll(() => void server.kill());

  /** Of all texts so far. */
  const passes = async () =>
    (await (await fetch(new URL('/passes', url))).json()) as {
      passes: number;
      tokens: number;
      texts: number;
    };
  const idOf = (word: string) => tokenizer.vocabulary.indexOf(word);
  const model = 'tiny-lm';
  const prompt = 'One summer there was a little rabbit';
  const messages = [{ role: 'user', content: 'One day' }] as const;
  const complete = async (options: object = {}) => {
    const answer = await client.completions.create({
      model,
      prompt,
      temperature: 0,
      max_tokens: 20,
      ...options,
    });
    return answer as OpenAI.Completion;
  };
  const streamed = async (options: object) => {
    const pieces: OpenAI.Completion[] = [];
    const stream = await client.completions.create({
      model,
      prompt,
      max_tokens: 20,
      ...options,
      stream: true,
    });
    for await (const piece of stream) pieces.push(piece);
    return pieces;
  };
  const textOf = (pieces: OpenAI.Completion[], index = 0) =>
    pieces
      .flatMap(({ choices }) => choices.filter(each => each.index === index).map(({ text }) => text))
      .join('');

  it('lists the model', async () => {
    const { data } = await client.models.list();
    expect(data.map(({ id }) => id)).toEqual([model]);
  });

  it('completes a text, streaming and not', async () => {
    const { choices, usage } = await complete();
    expect(choices).toMatchObject([{ index: 0, finish_reason: 'length', logprobs: null }]);
    expect(choices[0].text).toMatch(/^ named Lily\. She had/);
    const read = 1 + tokenizer.encode(prompt).length;
    expect(usage).toEqual({ prompt_tokens: read, completion_tokens: 20, total_tokens: read + 20 });
    const pieces = await streamed({ temperature: 0, stream_options: { include_usage: true } });
    expect(textOf(pieces)).toBe(choices[0].text);
    expect(pieces.at(-2)!.choices[0].finish_reason).toBe('length');
    expect(pieces.at(-1)).toMatchObject({ choices: [], usage });
  });

  it('takes ids and several prompts', async () => {
    const { choices } = await complete({ prompt: [prompt, 'One day'] });
    expect(choices).toHaveLength(2);
    expect(choices[0].text).toBe(
      (await complete({ prompt: [0, ...tokenizer.encode(prompt)] })).choices[0].text,
    );
    expect(choices[1].text).toBe((await complete({ prompt: 'One day' })).choices[0].text);
  });

  it('chats, streaming and not, to the end of the text', async () => {
    const options = { model, messages: [...messages], seed: 3, temperature: 0.7 };
    const { choices } = await client.chat.completions.create(options);
    expect(choices).toMatchObject([{ message: { role: 'assistant' }, finish_reason: 'stop' }]);
    expect(choices[0].message.content!.length).toBeGreaterThan(100);
    const stream = client.chat.completions.stream(options);
    expect(await stream.finalContent()).toBe(choices[0].message.content);
    expect((await stream.finalChatCompletion()).choices[0].finish_reason).toBe('stop');
  });

  it('draws the same for a seed, and others for others; n differ', async () => {
    const options = { temperature: 1.5, seed: 5, n: 4 };
    const texts = (await complete(options)).choices.map(({ text }) => text);
    expect(new Set(texts).size).toBeGreaterThan(1);
    expect((await complete(options)).choices.map(({ text }) => text)).toEqual(texts);
    expect((await complete({ ...options, seed: 6 })).choices.map(({ text }) => text)).not.toEqual(texts);
    const pieces = await streamed(options);
    expect([0, 1, 2, 3].map(index => textOf(pieces, index))).toEqual(texts);
  });

  it('tells log-probabilities of both kinds', async () => {
    const { choices } = await complete({ logprobs: 3, max_tokens: 6 });
    const { tokens, token_logprobs, top_logprobs, text_offset } = choices[0].logprobs!;
    expect(tokens!.join('')).toBe(choices[0].text);
    expect(text_offset).toEqual(tokens!.map((_, i) => tokens!.slice(0, i).join('').length));
    token_logprobs!.forEach((logprob, i) => {
      expect(Object.keys(top_logprobs![i])).toHaveLength(3);
      expect(top_logprobs![i][tokens![i]]).toBeCloseTo(logprob, 6);
    });
    const pieces = await streamed({ temperature: 0, logprobs: 3, max_tokens: 6 });
    expect(pieces.flatMap(piece => piece.choices[0].logprobs!.token_logprobs)).toEqual(token_logprobs);
    expect(pieces.flatMap(piece => piece.choices[0].logprobs!.text_offset)).toEqual(text_offset);
    const chat = await client.chat.completions.create({
      ...{ model, messages: [...messages], max_tokens: 4, temperature: 0.5, seed: 1 },
      ...{ logprobs: true, top_logprobs: 2 },
    });
    const content = chat.choices[0].logprobs!.content!;
    expect(content).toHaveLength(4);
    for (const { token, bytes, logprob, top_logprobs: top } of content) {
      expect(Buffer.from(bytes!).toString()).toBe(token);
      expect(top).toHaveLength(2);
      expect(logprob).toBeLessThanOrEqual(top[0].logprob);
    }
  });

  it('ends at a stop text, which is no part of it, also where it is in several tokens', async () => {
    const [{ text }] = (await complete()).choices;
    const stop = ['. She ha'];
    const { choices } = await complete({ stop });
    expect(choices).toMatchObject([{ text: ' named Lily', finish_reason: 'stop' }]);
    expect(textOf(await streamed({ temperature: 0, stop }))).toBe(' named Lily');
    // What only looks like the beginning of one is not lost.
    expect(textOf(await streamed({ temperature: 0, stop: ['. She hax', 'zzz'] }))).toBe(text);
  });

  it('biases, bans and penalizes', async () => {
    const id = idOf('Max');
    const biased = await complete({ logit_bias: { [id]: 100 }, max_tokens: 3 });
    expect(biased.choices[0].text).toBe(' Max Max Max');
    const lily = idOf('Lily');
    expect((await complete({ logit_bias: { [lily]: -100 } })).choices[0].text).not.toContain('Lily');
    const options = { logit_bias: { [id]: 25 }, max_tokens: 12 };
    const count = (text: string) => text.split('Max').length - 1;
    const free = count((await complete(options)).choices[0].text);
    const punished = count((await complete({ ...options, frequency_penalty: 2 })).choices[0].text);
    expect(punished).toBeLessThan(free);
    const present = count((await complete({ ...options, presence_penalty: 2 })).choices[0].text);
    expect(present).toBeLessThanOrEqual(free);
  });

  it('keeps to a JSON schema, streaming and not', async () => {
    const schema = {
      type: 'object',
      properties: { name: { enum: ['Lily', 'Max'] }, brave: { type: 'boolean' } },
      required: ['name', 'brave'],
      additionalProperties: false,
    };
    const options = {
      ...{ model, messages: [...messages], temperature: 1.5 },
      response_format: { type: 'json_schema', json_schema: { name: 'animal', schema } } as const,
    };
    const seen = new Set<string>();
    for (let seed = 0; seed < 12; seed++) {
      const { choices } = await client.chat.completions.create({ ...options, seed });
      const { message, finish_reason } = choices[0];
      expect(finish_reason).toBe('stop');
      const { name, brave, ...rest } = JSON.parse(message.content!);
      expect(['Lily', 'Max']).toContain(name);
      expect(typeof brave).toBe('boolean');
      expect(rest).toEqual({});
      seen.add(message.content!);
      if (seed === 0) {
        const stream = client.chat.completions.stream({ ...options, seed });
        expect(await stream.finalContent()).toBe(message.content);
      }
    }
    expect(seen.size).toBeGreaterThan(1);
  });

  it('serves 32 clients at once, each as alone, by passes that they share', async () => {
    const ask = (seed: number, stream: boolean) => {
      const options = {
        temperature: 1,
        seed,
        max_tokens: 25,
        prompt: prompt.slice(0, 10 + 3 * (seed % 3)).trim(),
      };
      return stream
        ? streamed(options).then(pieces => textOf(pieces))
        : complete(options).then(({ choices }) => choices[0].text);
    };
    const alone: string[] = [];
    for (let seed = 0; seed < 8; seed++) alone.push(await ask(seed, false));
    const before = await passes();
    const texts = await Promise.all(Array.from({ length: 32 }, (_, i) => ask(i % 8, i % 2 === 1)));
    texts.forEach((text, i) => {
      expect(text).toBe(alone[i % 8]);
    });
    const after = await passes();
    expect((after.tokens - before.tokens) / (after.passes - before.passes)).toBeGreaterThan(4);
  });

  it('computes no more for clients that hang up, and serves the others', async () => {
    const { tokens: before } = await passes();
    const others = complete({ max_tokens: 30 });
    await Promise.all(
      Array.from({ length: 8 }, async (_, seed) => {
        const stop = new AbortController();
        const options = { model, prompt, temperature: 1, seed, max_tokens: 90, n: 3, stream: true } as const;
        const stream = await client.completions.create(options, { signal: stop.signal });
        for await (const _piece of stream) {
          stop.abort();
          break;
        }
      }),
    );
    expect((await others).choices[0].text).toMatch(/^ named Lily\./);
    while ((await passes()).texts > 0) await sleep(20);
    // All of them would be 24 texts of nearly 90 tokens.
    const { tokens } = await passes();
    expect(tokens - before).toBeLessThan(1200);
    expect((await complete()).choices[0].text).toMatch(/^ named Lily\./);
    expect((await passes()).tokens).toBe(tokens + 20);
  });

  it('tells clients what is wrong', async () => {
    const refused = (options: object) => expect(complete(options)).rejects;
    await refused({ temperature: -1 }).toMatchObject({ status: 400, param: 'temperature' });
    await refused({ best_of: 3 }).toMatchObject({ status: 400, param: 'best_of' });
    await refused({ prompt: 'One '.repeat(200) }).toMatchObject({ status: 400, param: 'prompt' });
    await refused({ prompt: [1e6] }).toMatchObject({
      status: 400,
      message: expect.stringContaining('want an id below'),
    });
    await refused({ logit_bias: { x: 1 } }).toMatchObject({ status: 400, param: 'logit_bias' });
    await refused({ logit_bias: [1, 2] }).toMatchObject({ status: 400, param: 'logit_bias' });
    await refused({ logit_bias: { 5: 1e9 } }).toMatchObject({ status: 400, param: 'logit_bias' });
    await refused({ n: 65 }).toMatchObject({ status: 400, param: 'n' });
    await refused({ model: 'another' }).toMatchObject({ status: 404, code: 'model_not_found' });
    await refused({ stop: ['a', ''] }).toMatchObject({ status: 400, param: 'stop' });
    const response = await fetch(`${url}/completions`, { method: 'POST', body: '{' });
    expect(response.status).toBe(400);
    expect((await fetch(`${url}/other`)).status).toBe(404);
    expect((await fetch(url.replace('/v1', '//'))).status).toBe(404);
    expect((await client.models.retrieve(model)).id).toBe(model);
  });

  it('tells a client whose request is too long, and serves its next one', async () => {
    const body = JSON.stringify({ prompt: 'x'.repeat(9e6) });
    const response = await fetch(`${url}/completions`, { method: 'POST', body });
    expect([response.status, await response.text()]).toEqual([413, expect.stringContaining('bytes at most')]);
    expect((await complete()).choices[0].finish_reason).toBe('length');
  });

  it('gives no token where none is asked for, and defaults for what is left out', async () => {
    const none = { max_tokens: 0, echo: false, best_of: 1, suffix: null };
    expect((await complete(none)).choices).toMatchObject([{ text: '', finish_reason: 'length' }]);
    const pieces = await streamed({ max_tokens: 0 });
    expect(pieces.map(({ choices }) => choices)).toMatchObject([[{ text: '', finish_reason: 'length' }]]);
    // An empty text has the token that texts begin with.
    const { usage } = await complete({ prompt: '', max_tokens: 2 });
    expect(usage).toMatchObject({ prompt_tokens: 1, completion_tokens: 2 });
  });

  it('refuses schemas that are none, and keeps to the next one', async () => {
    const asked = (response_format: object) =>
      client.chat.completions.create({ model, messages: [...messages], response_format } as never);
    const schemas = [null, [1], { type: 'nonsense' }, { $ref: '#/nowhere' }];
    const formats = schemas.map(schema => ({ type: 'json_schema', json_schema: { name: 'x', schema } }));
    for (const format of [...formats, { type: 'xml' }, {}]) {
      await expect(asked(format)).rejects.toMatchObject({ status: 400, param: 'response_format' });
    }
    const schema = { enum: ['yes'] };
    const { choices } = (await asked({
      type: 'json_schema',
      json_schema: { name: 'x', schema },
    })) as OpenAI.ChatCompletion;
    expect(choices[0].message.content).toBe('"yes"');
  });

  it('streams many choices with log-probabilities, and says nothing to its own screen', async () => {
    const stream = await client.completions.create({
      ...{ model, prompt, n: 20, logprobs: 2, seed: 5, max_tokens: 6, stream: true },
    });
    const texts: string[] = [];
    for await (const { choices } of stream) {
      for (const { index, text, logprobs } of choices) {
        expect(logprobs!.text_offset).toEqual([texts[index]?.length ?? 0]);
        texts[index] = (texts[index] ?? '') + text;
      }
    }
    const whole = await complete({ temperature: 1, n: 20, seed: 5, max_tokens: 6 });
    expect(texts).toEqual(whole.choices.map(({ text }) => text));
    expect(said).not.toContain('Warning');
  });
});
