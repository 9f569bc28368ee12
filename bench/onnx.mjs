/**
 * `npm run bench -- --onnx`: an ONNX decoder whose head is cut off, against the whole graph. Writes decoders of the widths of Qwen2.5 0.5B and
 * Llama 3.2 1B with random weights into a temporary folder, one after another; prints the tables of docs/onnx.md.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { packageOf } from './onnx/packages.mjs';
import { measureTokens } from './onnx/tokens.mjs';
import { writeDecoder } from './onnx/write-decoder.mjs';
import { INSTALL } from './peers/index.mjs';
import { duration, markdown } from './timing.mjs';

const QWEN = { vocabSize: 151936, hiddenSize: 896, heads: 14, keyHeads: 2, feedForward: 4864, layers: 2 };
const LLAMA = { vocabSize: 128256, hiddenSize: 2048, heads: 32, keyHeads: 8, feedForward: 8192, layers: 2 };
const TINY = { vocabSize: 2048, hiddenSize: 64, heads: 2, keyHeads: 1, feedForward: 128, layers: 1 };
const HEADS = {
  f32: { type: 'f32', opened: 'f32' },
  q8: { type: 'q8', opened: 'i8' },
  'q4, accuracy 0': { type: 'q4', accuracy: 0, opened: 'q4_0' },
  'q4, accuracy 4': { type: 'q4', accuracy: 4, opened: 'q4_0' },
};

/**
 * @param {{isa: string, threads: number, cpu: string, node: string}} machine
 * @param {boolean} quick a tiny decoder
 */
export async function printOnnx({ cpu, isa, threads, node }, quick) {
  const runtime = packageOf('onnxruntime-node');
  const transformers = packageOf('@huggingface/transformers');
  if (!runtime || !transformers) {
    const missing = runtime ? '@huggingface/transformers' : 'onnxruntime-node';
    console.log(`\nONNX decoders are left out: ${missing} is not installed (${INSTALL})`);
    return;
  }
  console.log(`\n${cpu}, ${isa}, ${threads} threads, Node.js ${node.slice(1)}.`);
  const shapes = quick ? { 'a tiny one': TINY } : { 'Qwen2.5 0.5B': QWEN, 'Llama 3.2 1B': LLAMA };
  const [rounds, count] = quick ? [3, 256] : [15, 2048];
  const tokens = [];
  const scores = [];
  for (const [name, widths] of Object.entries(shapes)) {
    for (const [kind, head] of Object.entries(HEADS)) {
      const label = `${name}, ${kind}`;
      await inFolder(async folder => {
        const path = join(folder, 'model.onnx');
        writeDecoder(path, widths, head);
        scores.push(await scoreRow(label, path, count, widths.vocabSize));
        const seen = await measureTokens(path, { runtime, transformers, dtype: head.opened, rounds });
        tokens.push(...seen.map(each => tokenRow(label, each)));
      });
    }
  }
  const { layers } = Object.values(shapes)[0];
  console.log(
    `\nA token: head and choice (temperature, top-k 50), medians of ${rounds} rounds; behind a body of ${layers} layer${layers > 1 ? 's' : ''}, random weights.\n`,
  );
  markdown(
    [
      'decoder',
      'whole graph, transformers.js',
      'head',
      'cut',
      'as fast',
      'by CPU',
      'blocks, whole',
      'blocks, cut',
    ],
    tokens,
  );
  console.log(
    `\nScoring a text of ${count} tokens: the process's memory at most, and above what it had before; the longest block of the event loop.\n`,
  );
  markdown(
    [
      'decoder',
      'peak, whole',
      'peak, cut',
      'of it',
      'growth, whole',
      'growth, cut',
      'of it',
      'blocks, whole',
      'blocks, cut',
    ],
    scores,
  );
}

async function inFolder(work) {
  const folder = mkdtempSync(join(tmpdir(), 'lmhead-bench-'));
  try {
    await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function tokenRow(label, { dtype, seconds, wall, cpu, blocks }) {
  const [whole, cut] = seconds.map(duration);
  return [label, whole, dtype, cut, `${wall.toFixed(1)} ×`, `${cpu.toFixed(1)} ×`, ...blocks.map(duration)];
}

async function scoreRow(label, path, count, V) {
  const script = fileURLToPath(new URL('onnx/scoring.mjs', import.meta.url));
  const run = async way => {
    const { stdout } = await promisify(execFile)(process.execPath, [script, path, way, count, V].map(String));
    return JSON.parse(stdout);
  };
  const [whole, cut] = [await run('whole'), await run('cut')];
  const bytes = n => `${(n / 1e6).toFixed(0)} MB`;
  const part = of => `1 / ${(whole[of] / cut[of]).toFixed(1)}`;
  return [
    label,
    ...[bytes(whole.peak), bytes(cut.peak), part('peak')],
    ...[bytes(whole.growth), bytes(cut.growth), part('growth')],
    ...[whole, cut].map(({ seconds, block }) => `${duration(block)} of ${duration(seconds)}`),
  ];
}
