/** The header of a GGUF file: its tensors and keys, and what is malformed. */
import { describe, expect, it } from 'vitest';
import { type GgufHeader, readGguf } from '../../lib/formats/gguf';
import { bytesOf } from '../support/bytes';
import { throwsKind } from '../support/errors';
import { F16, F32, type GgufTensorSpec, gguf } from '../support/gguf';
import { fromBytes } from '../support/memory-files';
import { someNumbers } from '../support/numbers';

const V = 11;
const D = 32;
const weight = someNumbers(V * D, 2);

const read = (bytes: Uint8Array): GgufHeader => fromBytes(bytes, size => readGguf('test.gguf', size));
const output: GgufTensorSpec = { name: 'output.weight', type: F32, shape: [V, D], bytes: bytesOf(weight) };
const embedding: GgufTensorSpec = { ...output, name: 'token_embd.weight' };

describe('a well-formed header', () => {
  it.each([2, 3])('of version %i gives tensors row by row, and their places', version => {
    const bytes = gguf(
      [{ name: 'v', type: F16, shape: [3], bytes: new Uint8Array(6) }, output],
      { 'general.architecture': { string: 'llama' } },
      { version },
    );
    const { tensors, metadata } = read(bytes);
    const start = bytes.length - V * D * 4;
    expect([...tensors]).toEqual([
      ['v', { dtype: 'F16', shape: [3], begin: start - 32, end: start - 26 }],
      ['output.weight', { dtype: 'F32', shape: [V, D], begin: start, end: bytes.length }],
    ]);
    expect([...metadata]).toEqual([['general.architecture', 'llama']]);
  });

  it('has values of every type; of arrays their length', () => {
    const { metadata } = read(
      gguf([], {
        a: { u32: 4_000_000_000 },
        b: { i32: -5 },
        c: { f32: 0.5 },
        d: { u64: 2n ** 60n },
        e: { bool: true },
        f: { string: 'é' },
        g: { i32s: [1, 2, 3] },
        h: { strings: ['a', '[PAD1]', 'b', '[PAD3]', '[PAD4]'] },
        __proto__x: { u32: 1 },
      }),
    );
    expect(Object.fromEntries(metadata)).toEqual({
      a: 4_000_000_000,
      b: -5,
      c: 0.5,
      d: 2n ** 60n,
      e: true,
      f: 'é',
      g: { length: 3, unpadded: 3 },
      h: { length: 5, unpadded: 3 },
      __proto__x: 1,
    });
  });

  it('may be longer than one look at it', () => {
    const strings = Array.from({ length: 60_000 }, (_, i) => `token ${i}`);
    const bytes = gguf([output], { 'tokenizer.ggml.tokens': { strings } });
    expect(read(bytes).tensors.get('output.weight')!.end).toBe(bytes.length);
  });
});

describe('a malformed header is refused', () => {
  const misplaced = gguf([
    { ...output, type: 139 },
    { ...embedding, name: 'b' },
  ]);
  misplaced[110] = 1; // of the second one's place
  const good = gguf([output], { 'general.architecture': { string: 'llama' } });
  const changed = (at: number, ...bytes: number[]) => {
    const copy = Buffer.from(good);
    copy.set(bytes, at);
    return copy;
  };
  const MOST = [255, 255, 255, 255, 255, 255, 255, 127];
  const dimensions = good.indexOf('output.weight') + 13;
  it.each([
    ['another version', changed(4, 9), 'version is 9'],
    ['big-endian', changed(4, 0, 0, 0, 3), 'big-endian'],
    ['more tensors than there is room for', changed(8, ...MOST), 'number of tensors'],
    ['a count just above the room', changed(8, 255, 255), 'number of tensors'],
    ['more keys than there is room for', changed(16, ...MOST), 'number of keys'],
    ['a key longer than the file', changed(24, ...MOST), 'length of a string'],
    ['five dimensions', changed(dimensions, 5), '5 dimensions'],
    ['a dimension of 2^63 − 1', changed(dimensions + 4, ...MOST), '2^53'],
    ['dimensions whose product wraps', changed(dimensions + 8, 1, 0, 0, 0, 0, 0, 0, 0, 1), 'too large'],
    ['an unknown type', changed(dimensions + 20, 77), 'unknown type'],
    ['a tensor elsewhere', changed(dimensions + 24, 32), 'not at 0'],
    ['a file cut short', good.subarray(0, -1), 'cut short'],
    ['a header cut short', good.subarray(0, 60), 'cut short'],
    ['a tensor twice', gguf([output, output]), 'twice'],
    ['a row that is no integral number of blocks', gguf([{ ...output, type: 12 }]), 'no multiple'],
    ['an alignment that is no power of two', gguf([], { 'general.alignment': { u32: 24 } }), 'alignment'],
    ['an alignment of 0', gguf([], { 'general.alignment': { u32: 0 } }), 'alignment'],
    ['an alignment of a wrong type', gguf([], { 'general.alignment': { string: '32' } }), 'alignment'],
    ['a name of 1001 bytes', gguf([output, { ...output, name: 'x'.repeat(1001) }]), '1001 bytes'],
    ['no name below 64 bytes', gguf([{ ...output, name: 'x'.repeat(64) }]), 'longer'],
    ['no place behind one of an unknown size', misplaced, 'not at 0'],
  ])('%s', (_, bytes, ...words) => {
    throwsKind(() => read(bytes), 'FORMAT', 'test.gguf', 'well-formed', ...words);
  });

  it('every cut of a good one', () => {
    for (let length = 0; length < dimensions + 32; length++) {
      throwsKind(() => read(good.subarray(0, length)), 'FORMAT');
    }
  });
});
