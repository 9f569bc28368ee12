import { cpus } from 'node:os';
import { basename } from 'node:path';
import { outOfMemory } from '../arguments/arrays';
import { capabilities } from '../backend/choose';
import { multiplyAddRate, readTimer } from '../backend/roofline';
import { rowBytes } from '../dtypes/row-format';
import { LMHead } from '../lm-head';
import { benchPage, type Measured } from '../pages/bench-page';
import type { Dtype, SampleOptions } from '../types';
import { VERSION } from '../version';
import type { Command } from './command';
import { closing, HEAD_OPTIONS, withNamed } from './head';
import { writePage } from './html';
import { exclusive, type Parsed } from './options';
import { count, jsonLine, secondsText, Table } from './output';
import { Progress } from './progress';
import { normalNumbers } from './random';
import { Interrupted, type Terminal } from './streams';

/** Seconds that each line may take, and calls of it at least and at most. */
const BUDGET = 0.5;
const CALLS = { least: 5, most: 1000 };

interface Case {
  method: string;
  positions: number;
  run: () => Promise<unknown>;
}

export const bench: Command = {
  name: 'bench',
  summary: 'Time the methods on this machine',
  file: 'optional',
  options: ['vocab', 'size', 'dtype', 'html', ...HEAD_OPTIONS],
  examples: [
    ['lmhead bench model.safetensors', 'the head of a model'],
    [
      'lmhead bench model.safetensors --html bench.html',
      'a page with the roofline and the costs of sampling',
    ],
    ['lmhead bench --vocab 128256 --size 2048 --dtype bf16 --threads 1', 'random weights of a given shape'],
  ],
  async run(parsed, terminal) {
    exclusive('bench', parsed, 'FILE', ['vocab', 'size', 'dtype']);
    const work = (head: LMHead) => measure(head, parsed, terminal);
    return parsed.file === undefined ? closing(randomHead(parsed), work) : withNamed(parsed, work);
  },
};

async function measure(head: LMHead, parsed: Parsed, terminal: Terminal): Promise<boolean> {
  const { out, signal } = terminal;
  const html = parsed.text('html');
  const cases = [...casesOf(head, signal), ...(html === undefined ? [] : casesOfPage(head, signal))];
  const measured: Measured[] = [];
  const progress = new Progress(terminal, cases.length, 'lines');
  const rows: string[][] = [];
  let done = 0;
  try {
    for (const [i, { method, positions, run }] of cases.entries()) {
      progress.update(i);
      const seconds = await timed(run);
      const best = seconds[0];
      const median = seconds[seconds.length >> 1];
      const rate = positions / median;
      measured.push({ method, positions, best, median });
      if (parsed.flag('json')) {
        const { backend, threads, vocabSize, hiddenSize, dtype } = head;
        const where = { backend, isa: backend === 'native' ? capabilities().isa : null, threads };
        const shape = { vocabSize, hiddenSize, dtype };
        await out.write(
          jsonLine({
            method,
            positions,
            seconds: { best, median },
            calls: seconds.length,
            ...where,
            ...shape,
          }),
        );
        await out.flush();
      } else
        rows.push([
          method,
          String(positions),
          secondsText(best),
          secondsText(median),
          count(Math.round(rate)),
        ]);
      done++;
    }
  } catch (error) {
    if (!signal.aborted) throw error;
    progress.end();
    if (rows.length > 0) await out.last(tableOf(head, rows));
    throw new Interrupted(`after ${done} of ${cases.length} lines`);
  } finally {
    progress.end();
  }
  if (html !== undefined) await writePage(html, pageOf(head, parsed, measured));
  if (parsed.flag('json')) return true;
  await out.write(html === undefined ? tableOf(head, rows) : `${html}: ${measured.length} measurements\n`);
  return true;
}

/** Runs of what says how fast the machine is. */
const ROUNDS = 7;

function pageOf(head: LMHead, parsed: Parsed, measured: readonly Measured[]): string {
  const { vocabSize, hiddenSize, dtype, backend, threads } = head;
  const native = backend === 'native';
  const read = native ? readTimer(head) : undefined;
  const bytes = vocabSize * rowBytes(dtype, hiddenSize);
  const best = (measure: () => number) => Math.max(...Array.from({ length: ROUNDS }, measure));
  const [processor] = cpus();
  const where = [
    `${count(vocabSize)} tokens × ${count(hiddenSize)}, ${dtype}`,
    ...[native ? capabilities().isa : backend, `${threads} ${threads === 1 ? 'thread' : 'threads'}`],
    ...(processor ? [processor.model.trim()] : []),
    `lmhead ${VERSION}`,
  ];
  return benchPage({
    title: `How fast ${parsed.file === undefined ? 'a head of random weights' : basename(parsed.file)} is here`,
    summary: where.join('; '),
    ...{ vocabSize, hiddenSize, bytes, measured, secondsText },
    limits: read && {
      bytesPerSecond: best(() => bytes / read()),
      operationsPerSecond: best(() => 2 * multiplyAddRate(threads)),
    },
  });
}

