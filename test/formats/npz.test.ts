/** NumPy's archives of arrays. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { backends } from '../support/backends';
import { bytesOf } from '../support/bytes';
import { throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { expectNear, products } from '../support/matrices';
import { npy } from '../support/npy';
import { someNumbers } from '../support/numbers';
import { zip } from '../support/zip';

const [V, D] = [11, 8];
const output = someNumbers(V * D, 1);
const embedding = someNumbers(V * D, 2);
const bias = someNumbers(V, 3);
const hidden = someNumbers(D, 4);
const folder = temporaryFolder();
const member = (name: string, shape: number[], numbers: Float32Array | Float64Array) =>
  [`${name}.npy`, npy(numbers instanceof Float32Array ? '<f4' : '<f8', shape, bytesOf(numbers))] as const;
const members = [
  member('lm_head.weight', [V, D], output),
  member('lm_head.bias', [V], bias),
  member('model.embed_tokens.weight', [V, D], embedding),
];

describe.each(backends)('an .npz, %s', backend => {
  it.each([
    ['stored', {}],
    ['deflated', { deflate: true }],
    ['of large ones', { zip64: true }],
  ])('%s', (_, options) => {
    const path = folder.file('a.npz', zip(members, options));
    for (const mmap of [true, false]) {
      const head = LMHead.openSync(path, { backend, mmap });
      expect([head.tied, head.dtype]).toEqual([false, 'f32']);
      expectNear(
        head.logitsSync(hidden),
        products(hidden, output, D).map((x, i) => x + bias[i]),
      );
      expect(head.embed([3])).toEqual(embedding.subarray(3 * D, 4 * D));
    }
  });

  it('of one array, or of the one that is named, in float64 and in Fortran order', () => {
    const one = LMHead.openSync(
      folder.file('one.npz', zip([member('arr_0', [V, D], Float64Array.from(output))])),
      { backend },
    );
    expectNear(one.logitsSync(hidden), products(hidden, output, D));
    const turned = new Float32Array(V * D);
    for (let i = 0; i < V; i++) for (let k = 0; k < D; k++) turned[k * V + i] = output[i * D + k];
    const fortran = npy('<f4', [V, D], bytesOf(turned), { fortran: true });
    const path = folder.file(
      'many.npz',
      zip([
        ['w.npy', fortran],
        ...Array.from({ length: 80 }, (_, i) => member(`x${i}`, [2, 2], output.slice(0, 4))),
      ]),
    );
    expectNear(
      LMHead.openSync(path, { backend, tensor: 'w' }).logitsSync(hidden),
      products(hidden, output, D),
    );
  });
});

it("a kernel of Flax's lies the other way round, and is not guessed at", () => {
  const kernel = new Float32Array(V * D);
  for (let i = 0; i < V; i++) for (let k = 0; k < D; k++) kernel[k * V + i] = output[i * D + k];
  const path = folder.file('flax.npz', zip([member('lm_head/kernel', [D, V], kernel)]));
  throwsKind(() => LMHead.openSync(path), 'TENSOR', 'lm_head/kernel', 'Flax', "layout: 'dv'");
  expectNear(LMHead.openSync(path, { layout: 'dv' }).logitsSync(hidden), products(hidden, output, D));
  expect(LMHead.openSync(path, { tensor: 'lm_head/kernel' }).vocabSize).toBe(D);
});

it('in a folder', () => {
  folder.file('model/weights.npz', zip(members));
  expect(LMHead.openSync(folder.path('model')).vocabSize).toBe(V);
});

describe('is refused', () => {
  const refused = (bytes: Uint8Array, ...words: string[]) =>
    throwsKind(() => LMHead.openSync(folder.file('bad.npz', bytes)), 'FORMAT', 'bad.npz', ...words);

  it('where it is cut short, or an array is none', () => {
    const good = zip(members);
    for (let length = 4; length < good.length; length += 11) refused(good.subarray(0, length));
    refused(zip([['a.npy', Buffer.from('no array')]]), 'a');
  });

  it('where a member is not what it says', () => {
    const deflated = zip([member('a', [V, D], output)], { deflate: true });
    const central = deflated.indexOf('PK\x01\x02');
    const changed = (offset: number, value: number) => {
      const bytes = Buffer.from(deflated);
      bytes.writeUInt32LE(value, central + offset);
      return bytes;
    };
    refused(changed(24, 2 ** 31), 'cannot have');
    refused(changed(24, 10), '"a"');
    refused(changed(24, 100_000), '"a"');
    refused(changed(42, deflated.length), 'cut short');
    const damaged = Buffer.from(deflated);
    damaged.fill(255, central - 40, central);
    refused(damaged, '"a"');
  });

  it('though it would be a billion zeros', () => {
    const zeros = new Uint8Array(20_000_000);
    const bomb = zip([['a.npy', zeros]], { deflate: true });
    const central = bomb.indexOf('PK\x01\x02');
    bomb.writeUInt32LE(1000, central + 24);
    refused(bomb, '"a"');
  });
});
