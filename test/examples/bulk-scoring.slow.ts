/** examples/bulk-scoring, with a Redis of its own and workers that are killed: the report is the same bytes. */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Queue } from 'bullmq';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { temporaryFolder } from '../support/folders';
import { npy } from '../support/npy';
import { someNumbers } from '../support/numbers';

const program = join(__dirname, '../../examples/bulk-scoring/bulk-scoring.mjs');
const hasRedis = spawnSync('redis-server', ['--version']).status === 0;
if (!hasRedis) console.warn('redis-server is not installed: examples/bulk-scoring is not tested');

const folder = temporaryFolder();
const [V, d, SHARDS, ROWS] = [6000, 48, 40, 96];
const POISONED = { 'shard-07': 'targets[3]', 'shard-31': 'is no .npy file' };

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}

describe.runIf(hasRedis)('examples/bulk-scoring', () => {
  let port: number;
  let redis: ChildProcess;
  const startRedis = async () => {
    const options = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
    redis = spawn('redis-server', options, { stdio: ['ignore', 'pipe', 'inherit'], cwd: folder.path() });
    for await (const text of redis.stdout!) if (String(text).includes('Ready to accept')) break;
    redis.stdout!.resume();
  };
  const started: ChildProcess[] = [];

  beforeAll(async () => {
    port = await freePort();
    await startRedis();
    const head = LMHead.from(someNumbers(V * d), { vocabSize: V, hiddenSize: d });
    head.saveSync(folder.path('model.safetensors'));
    for (let i = 0; i < SHARDS; i++) {
      const name = `shard-${String(i).padStart(2, '0')}`;
      const targets = Int32Array.from({ length: ROWS }, (_, row) =>
        row % 9 === 0 ? -100 : (row * 37 + i) % V,
      );
      if (name === 'shard-07') targets[3] = V;
      const states = new Uint8Array(someNumbers(ROWS * d, i + 2).buffer);
      const hidden = npy('<f4', [ROWS, d], states);
      const bytes = name === 'shard-31' ? 'no array' : hidden;
      folder.file(`shards/${name}.hidden.npy`, bytes);
      folder.file(`shards/${name}.targets.npy`, npy('<i4', [ROWS], new Uint8Array(targets.buffer)));
      if (i % 2 === 0) continue;
      const lengths = new Uint8Array(BigInt64Array.of(40n, 0n, BigInt(ROWS - 40)).buffer);
      folder.file(`shards/${name}.lengths.npy`, npy('<i8', [3], lengths));
    }
  });
  afterAll(async () => {
    for (const child of [...started, redis]) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  });

  /** Commands about one folder of results, with a queue of its own. */
  const corpus = (name: string) => {
    const out = folder.path(name);
    const queue = ['--redis', `redis://127.0.0.1:${port}`, '--queue', name];
    const run = async (...args: string[]) =>
      (await promisify(execFile)(process.execPath, [program, ...args, '--out', out])).stdout;
    const names = (of: string) =>
      existsSync(join(out, of)) ? readdirSync(join(out, of)).filter(file => file.endsWith('.json')) : [];
    return {
      out,
      names,
      plan: (...more: string[]) =>
        run(
          'plan',
          '--model',
          folder.path('model.safetensors'),
          '--shards',
          folder.path('shards'),
          ...queue,
          ...more,
        ),
      watch: () => run('watch', '--once', ...queue),
      report: () => run('report'),
      /** @returns a worker's process, and the promise of its end */
      worker: () => {
        const args = ['work', '--out', out, '--threads', '1', '--lock', '1.5', ...queue];
        const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
        started.push(child);
        let printed = '';
        for (const stream of [child.stdout, child.stderr]) stream.on('data', text => (printed += text));
        const ended = once(child, 'exit').then(([status, signal]) => ({ status, signal, printed }));
        return { child, ended };
      },
      until: async (condition: () => boolean) => {
        while (!condition()) await wait(20);
      },
    };
  };

  let expected: string;
  it('one worker', async () => {
    const one = corpus('one');
    expect(await one.plan()).toContain(`${SHARDS} shards: ${SHARDS} to do, 0 done, 0 set aside`);
    const { status, printed } = await one.worker().ended;
    expect({ status, printed }).toEqual({ status: 0, printed: expect.stringContaining('try 3 of 3') });
    expected = await one.report();
    const summary = JSON.parse(expected);
    expect(summary).toMatchObject({ shards: SHARDS, missing: 0, documents: 56 });
    const reasons = Object.fromEntries(
      summary.setAside.map(({ name, error }: { name: string; error: string }) => [name, error]),
    );
    expect(reasons).toEqual(
      Object.fromEntries(
        Object.entries(POISONED).map(([name, words]) => [name, expect.stringContaining(words)]),
      ),
    );
    expect(one.names('results')).toHaveLength(SHARDS - 2);
    expect(readdirSync(join(one.out, 'results')).every(name => name.endsWith('.json'))).toBe(true);
    expect(await one.watch()).toContain(`38 of ${SHARDS} shards (100.0 %), 0 in work, 2 set aside`);

    // By hand.
    const head = LMHead.openSync(folder.path('model.safetensors'));
    let [tokens, nllSum] = [0, 0];
    for (let i = 0; i < SHARDS; i++) {
      const name = `shard-${String(i).padStart(2, '0')}`;
      if (name in POISONED) continue;
      const targets = Array.from({ length: ROWS }, (_, row) => (row % 9 === 0 ? -100 : (row * 37 + i) % V));
      const score = head.scoreSync(someNumbers(ROWS * d, i + 2), targets, { ignoreIndex: -100 });
      tokens += score.count;
      nllSum += score.nllSum;
    }
    expect(summary.tokens).toBe(tokens);
    expect(summary.nllSum).toBeCloseTo(nllSum, 6);
    expect(summary.perplexity).toBeCloseTo(Math.exp(nllSum / tokens), 6);
  });

  it('a shard that is done twice is the same file; what was set aside is tried again when it is asked for', async () => {
    const one = corpus('one');
    const file = join(one.out, 'results/shard-05.json');
    const before = readFileSync(file, 'utf8');
    rmSync(file);
    expect(await one.plan()).toContain('1 to do, 37 done, 2 set aside');
    expect((await one.worker().ended).status).toBe(0);
    expect(readFileSync(file, 'utf8')).toBe(before);
    expect(await one.report()).toBe(expected);
    expect(await one.plan('--retry')).toContain('2 to do, 38 done, 0 set aside');
    expect((await one.worker().ended).status).toBe(0);
    expect(await one.report()).toBe(expected);
    const strange = await one
      .plan('--model', join(__dirname, '../../assets/tiny-lm.safetensors'))
      .catch(String);
    expect(strange).toContain('plan of another model');
  });

  it('eight workers', async () => {
    const eight = corpus('eight');
    await eight.plan();
    await Promise.all(Array.from({ length: 8 }, () => eight.worker().ended));
    expect(await eight.report()).toBe(expected);
  });

  it('eight workers, of which six are killed', async () => {
    const killed = corpus('killed');
    await killed.plan();
    const workers = Array.from({ length: 8 }, () => killed.worker());
    await killed.until(() => killed.names('results').length >= 3);
    for (const { child } of workers.slice(0, 6)) child.kill('SIGKILL');
    const ends = await Promise.all(workers.map(({ ended }) => ended));
    expect(ends.slice(6).map(({ status }) => status)).toEqual([0, 0]);
    expect(await killed.report()).toBe(expected);
  });

  it('all are killed, and Redis with all that it knew: nothing that was done is lost', async () => {
    const lost = corpus('lost');
    await lost.plan();
    const first = [lost.worker(), lost.worker()];
    await lost.until(() => lost.names('results').length >= 3);
    redis.kill('SIGKILL');
    await once(redis, 'exit');
    first[0].child.kill('SIGKILL');
    const done = lost.names('results');
    const before = done.map(name => readFileSync(join(lost.out, 'results', name), 'utf8'));
    await startRedis();
    expect(await lost.plan()).toMatch(/shards: (\d+) to do/);
    const second = lost.worker();
    expect((await second.ended).status).toBe(0);
    expect((await first[1].ended).status).toBe(0); // it has waited for Redis
    expect(done.map(name => readFileSync(join(lost.out, 'results', name), 'utf8'))).toEqual(before);
    expect(await lost.report()).toBe(expected);
  });

  it('a shard whose workers die is set aside, too', async () => {
    const rows = 60_000;
    const targets = new Uint8Array(new Int32Array(rows).buffer);
    folder.file('large/all.hidden.npy', npy('<f4', [rows, d], new Uint8Array(someNumbers(rows * d).buffer)));
    folder.file('large/all.targets.npy', npy('<i4', [rows], targets));
    const large = corpus('deadly');
    await large.plan('--shards', folder.path('large'));
    const queue = new Queue('deadly', { connection: { host: '127.0.0.1', port } });
    for (let i = 0; i < 3; i++) {
      const { child } = large.worker();
      while (((await queue.getJob('shard-all'))?.attemptsStarted ?? 0) <= i) await wait(50);
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    await queue.close();
    expect((await large.worker().ended).status).toBe(0);
    const { missing, setAside } = JSON.parse(await large.report());
    const error = expect.stringContaining('stalled');
    expect({ missing, setAside }).toEqual({ missing: 0, setAside: [{ name: 'all', error }] });
  });

  it('says what is wrong with a command', async () => {
    const run = (...args: string[]) => {
      const { status, stderr } = spawnSync(process.execPath, [program, ...args], { encoding: 'utf8' });
      return { status, stderr };
    };
    expect(run()).toMatchObject({ status: 2, stderr: expect.stringContaining('got no command') });
    expect(run('work')).toMatchObject({ status: 2, stderr: expect.stringContaining('got no --out') });
    expect(run('plan', '--frob')).toMatchObject({ status: 2, stderr: expect.stringContaining('--frob') });
    writeFileSync(folder.path('empty'), '');
    expect(run('report', '--out', folder.path())).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('without a plan.json'),
    });
  });
});
