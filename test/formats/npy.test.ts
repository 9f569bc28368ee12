import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { readNpy } from '../../lib/formats/npy';
import type { TensorEntry } from '../../lib/formats/tensor-table';
import { backends } from '../support/backends';
import { bytesOf } from '../support/bytes';
import { conformanceJson, conformancePath, describeConformance } from '../support/conformance';
import { rejectsKind, throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { narrow } from '../support/half';
import { expectNear, products } from '../support/matrices';
import { fromBytes } from '../support/memory-files';
import { npy, npyWithHeader } from '../support/npy';
import { someNumbers } from '../support/numbers';

const V = 13;
const D = 7;
const weight = someNumbers(V * D, 2);
const hidden = someNumbers(2 * D, 3);
const folder = temporaryFolder();
const read = (bytes: Uint8Array): TensorEntry => fromBytes(bytes, size => readNpy('test.npy', size));

const swapped = (bytes: Uint8Array, size: number) => {
  const copy = Buffer.from(bytes);
  return size === 2 ? copy.swap16() : size === 4 ? copy.swap32() : copy.swap64();
};
const transposed = Float32Array.from(weight, (_, i) => weight[(i % V) * D + Math.floor(i / V)]);
const double = Float64Array.from(weight, x => x + 1e-12);

describe('a well-formed header', () => {
  it.each([1, 2, 3])('of version %i', major => {
    const bytes = npy('<f4', [V, D], bytesOf(weight), { major });
    const begin = bytes.length - V * D * 4;
    expect(begin % 64).toBe(0);
    expect(read(bytes)).toEqual({ dtype: 'F32', shape: [V, D], begin, end: bytes.length });
  });

  it('written in other ways that Python reads', () => {
    const header = `{"shape":(2L,3L),'fortran_order' : True,\t"descr":">f2"}`;
    expect(read(npyWithHeader(header, new Uint8Array(12)))).toMatchObject({
      dtype: 'F16',
      shape: [2, 3],
      columnMajor: true,
      bigEndian: true,
    });
  });

  it('of no, one and three dimensions, empty, and with bytes after the array', () => {
    expect(
      read(npyWithHeader("{'descr':'<f4','fortran_order':False,'shape':()}", new Uint8Array(4))).shape,
    ).toEqual([]);
    expect(read(npy('<f4', [2], new Uint8Array(9))).end).toBe(128 + 8);
    expect(read(npy('<f4', [5, 0, 2], new Uint8Array(0))).shape).toEqual([5, 0, 2]);
  });

  it.each(['<i4', '|b1', '<c8', '<U2', '|O', '<M8[ns]', '<f16'])('of %s, which is not used', descr => {
    expect(read(npy(descr, [2], new Uint8Array(64))).shape).toEqual([2]);
  });

  it('of a structured type', () => {
    const header =
      "{'descr': [('a', '<f4'), ('b', [('c', '<i4', (2, 3))])], 'fortran_order': False, 'shape': (3,)}";
    expect(read(npyWithHeader(header, new Uint8Array(24))).dtype).toBe('structured');
  });
});

describe('a malformed header is refused', () => {
  const fields = (more: string) => `{'descr': '<f4', 'fortran_order': False, 'shape': ${more}}`;
  const good = npy('<f4', [2, 3], new Uint8Array(24));
  it.each([
    ['another version', Buffer.from(good).fill(4, 6, 7), 'version is 4.0'],
    ['a wrong magic', Buffer.from(good).fill(0, 0, 1), 'NUMPY'],
    ['a length beyond the file', Buffer.from(good).fill(255, 8, 10), 'does not fit'],
    [
      'a header of more than 10000 bytes',
      npyWithHeader(fields('(1,)') + ' '.repeat(10_000), new Uint8Array(4)),
      '10000',
    ],
    ['an array cut short', good.subarray(0, -1), 'cut short'],
    ['no dictionary', npyWithHeader('hello'), "'{'"],
    ['an empty dictionary', npyWithHeader('{}'), 'lacks'],
    ['text after the end', npyWithHeader(`${fields('()')}x`, new Uint8Array(4)), 'the end'],
    ['a key twice', npyWithHeader(`{'shape': (1,), 'shape': (1,)}`), 'twice'],
    ['an unknown key', npyWithHeader(`{'__proto__': (1,)}`), '__proto__'],
    ['a number as shape', npyWithHeader(fields('7'), new Uint8Array(28)), "'('"],
    ['a number in brackets as shape', npyWithHeader(fields('(7)'), new Uint8Array(28)), "','"],
    ['a negative dimension', npyWithHeader(fields('(-1,)')), 'a dimension'],
    ['an expression as dimension', npyWithHeader(fields('(1+1,)'), new Uint8Array(8)), "','"],
    ['a dimension beyond 2^53', npyWithHeader(fields('(9007199254740993,)')), '2^53'],
    ['a dimension of 30 digits', npyWithHeader(fields(`(${'9'.repeat(30)},)`)), 'a dimension'],
    ['dimensions whose product wraps', npyWithHeader(fields('(4294967296, 4294967296)')), 'too large'],
    ['the same hidden by a 0', npyWithHeader(fields('(0, 4294967296, 4294967296)')), 'too large'],
    ['65 dimensions', npyWithHeader(fields(`(${'1,'.repeat(65)})`), new Uint8Array(4)), '65 dimensions'],
    ['a descr that is none', npyWithHeader("{'descr': '', 'fortran_order': False, 'shape': ()}"), 'descr'],
    [
      'a number as order',
      npyWithHeader("{'descr': '<f4', 'fortran_order': 0, 'shape': ()}"),
      'True or False',
    ],
    ['an open list as type', npyWithHeader("{'descr': [('a', '<f4')"), 'a type'],
  ])('%s', (_, bytes, ...words) => {
    throwsKind(() => read(bytes), 'FORMAT', 'test.npy', 'well-formed', ...words);
  });

  it('every cut of a good one', () => {
    for (let length = 0; length < good.length; length++) {
      throwsKind(() => read(good.subarray(0, length)), 'FORMAT');
    }
  });
});

const files = {
  'f4, used in place': npy('<f4', [V, D], bytesOf(weight)),
  'f4 in Fortran order': npy('<f4', [V, D], bytesOf(transposed), { fortran: true }),
  'f4, big-endian': npy('>f4', [V, D], swapped(bytesOf(weight), 4)),
  f8: npy('<f8', [V, D], bytesOf(double)),
  'f8, big-endian, in Fortran order': npy('>f8', [V, D], swapped(bytesOf(Float64Array.from(transposed)), 8), {
    fortran: true,
  }),
  'without an order of bytes': npy('f4', [V, D], bytesOf(weight)),
};

describe.each(backends)('a head from .npy, %s', backend => {
  it.each(Object.entries(files))('%s', async (_, bytes) => {
    const path = folder.file('e.npy', bytes);
    for (const mmap of [true, false]) {
      const head = await LMHead.open(path, { backend, mmap });
      expect([head.vocabSize, head.hiddenSize, head.dtype, head.tied]).toEqual([V, D, 'f32', true]);
      expect(head.embed(Array.from({ length: V }, (_, i) => i))).toEqual(weight);
      expectNear(head.logitsSync(hidden), products(hidden, weight, D));
    }
  });

  it('f2, little- and big-endian', () => {
    const bits = bytesOf(narrow(weight, 'f16'));
    const little = LMHead.openSync(folder.file('h.npy', npy('<f2', [V, D], bits)), { backend });
    const big = LMHead.openSync(folder.file('i.npy', npy('>f2', [V, D], swapped(bits, 2))), { backend });
    expect([little.dtype, big.dtype]).toEqual(['f16', 'f32']);
    expect(big.embed([2, 3])).toEqual(little.embed([2, 3]));
    expect(big.logitsSync(hidden)).toEqual(
      LMHead.from(little.embed(Array.from({ length: V }, (_, i) => i)), {
        vocabSize: V,
        hiddenSize: D,
        backend,
      }).logitsSync(hidden),
    );
  });

  it("[d,V] with layout 'dv', in either order", () => {
    for (const bytes of [
      npy('<f4', [D, V], bytesOf(transposed)),
      npy('<f4', [D, V], bytesOf(weight), { fortran: true }),
    ]) {
      const head = LMHead.openSync(folder.file('t.npy', bytes), { backend, layout: 'dv' });
      expect([head.vocabSize, head.hiddenSize]).toEqual([V, D]);
      expect(head.embed(Array.from({ length: V }, (_, i) => i))).toEqual(weight);
    }
  });

  it('of a matrix larger than what is converted at a time', () => {
    const numbers = Float64Array.from({ length: 1_200_000 }, (_, i) => i);
    const path = folder.file('l.npy', npy('<f8', [300_000, 4], bytesOf(numbers)));
    const head = LMHead.openSync(path, { backend });
    expect([...head.embed([262_143, 262_144, 299_999])]).toEqual([
      ...numbers.subarray(4 * 262_143, 4 * 262_145),
      ...numbers.subarray(4 * 299_999),
    ]);
  });

  it.each([
    ['int32', npy('<i4', [2, 3], new Uint8Array(24)), 'DTYPE', 'I32'],
    ['one dimension', npy('<f4', [6], new Uint8Array(24)), 'SHAPE', '[6]'],
    ['three dimensions', npy('<f4', [1, 2, 3], new Uint8Array(24)), 'SHAPE', '[1,2,3]'],
    ['no rows', npy('<f4', [0, 3], new Uint8Array(0)), 'SHAPE', '[0,3]'],
    ['float64 beyond float32', npy('<f8', [1, 2], bytesOf(Float64Array.of(1, 1e39))), 'RANGE', '1e+39'],
  ] as const)('not of %s', async (_, bytes, kind, word) => {
    const path = folder.file('n.npy', bytes);
    throwsKind(() => LMHead.openSync(path, { backend }), kind, 'n.npy', word);
    await rejectsKind(() => LMHead.open(path, { backend }), kind, 'n.npy', word);
  });

  it('and infinity stays infinity', () => {
    const path = folder.file('f.npy', npy('<f8', [1, 2], bytesOf(Float64Array.of(-Infinity, Number.NaN))));
    expect([...LMHead.openSync(path, { backend }).embed([0])]).toEqual([-Infinity, Number.NaN]);
  });
});

describeConformance('npy', "NumPy's own files", () => {
  interface Verdict {
    file: string;
    numpy: string;
    dtype?: string;
    shape?: number[];
    fortran?: boolean;
    sum?: number | null;
  }
  const cases = conformanceJson<Verdict[]>('npy/manifest.json');

  it('are 41', () => {
    expect(cases.length).toBe(41);
  });

  it.each(cases)('$file: $numpy', async ({ file, numpy, dtype, shape, sum }) => {
    const path = conformancePath(`npy/${file}`)!;
    if (numpy === 'reject') {
      throwsKind(() => read(readFileSync(path)), 'FORMAT');
      throwsKind(() => LMHead.openSync(path), 'FORMAT', file);
      await rejectsKind(() => LMHead.open(path), 'FORMAT', file);
      return;
    }
    expect(read(readFileSync(path)).shape).toEqual(shape);
    const isFloat = /^>?f(loat)?\d/.test(dtype!);
    if (isFloat && shape!.length === 2 && shape![0] > 0) {
      const head = LMHead.openSync(path);
      const numbers = head.embed(Array.from({ length: head.vocabSize }, (_, i) => i));
      expect(Math.abs(numbers.reduce((total, x) => total + x, 0) - sum!)).toBeLessThan(1e-5);
    } else {
      throwsKind(() => LMHead.openSync(path), shape!.length === 2 && shape![0] > 0 ? 'DTYPE' : 'SHAPE', file);
    }
  });
});
