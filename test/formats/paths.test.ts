/** What a path may point to: files of other kinds, folders, nothing; and what is said then. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import type { ErrorKind } from '../../lib/errors';
import { bytesOf } from '../support/bytes';
import { rejectsKind, throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { F32, gguf } from '../support/gguf';
import { npy } from '../support/npy';
import { expectClose, someNumbers } from '../support/numbers';
import { floats, safetensors, withHeader } from '../support/safetensors';

const folder = temporaryFolder();
const weight = someNumbers(6, 1);
const good = safetensors([floats('lm_head.weight', [3, 2], weight)]);
const goodGguf = gguf([{ name: 'output.weight', type: F32, shape: [3, 2], bytes: bytesOf(weight) }]);
const goodNpy = npy('<f4', [3, 2], bytesOf(weight));

/** Both ways to open refuse it alike. */
async function refuses(path: string, kind: ErrorKind, ...words: string[]): Promise<void> {
  const thrown = throwsKind(() => LMHead.openSync(path), kind, ...words);
  const rejected = await rejectsKind(() => LMHead.open(path), kind, ...words);
  expect(rejected.message).toBe(thrown.message);
}

describe('a file of another kind', () => {
  type Case = [what: string, name: string, bytes: string | Uint8Array, ...words: string[]];
  const cases: Case[] = [
    [
      'a Git-LFS pointer',
      'm.safetensors',
      'version https://git-lfs.github.com/spec/v1\noid sha256:0\n',
      'git lfs pull',
    ],
    [
      'a Git-LFS pointer for GGUF',
      'm.gguf',
      'version https://git-lfs.github.com/spec/v1\noid sha256:0\n',
      'Git-LFS',
    ],
    [
      'half a PyTorch checkpoint',
      'pytorch_model.bin',
      'PK\x03\x04\0\0\x08\x08archive/data.pkl',
      'PyTorch',
      'cut short',
    ],
    ['half an .npz', 'w.npz', 'PK\x03\x04\0\0\x08\x08arr_0.npy', '.npz', 'cut short'],
    ['a pickle', 'old.pt', Buffer.from('8002636f7264657265640a', 'hex'), 'pickle', 'safetensors'],
    [
      'an ONNX model that is cut short',
      'model.onnx',
      Buffer.from('\x08\x07\x12\x07pytorch\x1a\x05', 'latin1'),
      'no whole ONNX model',
      'byte 11',
    ],
    // Who wrote it is left out: next are the graph, the opsets it needs, or a text.
    ...['\x3a\xd6\x01', '\x42\x04', '\x32\x02'].map(
      (next): Case => [
        `an ONNX model whose second field begins ${JSON.stringify(next)}`,
        'm.onnx',
        Buffer.from(`\x08\x0a${next}\x0a\x7b\x0a\x01x\x12\x01`, 'latin1'),
        'no whole ONNX model',
      ],
    ),
    ['an HDF5 file', 'model.h5', Buffer.from('\x89HDF\r\n\x1a\n', 'latin1'), 'HDF5'],
    ['an old GGML file', 'ggml-model.bin', 'tjgg\x03\0\0\0', 'before GGUF'],
    ['something gzipped', 'm.safetensors', Buffer.from('1f8b0800000000000003', 'hex'), 'gzip'],
    ['a web page', 'm.safetensors', '<!DOCTYPE html><html>404</html>', 'web page'],
    ['an empty file', 'm.safetensors', '', 'empty'],
    ['an empty .gguf', 'm.gguf', '', 'cut short'],
    [
      'an ONNX model that says only its graph',
      'sha256-4567',
      Buffer.from('\x08\x0a\x3a\xa4\x03\x0a', 'latin1'),
      'no whole ONNX model',
    ],
    ['an ONNX model by its name alone', 'model.onnx', Buffer.from('12020a00', 'hex'), 'it has no graph'],
    ['a protocol buffer', 'saved_model.pb', Buffer.from('080112f701', 'hex'), 'ONNX'],
    ['another one', 'saved_model.pb', Buffer.from('0a0408011200', 'hex'), 'it is a protocol buffer'],
    ['a checkpoint of Flax', 'flax_model.msgpack', Buffer.from('84a57061726d73', 'hex'), 'Flax'],
    ['text', 'notes.txt', 'hello, this is text', 'it is a text', 'want a file of weights'],
    ['text in a name of weights', 'm.safetensors', 'größer als 8 Bytes', 'it is a text'],
    [
      'JSON in a name of weights',
      'm.safetensors',
      '{"architectures": ["LlamaForCausalLM"]}',
      'it is JSON',
      'beside it',
    ],
    ['JSON in a name of GGUF', 'm.gguf', '\n [1]', 'it is JSON'],
    ["another config's JSON", 'config.json', '{"model_type":"llama"}', 'no weight_map', 'the folder'],
  ];
  it.each(cases)('%s', async (_, name, bytes, ...words) => {
    await refuses(folder.file(name, bytes), 'FORMAT', name, ...words);
  });

  it('whose name says something else is taken for what it is', () => {
    const named = (name: string, bytes: Uint8Array) => LMHead.openSync(folder.file(name, bytes)).vocabSize;
    expect(named('sha256-0123', goodGguf)).toBe(3);
    expect(named('weights.bin', good)).toBe(3);
    expect(named('a.safetensors', goodNpy)).toBe(3);
  });

  it('is not what only the length of its header looks like', () => {
    // 0x0280 = 640 bytes begin as a pickle does, 0x8b1f as gzip, 0x120708 and 0x3a0708 as ONNX.
    const header = JSON.stringify({
      'lm_head.weight': { dtype: 'F32', shape: [3, 2], data_offsets: [0, 24] },
    });
    for (const length of [0x0280, 0x8b1f, 0x120708, 0x3a0708]) {
      const path = folder.file('m.safetensors', withHeader(header.padEnd(length), bytesOf(weight)));
      expect(LMHead.openSync(path).vocabSize).toBe(3);
    }
  });
});

