/**
 * What opening costs: headers in proportion to their length, and a large file no more than a small one.
 * `npm run bench` has it, and `node bench/headers.mjs` is it alone.
 */
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import v8 from 'node:v8';
import vm from 'node:vm';
import gguf from '../dist/formats/gguf.js';
import safetensors from '../dist/formats/safetensors.js';
import tokenizer from '../dist/formats/tokenizer-size.js';
import { LMHead } from '../dist/index.mjs';
import { duration, table } from './timing.mjs';

v8.setFlagsFromString('--expose-gc');
const collect = vm.runInNewContext('gc');

const MEGABYTE = 1e6;

/** Follows a reader over a header whose file is otherwise empty. */
function read(reader, header, fileSize) {
  const plan = reader('file', fileSize);
  let step = plan.next();
  while (!step.done) {
    const { offset, length } = step.value;
    step = plan.next(new Uint8Array(header.subarray(offset, offset + length)));
  }
  return step.value;
}

function safetensorsHeader(bytes) {
  const entries = [];
  let at = 0;
  for (let size = 0; size < bytes; size += entries.at(-1).length + 1) {
    const offsets = `[${at},${at + 8}]`;
    entries.push(`"model.layers.${at}.weight":{"dtype":"F32","shape":[2],"data_offsets":${offsets}}`);
    at += 8;
  }
  const text = `{${entries.join(',')}}`;
  const header = Buffer.alloc(8 + text.length);
  header.writeBigUInt64LE(BigInt(text.length));
  header.write(text, 8);
  return { header, fileSize: header.length + at };
}

/** A vocabulary of so many bytes, as GGUF files have them. */
function ggufHeader(bytes) {
  const u64 = value => {
    const number = Buffer.alloc(8);
    number.writeBigUInt64LE(BigInt(value));
    return number;
  };
  const u32 = value => u64(value).subarray(0, 4);
  const text = value => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
  const tokens = [];
  for (let size = 0; size < bytes; size += tokens.at(-1).length) tokens.push(text(`token${tokens.length}`));
  const key = [text('tokenizer.ggml.tokens'), u32(9), u32(8), u64(tokens.length)];
  const header = Buffer.concat([Buffer.from('GGUF'), u32(3), u64(0), u64(1), ...key, ...tokens]);
  return { header, fileSize: header.length };
}

function tokenizerText(bytes) {
  const vocab = [];
  for (let size = 0; size < bytes; size += vocab.at(-1).length + 1)
    vocab.push(`"token${vocab.length}":${vocab.length}`);
  return `{"model":{"vocab":{${vocab.join(',')}}}}`;
}

/** Seconds of all threads together, and bytes of heap that the result takes: the least of a few turns. */
function cost(work) {
  let seconds = Infinity;
  let heap = Infinity;
  for (let turn = 0; turn < 5; turn++) {
    collect();
    const before = process.memoryUsage().heapUsed;
    const start = process.cpuUsage();
    held.result = work();
    const { user, system } = process.cpuUsage(start);
    seconds = Math.min(seconds, (user + system) / 1e6);
    collect();
    heap = Math.min(heap, process.memoryUsage().heapUsed - before);
    held.result = undefined;
  }
  return { seconds, heap };
}

/** What is reachable from here is not collected. */
const held = {};

function headerRows(sizes, name, make, work) {
  return sizes.map(megabytes => {
    const made = make(megabytes * MEGABYTE);
    const { seconds, heap } = cost(() => work(made));
    const perMegabyte = `${duration(seconds / megabytes)} per MB`;
    return [`${name}, ${megabytes} MB`, duration(seconds), perMegabyte, `${(heap / MEGABYTE).toFixed(1)} MB`];
  });
}

/** A file of 1 GB that takes no room on the disk, as a matrix of bf16. */
function sparseFile(path) {
  const [v, d] = [262_144, 2048];
  const header = JSON.stringify({
    'model.embed_tokens.weight': { dtype: 'BF16', shape: [v, d], data_offsets: [0, v * d * 2] },
  }).padEnd(120);
  const start = Buffer.alloc(8 + header.length);
  start.writeBigUInt64LE(BigInt(header.length));
  start.write(header, 8);
  const file = openSync(path, 'w');
  writeSync(file, start);
  ftruncateSync(file, start.length + v * d * 2);
  closeSync(file);
}

/** @param {readonly number[]} sizes in megabytes */
export function headers(sizes = [1, 5, 24]) {
  console.log('\nReading headers: CPU time with garbage collection, and memory for what was read.\n');
  table(
    ['', 'time', '', 'heap'],
    [
      ...headerRows(sizes, '.safetensors', safetensorsHeader, ({ header, fileSize }) =>
        read(safetensors.readSafetensors, header, fileSize),
      ),
      ...headerRows(sizes, '.gguf', ggufHeader, ({ header, fileSize }) =>
        read(gguf.readGguf, header, fileSize),
      ),
      ...headerRows(sizes, 'tokenizer.json', tokenizerText, text => tokenizer.tokenizerSize(text)),
    ],
  );

  const folder = mkdtempSync(join(tmpdir(), 'lmhead-bench-'));
  try {
    sparseFile(join(folder, 'large.safetensors'));
    writeFileSync(join(folder, 'small.npy'), smallNpy());
    const open = name => {
      const heads = [];
      const result = cost(() => heads.push(LMHead.openSync(join(folder, name), { backend: 'native' })));
      for (const head of heads) head.close();
      return [`open ${name}`, duration(result.seconds), '', `${(result.heap / MEGABYTE).toFixed(3)} MB`];
    };
    console.log(
      '\nOpening a file, mapped: CPU time and memory; large.safetensors has 1.07 GB, small.npy 1 kB.\n',
    );
    table(['', 'time', '', 'heap'], [open('large.safetensors'), open('small.npy')]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function smallNpy() {
  const header = "{'descr': '<f4', 'fortran_order': False, 'shape': (16, 16), }".padEnd(117);
  return Buffer.concat([Buffer.from(`\x93NUMPY\x01\x00\x76\x00${header}\n`, 'latin1'), Buffer.alloc(1024)]);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) headers();