/** What the page asks for besides: scores of more sizes, and other ways to draw. */
function casesOfPage(head: LMHead, signal: AbortSignal): Case[] {
  const next = normalNumbers(3);
  const sizes = [2, 4, 8, 16, 32].filter(n => n < mostPositions(head));
  const block = Float32Array.from({ length: 32 * head.hiddenSize }, next);
  const one = block.subarray(0, head.hiddenSize);
  const draws: [string, SampleOptions][] = [
    ['sample, greedy', { temperature: 0 }],
    ['sample, T 0.8, top-p 0.9', { temperature: 0.8, topP: 0.9, seed: 1 }],
    ['sample, T 0.8, min-p 0.05', { temperature: 0.8, minP: 0.05, seed: 1 }],
    ['sample, T 0.8, typical-p 0.9', { temperature: 0.8, typicalP: 0.9, seed: 1 }],
  ];
  return [
    ...draws.map(([method, options]) => ({
      method,
      positions: 1,
      run: () => head.sample(one, { ...options, signal }),
    })),
    ...sizes.map(positions => {
      const targets = Array.from({ length: positions }, (_, i) => i % head.vocabSize);
      const hidden = block.subarray(0, positions * head.hiddenSize);
      return { method: 'score', positions, run: () => head.score(hidden, targets, { signal }) };
    }),
  ];
}

/** Positions of the larger of the two sizes. */
function mostPositions({ vocabSize }: LMHead): number {
  return Math.max(1, Math.min(64, Math.floor(2 ** 22 / vocabSize)));
}

function tableOf({ vocabSize, hiddenSize, dtype, backend, threads }: LMHead, rows: string[][]): string {
  const runs = backend === 'native' ? capabilities().isa : backend;
  const where = `${runs}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`;
  const table = new Table(['method', 'positions', 'best', 'median', 'positions/s']).lines(rows);
  return `${count(vocabSize)} tokens × ${count(hiddenSize)}, ${dtype}; ${where}\n\n${table}`;
}

function casesOf(head: LMHead, signal: AbortSignal): Case[] {
  const next = normalNumbers(1);
  const d = head.hiddenSize;
  const many = mostPositions(head);
  const one = Float32Array.from({ length: d }, next);
  const block = Float32Array.from({ length: many * d }, next);
  const targets = Array.from({ length: many }, (_, i) => i % head.vocabSize);
  const k = Math.min(50, head.vocabSize);
  const filters = { temperature: 0.8, topK: Math.min(40, head.vocabSize), topP: 0.95, seed: 1 };
  const cases: [string, (hidden: Float32Array, n: number) => Promise<unknown>][] = [
    ['logits', hidden => head.logits(hidden, { signal })],
    ['argmax', hidden => head.argmax(hidden, { signal })],
    [`topK, k = ${k}`, hidden => head.topK(hidden, k, { signal })],
    ['sample, T 0.8', hidden => head.sample(hidden, { temperature: 0.8, seed: 1, signal })],
    ['sample, T 0.8, top-k 40, top-p 0.95', hidden => head.sample(hidden, { ...filters, signal })],
    ['score', (hidden, n) => head.score(hidden, targets.slice(0, n), { signal })],
  ];
  return [1, many]
    .filter((n, i, all) => all.indexOf(n) === i)
    .flatMap(positions =>
      cases.map(([method, call]) => {
        const hidden = positions === 1 ? one : block;
        return { method, positions, run: () => call(hidden, positions) };
      }),
    );
}

/** Seconds of each call, ascending. */
async function timed(run: () => Promise<unknown>): Promise<number[]> {
  await run(); // compiled, and in the caches that it stays in
  const seconds: number[] = [];
  for (let total = 0; seconds.length < CALLS.least || (total < BUDGET && seconds.length < CALLS.most); ) {
    const start = performance.now();
    await run();
    const took = (performance.now() - start) / 1000;
    seconds.push(took);
    total += took;
  }
  return seconds.sort((a, b) => a - b);
}

function randomHead(parsed: Parsed): LMHead {
  const vocabSize = parsed.number('vocab') ?? 50257;
  const hiddenSize = parsed.number('size') ?? 768;
  const dtype = (parsed.text('dtype') as Dtype | undefined) ?? 'bf16';
  const options = {
    vocabSize,
    hiddenSize,
    threads: parsed.number('threads'),
    backend: parsed.text('backend') as 'auto',
  };
  // Small values out of a table: which they are makes no difference to any time.
  const next = normalNumbers(2);
  const pattern = Float32Array.from({ length: 7919 }, () => next() * 0.02);
  if (dtype === 'f32') return LMHead.from(repeated(pattern, vocabSize * hiddenSize), options);
  // The upper half of a float32 is a bf16; of f16, such bits are values of the same size or so.
  const mask = dtype === 'f16' ? 0xafff : 0xffff;
  const bits = new Uint16Array(new Uint32Array(pattern.buffer).map(word => (word >>> 16) & mask));
  return LMHead.from(repeated(bits, vocabSize * hiddenSize), { ...options, dtype });
}

function repeated<T extends Float32Array | Uint16Array>(pattern: T, length: number): T {
  const Numbers = pattern.constructor as new (length: number) => T;
  let values: T;
  try {
    values = new Numbers(length);
  } catch (cause) {
    throw outOfMemory(length, 'weights', cause);
  }
  for (let i = 0; i < length; i++) values[i] = pattern[i % pattern.length];
  return values;
}