describe('a path that leads to no file', () => {
  it('nothing', async () => {
    await refuses(folder.path('none.safetensors'), 'IO', 'no such file', 'none.safetensors');
    await refuses(join(folder.file('file', good), 'below'), 'IO', 'no such file');
  });

  it.runIf(process.platform === 'linux')('a device, and a pipe without a writer', async () => {
    await refuses('/dev/zero', 'IO', 'regular');
    const pipe = folder.path('pipe');
    execFileSync('mkfifo', [pipe]);
    await refuses(pipe, 'IO', 'regular');
  });

  it('a name with a NUL', async () => {
    await refuses('a\0b', 'IO', 'null bytes');
  });
});

describe('a folder', () => {
  it.each([
    ['that is empty', [], 'is empty', 'model.safetensors'],
    ['of other things', ['README.md', 'vocab.txt'], 'no weights', 'README.md, vocab.txt'],
    ['of what training leaves', ['training_args.bin', 'optimizer.pt'], 'no weights', 'training_args.bin'],
    ['of two PyTorch checkpoints', ['a.bin', 'b.bin'], '2 .bin files'],
    ['of a TensorFlow checkpoint', ['model.ckpt', 'config.json'], 'not read', 'model.ckpt', 'safetensors'],
    ['of two ONNX models', ['a.onnx', 'b.onnx'], '2 .onnx files'],
    [
      'with three files to choose from',
      ['a.gguf', 'b.gguf', 'c.GGUF'],
      '3 .gguf files',
      'a.gguf',
      'one of them',
    ],
    [
      'with shards without an index',
      ['a-1-of-2.safetensors', 'a-2-of-2.safetensors'],
      '2 .safetensors files',
    ],
  ] as [string, string[], ...string[]][])('%s', async (what, names, ...words) => {
    const name = what.replaceAll(' ', '-');
    folder.file(join(name, '.keep'), '');
    for (const file of names) folder.file(join(name, file), '');
    if (names.length === 0) execFileSync('rm', [folder.path(join(name, '.keep'))]);
    await refuses(folder.path(name), 'IO', name, ...words);
  });

  it('with model.safetensors beside others', () => {
    folder.file('several/model.safetensors', good);
    folder.file('several/consolidated.safetensors', '');
    folder.file('several/model.gguf', '');
    expect(LMHead.openSync(folder.path('several')).vocabSize).toBe(3);
    expect(LMHead.openSync(pathToFileURL(folder.path('several'))).vocabSize).toBe(3);
  });

  it('with one .gguf, or one .npy', () => {
    folder.file('one-gguf/model-f32.gguf', goodGguf);
    folder.file('one-npy/embedding.npy', goodNpy);
    expect(LMHead.openSync(folder.path('one-gguf')).vocabSize).toBe(3);
    expect(LMHead.openSync(`${folder.path('one-npy')}/`).vocabSize).toBe(3);
  });

  it("that is a hub's cache of a model leads to its snapshot", async () => {
    folder.file('hub/snapshots/abc/model.safetensors', good);
    folder.file('hub/blobs/0123', good);
    expect(LMHead.openSync(folder.path('hub')).vocabSize).toBe(3);
    folder.file(
      'hub/snapshots/def/model.safetensors',
      safetensors([floats('lm_head.weight', [2, 3], weight)]),
    );
    await refuses(folder.path('hub'), 'IO', 'abc, def', 'refs/main');
    folder.file('hub/refs/main', 'def\n');
    expect(LMHead.openSync(folder.path('hub')).vocabSize).toBe(2);
    expect((await LMHead.open(folder.path('hub'))).vocabSize).toBe(2);
  });
});

