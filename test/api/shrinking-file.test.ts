import {
  chmodSync,
  closeSync,
  futimesSync,
  linkSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { rejectsKind, throwsKind } from '../support/errors';
import { someNumbers } from '../support/numbers';
import { PREAMBLE, runNode } from '../support/processes';

const V = 20_000;
const D = 64;
const hidden = someNumbers(40 * D, 3);

let folder: string;
let path: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lmhead-shrinking-'));
  path = join(folder, 'model.safetensors');
});
afterAll(() => rmSync(folder, { recursive: true }));

const header = JSON.stringify({
  'model.embed_tokens.weight': { dtype: 'F32', shape: [V, D], data_offsets: [0, 4 * V * D] },
}).padEnd(120);

function opened(options = {}): LMHead {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(
    path,
    Buffer.concat([length, Buffer.from(header), new Uint8Array(someNumbers(V * D, 4).buffer)]),
  );
  return LMHead.openSync(path, { backend: 'native', ...options });
}

describe('a mapped file that shrinks', () => {
  it('fails every later call, and none crashes', async () => {
    const head = opened();
    head.argmaxSync(hidden);
    truncateSync(path, 4096);
    throwsKind(() => head.argmaxSync(hidden), 'IO', 'mmap: false');
    throwsKind(() => head.embed([0, V - 1]), 'IO');
    await rejectsKind(() => head.logProbs(hidden), 'IO');
    await rejectsKind(() => head.verify(hidden), 'IO');
    head.close();
  });

  it('may do so under running passes', async () => {
    for (let turn = 0; turn < 5; turn++) {
      const head = opened();
      const jobs = Array.from({ length: 20 }, () => head.logProbs(hidden).catch((error: unknown) => error));
      truncateSync(path, turn * 1000);
      const results = await Promise.all(jobs);
      // Those that were through in time are right; the others say why they are not.
      expect(results.at(-1)).toMatchObject({ code: 'ERR_LMHEAD_IO' });
      head.close();
    }
  });
});

/** In a process of their own, whose main thread they are: what listens to the signal beside the library. */
const LISTENERS: [name: string, code: string][] = [
  ['nobody', ''],
  ['somebody since', "process.on('SIGBUS', () => {});"],
  ['somebody no longer', "const f = () => {}; process.on('SIGBUS', f); process.off('SIGBUS', f);"],
  // Heard before anything shrinks: between two reads of a running pass, a handler that is taken away cannot be put back.
  [
    'somebody once',
    `const alive = setInterval(() => {}, 1000);
await new Promise(heard => { process.once('SIGBUS', heard); process.kill(process.pid, 'SIGBUS'); });
clearInterval(alive);`,
  ],
  ['nobody, and it was sent', "process.kill(process.pid, 'SIGBUS'); process.kill(process.pid, 'SIGBUS');"],
  [
    'many, one after the other',
    "for (let i = 0; i < 100; i++) { const f = () => {}; process.on('SIGBUS', f); process.off('SIGBUS', f); }",
  ],
];

describe.skipIf(process.platform === 'win32').each(LISTENERS)(
  'a mapped file that shrinks where %s listens to SIGBUS',
  (_, listens) => {
    const run = (body: string) =>
      runNode(`${PREAMBLE}
const { truncateSync } = require('node:fs');
const path = ${JSON.stringify(path)};
const hidden = new Float32Array(${D}).fill(1);
const codeOf = call => { try { call(); return 'none'; } catch (error) { return error.code; } };
(async () => { ${body} })();`);

    it('fails calls that start afterward', () => {
      opened().close();
      const { status, signal, stdout, stderr } = run(`
const head = LMHead.openSync(path);
${listens}
truncateSync(path, 9000);
console.log(codeOf(() => head.argmaxSync(hidden)), codeOf(() => head.embed([${V - 1}])));`);
      expect([status, signal, stdout, stderr]).toEqual([0, null, 'ERR_LMHEAD_IO ERR_LMHEAD_IO\n', '']);
    });

    it('fails passes that run', () => {
      opened().close();
      const { status, signal, stdout, stderr } = run(`
const head = LMHead.openSync(path);
const many = new Float32Array(4000 * ${D}).fill(1);
const pending = head.argmax(many).then(() => 'none', error => error.code);
${listens}
truncateSync(path, 9000);
console.log(await pending, codeOf(() => head.argmaxSync(hidden)));`);
      expect([status, signal, stdout, stderr]).toEqual([0, null, 'ERR_LMHEAD_IO ERR_LMHEAD_IO\n', '']);
    });

    it('tells those who listen of what is sent', () => {
      opened().close();
      const { status, signal, stdout, stderr } = run(`
const head = LMHead.openSync(path);
${listens}
let sent = 0;
process.on('SIGBUS', () => { sent++; });
head.argmaxSync(hidden);
process.kill(process.pid, 'SIGBUS');
await new Promise(resolve => setTimeout(resolve, 100));
console.log(sent > 0, codeOf(() => head.argmaxSync(hidden)));`);
      expect([status, signal, stdout, stderr]).toEqual([0, null, 'true none\n', '']);
    });
  },
);

describe('a mapped file that is written to', () => {
  it('fails later calls', () => {
    const head = opened();
    utimesSync(path, 1, 1); // as writing does
    throwsKind(() => head.argmaxSync(hidden), 'IO', 'changed');
    head.close();
  });

  it.runIf(process.platform === 'linux')('fails them where its time was put back, too', async () => {
    opened().close();
    const { atime, mtime } = statSync(path);
    utimesSync(path, atime, mtime); // in steps that can be put back
    const head = LMHead.openSync(path, { backend: 'native' });
    await setTimeout(20); // longer than a file system's step of time
    const file = openSync(path, 'r+');
    writeSync(file, Uint8Array.of(1, 2, 3), 0, 3, 1000);
    futimesSync(file, atime, mtime);
    closeSync(file);
    throwsKind(() => head.argmaxSync(hidden), 'IO', 'changed');
    head.close();
  });

  it('and may be renamed, linked, and given to others', () => {
    const head = opened();
    const best = head.argmaxSync(hidden);
    chmodSync(path, 0o600);
    expect(head.argmaxSync(hidden)).toEqual(best);
    linkSync(path, `${path}.linked`);
    expect(head.argmaxSync(hidden)).toEqual(best);
    unlinkSync(`${path}.linked`);
    renameSync(path, `${path}.renamed`);
    expect(head.argmaxSync(hidden)).toEqual(best);
    unlinkSync(`${path}.renamed`);
    expect(head.argmaxSync(hidden)).toEqual(best);
    head.close();
  });
});

it('a file that was read into memory may change as it likes', () => {
  const head = opened({ mmap: false });
  const before = head.logitsSync(hidden);
  truncateSync(path, 0);
  expect(Buffer.compare(Buffer.from(head.logitsSync(hidden).buffer), Buffer.from(before.buffer))).toBe(0);
  head.close();
});
