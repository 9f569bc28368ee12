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
import { warningsOf } from '../support/warnings';
import { zip } from '../support/zip';

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

const utf16 = (text: string) => Buffer.from(`\ufeff${text}`, 'utf16le');
function tar(name: string): Buffer {
  const header = Buffer.alloc(1024);
  header.write(name);
  header.write('ustar', 257);
  return header;
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
    ['an empty .gguf', 'm.gguf', '', 'empty'],
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
    ['text in UTF-16', 'm.gguf', utf16('Access denied'), 'it is a text file (UTF-16)', '"Access denied"'],
    ['text in UTF-16, big-endian', 'm.npz', utf16('Access denied').swap16(), 'it is a text file (UTF-16)'],
    ['text behind a mark', 'm.bin', '\ufeffAccess denied', 'it is a text file', '"Access denied"'],
    [
      'JSON of an error',
      'm.gguf',
      '\ufeff{"error":"Repository not found"}',
      'it is JSON',
      'Repository not found',
    ],
    ['a page behind lines', 'm.bin', '\n\n<!DOCTYPE html>\n<title>Log in</title>', 'it is a web page'],
    [
      'a page in capitals',
      'm.npz',
      '<HTML><BODY>403</BODY></HTML>',
      'it is a web page',
      'download the file itself',
    ],
    ['a page behind a mark and a comment', 'm.gguf', '\ufeff<!-- saved --><html></html>', 'it is a web page'],
    ['a page in UTF-16', 'm.bin', utf16('<html></html>'), 'it is a web page'],
    ['a Git-LFS pointer of Windows', 'm.npz', 'version https://git-lfs.github.com/spec/v1\r\noid', 'Git-LFS'],
    ['a Xet pointer', 'm.safetensors', "# xet version 0\nfilesize = 1234\nhash = 'abc'\n", 'Xet pointer'],
    ['a git-annex pointer', 'm.bin', '/annex/objects/SHA256E-s1--0.bin\n', 'git-annex', 'git annex get'],
    ...['m.gguf', 'm.bin', 'm.npz', 'm.npy', 'm.pt'].flatMap((name): Case[] => [
      [`${name} that is empty`, name, '', 'the file is empty', 'did a download fail?'],
      [`${name} of zeros`, name, new Uint8Array(4096), 'begins with zeros', 'not finished'],
    ]),
    ['bzip2', 'm.bin', `BZh91AY&SY${'\x07'.repeat(40)}`, 'bzip2', 'unpack'],
    ['xz', 'm.safetensors', Buffer.from('fd377a585a0000000000', 'hex'), 'xz', 'unpack'],
    ['zstd', 'm.safetensors', Buffer.from('28b52ffd0401020304050607', 'hex'), 'zstd', 'unpack'],
    ['7-Zip', 'm.safetensors', Buffer.from('377abcaf271c000400', 'hex'), 'an archive', 'unpack'],
    ['a tar archive', 'm.bin', tar('model.safetensors'), 'it is a tar archive; unpack'],
    [
      'a checkpoint of old in a tar archive',
      'm.pth',
      tar('sys_info'),
      'tar archive, as PyTorch wrote',
      'safetensors',
    ],
    ['a PDF', 'm.safetensors', '%PDF-1.4\n', 'a document'],
    ['a PNG', 'm.bin', Buffer.from('89504e470d0a1a0a0000', 'hex'), 'an image'],
    ['a llamafile', 'm.llamafile', "MZqFpD='\n\0\0", 'llamafile', 'unzip'],
    ['a program', 'm.bin', Buffer.from('7f454c460201010000', 'hex'), 'a program'],
    ['a table', 'm.bin', 'PAR1\x15\x04\x15\x10', 'Parquet'],
    ['TensorFlow Lite by its bytes', 'm.bin', Buffer.from('\x1c\0\0\0TFL3\0\0', 'latin1'), 'TensorFlow Lite'],
    ['ONNX Runtime by its bytes', 'm.bin', Buffer.from('\x1c\0\0\0ORTM\0\0', 'latin1'), 'ONNX Runtime'],
    ["ONNX's weights", 'model.onnx_data', Buffer.from('b58906bff393cf3d', 'hex'), 'weights of an ONNX model'],
    ['a model for Core ML', 'm.mlmodel', Buffer.from('08011200', 'hex'), 'Core ML'],
    ['another checkpoint of Flax', 'm.flax', Buffer.from('84a57061726d73', 'hex'), 'Flax'],
    [
      'a checkpoint of TensorFlow',
      'm.ckpt.data-00000-of-00001',
      Buffer.from('b58906bff393cf3d', 'hex'),
      'TensorFlow',
    ],
    ['a tokenizer of SentencePiece', 'tokenizer.model', '\n\x0e\n\x05<unk>', 'tokenizer', 'beside it'],
    [
      'a tokenizer',
      'tokenizer.json',
      '{"version":"1.0","added_tokens":[],"model":{}}',
      'is a tokenizer',
      'weight_map',
    ],
    [
      'bytes of nothing known',
      'm.bin',
      Buffer.from('b58906bff393cf3d00', 'hex'),
      'b58906bff393cf3d',
      'want .safetensors',
    ],
    ['an old pickle', 'm.pt', "(dp0\nS'a'\np1\nI1\ns.", 'pickle'],
    [
      'an archive of something else',
      'm.npz',
      zip([['readme.txt', Buffer.from('hi')]]),
      '"readme.txt"',
      'neither',
    ],
    [
      'GGUF, version 1',
      'm.gguf',
      Buffer.from('GGUF\x01\0\0\0'.padEnd(40, '\0')),
      'version is 1',
      'convert the model again',
    ],
    ['half a header', 'm.bin', good.subarray(0, 40), 'it has been cut short'],
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
    ...['tf_model.h5', 'saved_model.pb', 'flax_model.msgpack', 'm.tflite', 'model.ckpt.index'].map(
      (name): [string, string[], ...string[]] => [`with nothing but ${name}`, [name], 'not read', name],
    ),
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

  it('with a .gguf beside its projector', () => {
    folder.file('projected/model-f32.gguf', goodGguf);
    folder.file('projected/mmproj-model-f16.gguf', '');
    expect(LMHead.openSync(folder.path('projected')).vocabSize).toBe(3);
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
    expect(LMHead.openSync(folder.path('hub/snapshots')).vocabSize).toBe(2);
  });

  it('that is a cache of one model leads to it, of several not', async () => {
    folder.file('cache/models--a--b/snapshots/abc/model.safetensors', good);
    folder.file('cache/version.txt', '1');
    expect(LMHead.openSync(folder.path('cache')).vocabSize).toBe(3);
    folder.file('cache/models--c--d/snapshots/abc/model.safetensors', good);
    await refuses(folder.path('cache'), 'IO', 'a cache of 2 models (models--a--b, models--c--d)');
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

  it.each(['model.safetensors', 'other.safetensors', 'consolidated.safetensors'])(
    'and so is %s alone',
    name => {
      folder.file(`params-${name}/${name}`, safetensors(tensors));
      folder.file(`params-${name}/params.json`, '{"dim":2,"vocab_size":3,"norm_eps":0.25}');
      const head = LMHead.openSync(folder.path(`params-${name}`));
      expect([head.tied, head.logitsSync(h, { norm: true })[0]]).toEqual([false, expect.any(Number)]);
    },
  );

  it('is untied where params.json has no word on it, as those have', async () => {
    folder.file('untied/consolidated.safetensors', safetensors([tensors[0], tensors[2]]));
    folder.file('untied/params.json', '{"dim":2,"vocab_size":3,"norm_eps":0.25}');
    const { warnings } = await warningsOf(() => LMHead.open(folder.path('untied')));
    expect(warnings).toEqual([expect.stringContaining('according to params.json')]);
  });

  it("with Mistral's scales of FP8", () => {
    const fp8 = {
      name: 'output.weight',
      dtype: 'F8_E4M3',
      shape: [3, 2],
      bytes: new Uint8Array(6).fill(0x38),
    };
    const scale = floats('output.qscale_weight', [1], Float32Array.of(0.5));
    folder.file('fp8/consolidated.safetensors', safetensors([tensors[0], fp8, scale, tensors[2]]));
    folder.file('fp8/params.json', '{"dim":2,"vocab_size":3,"norm_eps":0.25}');
    expect([...LMHead.openSync(folder.path('fp8')).logitsSync(h)]).toEqual([-0.25, -0.25, -0.25]);
  });

  it("has a vocabulary of -1 where Meta's had none yet", () => {
    folder.file('mistral/params.json', '{"dim":2,"vocab_size":-1,"norm_eps":1e-5}');
    expect(LMHead.openSync(folder.path('mistral')).vocabSize).toBe(3);
  });
});