describe('consolidated.safetensors', () => {
  const tensors = [
    floats('tok_embeddings.weight', [3, 2], weight),
    floats(
      'output.weight',
      [3, 2],
      weight.map(x => -x),
    ),
    floats('norm.weight', [2], Float32Array.of(2, 3)),
  ];
  const h = Float32Array.of(0.5, -1);

  it('is described by params.json', () => {
    folder.file('mistral/consolidated.safetensors', safetensors(tensors));
    folder.file('mistral/params.json', '{"dim":2,"n_layers":1,"vocab_size":3,"norm_eps":0.25}');
    folder.file('mistral/config.json', '{"model_type":"gemma","hidden_size":2}'); // of another form
    const head = LMHead.openSync(folder.path('mistral'));
    const scale = 1 / Math.sqrt((0.25 + 1) / 2 + 0.25);
    const [a, b] = [0.5 * scale * 2, -1 * scale * 3];
    expectClose(
      head.logitsSync(h, { norm: true }),
      [0, 2, 4].map(i => -(a * weight[i] + b * weight[i + 1])),
      { absolute: 1e-6 },
    );
    expect([head.tied, ...head.embed([1])]).toEqual([false, weight[2], weight[3]]);
  });

  it.each([
    ['{"dim":3,"norm_eps":1e-5}', 'SHAPE', 'params.json'],
    ['{"dim":2.5}', 'FORMAT', 'dim'],
    ['{"dim":2,"norm_eps":-1}', 'FORMAT', 'norm_eps'],
    ['{"dim":2,"tied_embeddings":1}', 'FORMAT', 'tied_embeddings'],
  ] as [string, ErrorKind, string][])('with %s is refused', async (text, kind, word) => {
    folder.file('mistral/params.json', text);
    await refuses(folder.path('mistral'), kind, word);
  });

  it("has a vocabulary of -1 where Meta's had none yet", () => {
    folder.file('mistral/params.json', '{"dim":2,"vocab_size":-1,"norm_eps":1e-5}');
    expect(LMHead.openSync(folder.path('mistral')).vocabSize).toBe(3);
  });
});
