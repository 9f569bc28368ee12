import { mkdtempSync, rmSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { rejectsKind, throwsKind } from '../support/errors';
import { someNumbers } from '../support/numbers';

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

describe('a mapped file that is written to', () => {
  it('fails later calls', () => {
    const head = opened();
    utimesSync(path, 1, 1); // as writing does
    throwsKind(() => head.argmaxSync(hidden), 'IO', 'changed');
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
