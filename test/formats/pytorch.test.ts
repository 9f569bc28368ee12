/** PyTorch checkpoints: what torch.save writes is read, and of what else a pickle can hold nothing is done. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { readPickle } from '../../lib/formats/pickle';
import { backends } from '../support/backends';
import { bytesOf } from '../support/bytes';
import { throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { narrow } from '../support/half';
import { expectNear, products } from '../support/matrices';
import { someNumbers } from '../support/numbers';
import {
  type CheckpointTensor,
  checkpoint,
  legacyCheckpoint,
  op,
  pickle,
  tensorRecord,
} from '../support/pickle';
import { warningsOf } from '../support/warnings';
import { zip } from '../support/zip';

const [V, D] = [11, 8];
const output = someNumbers(V * D, 1);
const embedding = someNumbers(V * D, 2);
const hidden = someNumbers(D, 3);
const folder = temporaryFolder();

const floats = (name: string, shape: number[], numbers: Float32Array): CheckpointTensor => ({
  name,
  storage: 'FloatStorage',
  shape,
  bytes: bytesOf(numbers),
});
const parts = [
  floats('model.embed_tokens.weight', [V, D], embedding),
  floats('lm_head.weight', [V, D], output),
];
const row = (numbers: Float32Array, i: number) => numbers.subarray(i * D, (i + 1) * D);
function expectBoth(head: LMHead): void {
  expect([head.tied, head.vocabSize, head.hiddenSize]).toEqual([false, V, D]);
  expectNear(head.logitsSync(hidden), products(hidden, output, D));
  expect(head.embed([4])).toEqual(row(embedding, 4));
}

describe.each(backends)('a checkpoint, %s', backend => {
  const open = (name: string, bytes: Uint8Array, options = {}) =>
    LMHead.openSync(folder.file(name, bytes), { backend, ...options });

  it.each([
    ['pytorch_model.bin', checkpoint(parts)],
    ['a.pt', checkpoint(parts.map(part => ({ ...part, parameter: true })))],
    ['old.pth', legacyCheckpoint(parts)],
  ])('%s', (name, bytes) => {
    expectBoth(open(name, bytes));
    expectBoth(open(name, bytes, { mmap: false }));
  });

  it('of training has its model below a key', () => {
    for (const key of ['state_dict', 'model', 'anything']) {
      const wrap = (state: Buffer) =>
        Buffer.concat([op.emptyDict, op.mark, op.text('epoch'), op.int(3), op.text(key), state, op.setItems]);
      expectBoth(open('training.ckpt.pt', checkpoint(parts, { wrap })));
    }
  });

  it.each([
    ['HalfStorage', 'f16'],
    ['BFloat16Storage', 'bf16'],
    ['DoubleStorage', 'f32'],
  ] as const)('of %s', (storage, dtype) => {
    const bytes =
      storage === 'DoubleStorage' ? bytesOf(Float64Array.from(output)) : bytesOf(narrow(output, dtype));
    const head = open('types.pt', checkpoint([{ name: 'lm_head.weight', storage, shape: [V, D], bytes }]));
    expect(head.dtype).toBe(dtype);
    const basis = Float32Array.from({ length: D }, (_, k) => (k === 2 ? 1 : 0));
    const near = storage === 'DoubleStorage' ? 0 : 8e-3;
    head.logitsSync(basis).forEach((x, i) => {
      expect(Math.abs(x - output[i * D + 2])).toBeLessThanOrEqual(near);
    });
  });

  it('of views: rows of a larger one, and a transposed one', () => {
    const large = someNumbers(3 * V * D, 7);
    const rows = { ...floats('lm_head.weight', [V, D], large), offset: V * D };
    expectNear(
      open('view.pt', checkpoint([rows])).logitsSync(hidden),
      products(hidden, large.slice(V * D, 2 * V * D), D),
    );
    const turned = new Float32Array(V * D);
    for (let i = 0; i < V; i++) for (let k = 0; k < D; k++) turned[k * V + i] = output[i * D + k];
    const transposed = { ...floats('lm_head.weight', [V, D], turned), stride: [1, V] };
    expectNear(open('turned.pt', checkpoint([transposed])).logitsSync(hidden), products(hidden, output, D));
    const spread = { ...floats('lm_head.weight', [V, D], large), stride: [2 * D, 1] };
    throwsKind(() => open('spread.pt', checkpoint([spread])), 'DTYPE', 'lm_head.weight', 'strided');
    // Of a dimension of 1 the stride says nothing.
    const one = { ...floats('lm_head.weight', [1, D], output), stride: [77, 1] };
    expect(open('one.pt', checkpoint([one])).vocabSize).toBe(1);
  });

  it('whose tensors share their numbers is tied, without a word', async () => {
    const shared = parts.map(part => ({ ...part, key: '0', bytes: parts[0].bytes }));
    for (const bytes of [checkpoint(shared), legacyCheckpoint(shared)]) {
      const path = folder.file('shared.bin', bytes);
      const { result: head, warnings } = await warningsOf(() => LMHead.open(path, { backend }));
      expect([head.tied, warnings]).toEqual([true, []]);
      expect(head.embed([4])).toEqual(row(embedding, 4));
    }
  });

  it('of a big-endian machine', () => {
    const swapped = Buffer.from(bytesOf(output)).swap32();
    const bytes = checkpoint([{ ...parts[1], bytes: swapped }], { byteorder: 'big' });
    expectNear(open('big.pt', bytes).logitsSync(hidden), products(hidden, output, D));
  });

  it('in an archive with the records of large ones', () => {
    const members = [
      [
        'archive/data.pkl',
        pickle(op.emptyDict, op.text('lm_head.weight'), tensorRecord(parts[1]), op.setItem),
      ],
      ['archive/data/0', bytesOf(output)],
    ] as const;
    for (const options of [
      { zip64: true },
      { comment: 'a comment' },
      { zip64: true, comment: 'PK\x05\x06'.repeat(30) },
    ]) {
      expectNear(open('large.pt', zip(members, options)).logitsSync(hidden), products(hidden, output, D));
    }
  });
});

describe('a folder of them', () => {
  const config = JSON.stringify({
    model_type: 'llama',
    vocab_size: V,
    hidden_size: D,
    tie_word_embeddings: false,
  });

  it('opens, whatever training has left beside', () => {
    folder.file('one/pytorch_model.bin', checkpoint(parts));
    folder.file('one/training_args.bin', 'x');
    folder.file('one/config.json', config);
    expectBoth(LMHead.openSync(folder.path('one')));
    folder.file('other/weights.pt', checkpoint(parts));
    folder.file('other/optimizer.pt', 'x');
    folder.file('other/rng_state_0.pth', 'x');
    expectBoth(LMHead.openSync(folder.path('other')));
  });

  it('opens by its index, and each shard by its own name', () => {
    const names = ['pytorch_model-00001-of-00002.bin', 'pytorch_model-00002-of-00002.bin'];
    folder.file(`sharded/${names[0]}`, checkpoint([parts[0]]));
    folder.file(`sharded/${names[1]}`, legacyCheckpoint([parts[1]]));
    folder.file('sharded/config.json', config);
    const weight_map = { 'model.embed_tokens.weight': names[0], 'lm_head.weight': names[1] };
    folder.file('sharded/pytorch_model.bin.index.json', JSON.stringify({ weight_map }));
    for (const path of ['sharded', ...names.map(name => `sharded/${name}`)])
      expectBoth(LMHead.openSync(folder.path(path)));
  });
});

describe('a checkpoint is refused', () => {
  const refused = (bytes: Uint8Array, ...words: string[]) =>
    throwsKind(() => LMHead.openSync(folder.file('bad.pt', bytes)), 'FORMAT', 'bad.pt', ...words);
  const archive = (data: Uint8Array, more: [string, Uint8Array][] = []) =>
    zip([['m/data.pkl', data], ['m/data/0', bytesOf(output)], ...more]);

  it.each([
    ['os', 'system'],
    ['builtins', 'eval'],
    ['posix', 'system'],
    ['subprocess', 'Popen'],
    ['torch', 'load'],
    ['torch.nn.modules.linear', 'Linear'],
    ['collections', 'defaultdict'],
    ['numpy.core.multiarray', 'scalar'],
    ['torch._utils', '_rebuild_qtensor'],
  ])('that names %s.%s, by that name, before it does anything else', (module, name) => {
    const call = Buffer.concat([
      op.global(module, name),
      op.mark,
      op.text('echo no > /tmp/no'),
      op.tuple,
      op.reduce,
    ]);
    refused(archive(pickle(call)), `${module}.${name}`, 'not read');
    refused(archive(pickle(op.text(module), op.text(name), Buffer.of(0x93))), `${module}.${name}`);
  });

  it.each([
    ['INST', Buffer.from('(ios\nsystem\n')],
    ['OBJ', Buffer.from('o')],
    ['NEWOBJ', Buffer.of(0x81)],
    ['EXT1', Buffer.of(0x82, 1)],
    ['PERSID', Buffer.from('P1\n')],
    ['INT', Buffer.from('I1\n')],
    ['NEXT_BUFFER', Buffer.of(0x97)],
  ])('that has the opcode %s', (_, bytes) => {
    refused(archive(pickle(bytes)), 'opcode 0x', 'not read');
  });

  it.each([
    ['ends early', Buffer.from([0x80, 2, 0x58, 255, 255, 255, 127, 65])],
    ['ends early in a number', Buffer.from([0x80, 2, 0x4a, 1])],
    ['takes what is not there', pickle(op.tuple)],
    ['takes what is not there, below a mark', pickle(op.mark, op.setItem)],
    ['refers to what is not there', pickle(op.get(5))],
    ['remembers at an odd place', pickle(op.none, op.put(2 ** 31))],
    ['has a key without a value', pickle(op.emptyDict, op.mark, op.text('a'), op.setItems)],
    ['sets items of a number', pickle(op.int(1), op.int(2), op.int(3), op.setItem)],
    ['appends to a dictionary', pickle(op.emptyDict, op.int(1), op.append)],
    ['builds a number', pickle(op.int(1), op.emptyDict, op.build)],
    ['calls a number', pickle(op.int(1), op.emptyTuple, op.reduce)],
    ['calls with a number', pickle(op.global('torch', 'Size'), op.int(1), op.reduce)],
    ['leaves two values', pickle(op.int(1), op.int(2))],
    ['has a number of many bytes', pickle(Buffer.concat([Buffer.of(0x8a, 200), Buffer.alloc(200, 1)]))],
    ['has nothing', pickle(op.none)],
    ['has no tensors', pickle(op.emptyDict, op.text('a'), op.int(1), op.setItem)],
  ])('that %s', (_, bytes) => {
    refused(archive(bytes), 'PyTorch checkpoint', 'safetensors');
  });

  it.each([
    ['beyond its storage', { shape: [V + 1, D] }, 'beyond its storage'],
    ['at an offset beyond it', { offset: 1 }, 'beyond its storage'],
    ['of more numbers than there are bytes', { numbers: V * D + 1 }, 'cut short'],
    ['of a negative size', { shape: [-1, D], stride: [D, 1] }, 'not described'],
    ['of too many numbers', { shape: [2 ** 30, 2 ** 30], stride: [2 ** 30, 1] }, 'too large'],
    ['of other strides than dimensions', { stride: [1] }, 'not described'],
    ['of a storage that is not there', { key: '9' }, 'no bytes'],
    ['of a storage above it', { key: '../data.pkl' }, 'no bytes'],
    ['of 100 dimensions', { shape: Array(100).fill(1), stride: Array(100).fill(1) }, 'not described'],
  ] as [string, Partial<CheckpointTensor>, string][])('with a tensor %s', (_, change, word) => {
    const record = tensorRecord({ ...parts[1], key: '0', ...change });
    refused(
      archive(pickle(op.emptyDict, op.text('lm_head.weight'), record, op.setItem)),
      'lm_head.weight',
      word,
    );
  });

  it('where its archive is cut short, compressed, encrypted, a program, or something else', () => {
    const good = checkpoint(parts);
    for (let length = 4; length < good.length; length += 7) refused(good.subarray(0, length));
    refused(checkpoint(parts, { deflate: true }), 'compressed');
    const encrypted = Buffer.from(good);
    for (let at = good.indexOf('PK\x01\x02'); at >= 0; at = good.indexOf('PK\x01\x02', at + 1))
      encrypted[at + 8] |= 1;
    refused(encrypted, 'encrypted');
    refused(archive(pickle(op.emptyDict), [['m/constants.pkl', new Uint8Array(1)]]), 'TorchScript');
    refused(zip([['a.txt', Buffer.from('text')]]), 'ZIP archive', 'neither');
    refused(zip([]), 'neither');
    refused(
      zip([
        ['m/data.pkl', pickle(op.none)],
        ['m/data.pkl', pickle(op.none)],
      ]),
      'twice',
    );
    const legacy = legacyCheckpoint(parts);
    for (let length = 16; length < legacy.length; length += 7) refused(legacy.subarray(0, length));
  });

  it('of a member elsewhere', () => {
    const bytes = checkpoint([parts[1]]);
    bytes[bytes.lastIndexOf('m/data/0', bytes.indexOf('PK\x01\x02')) - 30] ^= 1;
    refused(bytes, 'lm_head.weight', 'not where it should be');
  });
});

describe('a hostile pickle takes time and memory in proportion to its length', () => {
  const values = (bytes: Buffer) =>
    readPickle(bytes, name => name === 'collections.OrderedDict' || name.startsWith('torch.'));

  it('though a billion things refer to one', () => {
    // Lists of two of the one before it, forty deep; dictionaries of ten.
    const doubled: Uint8Array[] = [op.emptyList, op.put(0)];
    for (let i = 0; i < 40; i++)
      doubled.push(op.emptyList, op.mark, op.get(i), op.get(i), op.appends, op.put(i + 1));
    const bytes = pickle(...doubled, op.mark, Buffer.from('1'), ...Array(40).fill(Buffer.from('0')));
    expect(values(bytes).value).toEqual([]);
    const maps: Uint8Array[] = [op.emptyDict, op.put(0)];
    for (let i = 0; i < 40; i++) {
      const items = Array.from({ length: 10 }, (_, j) => [op.int(j), op.get(i)]).flat();
      maps.push(op.emptyDict, op.put(i + 1), op.mark, ...items, op.setItems);
    }
    throwsKind(
      () =>
        LMHead.openSync(
          folder.file(
            'maps.pt',
            zip([
              [
                'm/data.pkl',
                pickle(...maps, ...Array(40).fill(Buffer.from('0')), op.get(40), Buffer.from('0')),
              ],
            ]),
          ),
        ),
      'FORMAT',
      'no dictionary of tensors',
    );
  });

  it('though it refers to itself, or nests a hundred thousand deep', () => {
    const itself = pickle(op.emptyDict, op.put(0), op.text('a'), op.get(0), op.setItem);
    throwsKind(() => LMHead.openSync(folder.file('self.pt', zip([['m/data.pkl', itself]]))), 'FORMAT');
    const deep = Buffer.concat([
      ...Array<Buffer>(100_000).fill(Buffer.concat([op.emptyDict, op.text('a')])),
      op.none,
      ...Array<Buffer>(100_000).fill(op.setItem),
    ]);
    throwsKind(() => LMHead.openSync(folder.file('deep.pt', zip([['m/data.pkl', pickle(deep)]]))), 'FORMAT');
    const parameters = Buffer.concat([
      ...Array<Buffer>(50_000).fill(
        Buffer.concat([op.global('torch._utils', '_rebuild_parameter'), op.mark]),
      ),
      op.none,
      ...Array<Buffer>(50_000).fill(Buffer.concat([op.tuple, op.reduce])),
    ]);
    const state = pickle(op.emptyDict, op.text('w'), parameters, op.setItem);
    throwsKind(
      () => LMHead.openSync(folder.file('parameters.pt', zip([['m/data.pkl', state]]))),
      'FORMAT',
      '"w"',
    );
  });

  it('though a long shape serves many tensors', () => {
    const shape = Buffer.concat([op.mark, ...Array<Buffer>(20_000).fill(op.int(1)), op.tuple, op.put(0)]);
    const one = tensorRecord({ ...parts[1], shape: [1] });
    const many = Array.from({ length: 2000 }, (_, i) => [op.text(`t${i}`), one]).flat();
    const long = Buffer.concat([
      op.global('torch._utils', '_rebuild_tensor_v2'),
      op.mark,
      op.none,
      op.int(0),
      op.get(0),
      op.get(0),
      op.tuple,
      op.reduce,
    ]);
    const bytes = pickle(
      shape,
      Buffer.from('0'),
      op.emptyDict,
      op.mark,
      ...many,
      op.text('x'),
      long,
      op.setItems,
    );
    throwsKind(
      () =>
        LMHead.openSync(
          folder.file(
            'shapes.pt',
            zip([
              ['m/data.pkl', bytes],
              ['m/data/0', bytesOf(output)],
            ]),
          ),
        ),
      'FORMAT',
      '"x"',
    );
  });
});
