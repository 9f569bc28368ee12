import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const examples = join(__dirname, '../../examples');

interface Token {
  id: number;
  text: string;
  logProb: number;
}

describe('examples/http-server', () => {
  let server: ChildProcess;
  let url: string;
  beforeAll(async () => {
    server = spawn(process.execPath, [join(examples, 'http-server/server.mjs'), '0'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = await once(server.stdout!, 'data');
    url = new URL(String(line)).origin;
  });
  afterAll(() => void server.kill());

  const ask = (query: string, signal?: AbortSignal) => fetch(`${url}/story?${query}`, { signal });
  const tokensOf = (text: string) =>
    [...text.matchAll(/^data: (\{"id".*\})$/gm)].map(([, json]) => JSON.parse(json) as Token);

  it('streams a story token by token, the same for the same seed', async () => {
    const query = 'prompt=Once%20upon%20a%20time&seed=7';
    const response = await ask(query);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    const text = await response.text();
    const tokens = tokensOf(text);
    expect(tokens.length).toBeGreaterThan(20);
    expect(tokens.every(({ logProb }) => logProb <= 0)).toBe(true);
    expect(text.endsWith('event: end\ndata: {}\n\n')).toBe(true);
    expect(await (await ask(query)).text()).toBe(text);
    expect(await (await ask(query.replace('7', '8'))).text()).not.toBe(text);
  });

  it('serves many at once', async () => {
    const texts = await Promise.all(
      Array.from({ length: 12 }, async (_, i) => (await ask(`prompt=Long%20ago&seed=${i % 3}`)).text()),
    );
    for (let i = 3; i < 12; i++) expect(texts[i]).toBe(texts[i % 3]);
  });

  it('stops where a client hangs up, and serves on', async () => {
    for (let i = 0; i < 5; i++) {
      const controller = new AbortController();
      const response = await ask('prompt=Long%20ago&seed=1', controller.signal);
      await response.body!.getReader().read();
      controller.abort();
    }
    expect(tokensOf(await (await ask('prompt=Long%20ago&seed=1')).text()).length).toBeGreaterThan(20);
  });

  it('says what is wrong with a request', async () => {
    for (const [query, word] of [
      ['prompt=xylophone', 'xylophone'],
      ['prompt=Long%20ago&temperature=-1', 'temperature'],
      ['prompt=Long%20ago&seed=1.5', 'seed'],
    ]) {
      const response = await ask(query);
      expect(response.status).toBe(400);
      expect(((await response.json()) as { error: string }).error).toContain(word);
    }
    expect((await fetch(`${url}/nothing`)).status).toBe(404);
  });

  it('tells how long passes took', async () => {
    await (await ask('prompt=Long%20ago&seed=1')).text();
    const { sample } = (await (await fetch(`${url}/passes`)).json()) as Record<
      string,
      { calls: number; meanPassTime: number; callsPerPass: number }
    >;
    expect(sample.calls).toBeGreaterThan(20);
    expect(sample.meanPassTime).toBeGreaterThan(0);
    expect(sample.callsPerPass).toBeGreaterThanOrEqual(1);
  });
});

describe('examples/worker-pool', () => {
  it('has the same result for any number of workers', () => {
    const run = (workers: number) => {
      const script = join(examples, 'worker-pool/score-stories.mjs');
      const printed = execFileSync(process.execPath, [script, String(workers), '40'], { encoding: 'utf8' });
      const [, tokens, perplexity] = /^(\d+) tokens of 40 stories: perplexity ([\d.]+)$/m.exec(printed)!;
      const shards = /shards by worker: (.*)/.exec(printed)![1].split(', ').map(Number);
      expect(shards.length).toBe(workers);
      expect(shards.reduce((a, b) => a + b)).toBe(8);
      return { tokens, perplexity };
    };
    const alone = run(1);
    // The grammar of the stories leaves this much open; an untrained model has a perplexity of hundreds.
    expect(Number(alone.perplexity)).toBeGreaterThan(1);
    expect(Number(alone.perplexity)).toBeLessThan(5);
    expect(run(3)).toEqual(alone);
  });
});
