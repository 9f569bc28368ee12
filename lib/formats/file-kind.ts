/** What a file is, by its first bytes; and what to do with one that holds weights in a form that is not read. */
import { extname } from 'node:path';
import { LMHeadError } from '../errors';
import { LEGACY_MAGIC } from './pytorch';

export type FileKind = 'safetensors' | 'gguf' | 'npy' | 'index' | 'zip' | 'pytorch-legacy' | 'onnx';

/** So many bytes tell all kinds apart: of a tar archive those at 257. */
export const KIND_BYTES = 512;

const MAGICS: readonly [start: string, kind: FileKind][] = [
  ['GGUF', 'gguf'],
  ['\x93NUMPY', 'npy'],
  ['PK\x03\x04', 'zip'],
  ['PK\x05\x06', 'zip'],
  [LEGACY_MAGIC, 'pytorch-legacy'],
];

const BY_EXTENSION = new Map<string, FileKind>([
  ['.gguf', 'gguf'],
  ['.npy', 'npy'],
  ['.json', 'index'],
  ['.onnx', 'onnx'],
]);

/** A protocol buffer: field 1, the version of the format; then one of fields 2 to 8, since those that are empty are left out. */
const ONNX = Array.from({ length: 32 }, (_, version) =>
  [...'\x12\x1a\x22\x28\x32\x3a\x42'].map(tag => `\x08${String.fromCharCode(version)}${tag}`),
).flat();

const UNPACK = 'unpack it first';
const WEIGHTS = 'want a file of weights';
const CONVERT = 'convert it to .safetensors (in Python: safetensors.torch.save_file of its tensors)';

/** What else people have in the place of weights: how it begins, what it is, what to do. */
const FOREIGN: readonly [starts: readonly string[], what: string, want: string][] = [
  [
    ['version https://git-lfs'],
    'it is a Git-LFS pointer, which stands for the real file',
    '`git lfs pull` fetches that',
  ],
  [
    ['# xet version'],
    'it is a Xet pointer, which stands for the real file',
    '`git xet` or `hf download` fetches that',
  ],
  [
    ['/annex/objects/', '../.git/annex/', '.git/annex/'],
    'it is a git-annex pointer, which stands for the real file',
    '`git annex get` fetches that',
  ],
  [
    ['\x80\x02', '\x80\x03', '\x80\x04', '\x80\x05', '(dp', '(lp', 'ccollections\n', 'ctorch'],
    'it is a Python pickle, which can run any code',
    CONVERT,
  ],
  [['\x89HDF\r\n\x1a\n'], 'it is an HDF5 file, as Keras and TensorFlow write', CONVERT],
  [
    ['lmgg', 'fmgg', 'tjgg', 'algg'],
    'it is a GGML file of before GGUF',
    'convert it with the llama.cpp of that time',
  ],
  [['\x1f\x8b'], 'it is compressed by gzip', UNPACK],
  [['BZh'], 'it is compressed by bzip2', UNPACK],
  [['\xfd7zXZ\0'], 'it is compressed by xz', UNPACK],
  [['\x28\xb5\x2f\xfd'], 'it is compressed by zstd', UNPACK],
  [['7z\xbc\xaf\x27\x1c', 'Rar!\x1a\x07'], 'it is an archive', UNPACK],
  [['%PDF-', '\x89PNG\r\n', '\xff\xd8\xff'], 'it is a document or an image', WEIGHTS],
  [
    ['MZqFpD'],
    'it is a llamafile, a program with a model in it',
    'want the .gguf file, which `unzip` takes out of it',
  ],
  [['\x7fELF', 'MZ\x90'], 'it is a program', WEIGHTS],
  [['SQLite format 3\0', 'PAR1', 'ARROW1\0'], 'it is a table (SQLite, Parquet or Arrow)', WEIGHTS],
];

const LITE = ['it is a model for TensorFlow Lite', CONVERT] as const;
/** Of files whose first bytes are a number: what the next four are. */
const FOREIGN_AT_4 = new Map<string, readonly [what: string, want: string]>([
  ['TFL3', LITE],
  ['ORTM', ['it is a model for ONNX Runtime (ORT)', 'want the .onnx file that it was made of']],
  ['ET12', ['it is a program for ExecuTorch', CONVERT]],
]);

const WEB_PAGE = /^\s*(?:<!--|<!doctype\b|<html\b|<\?xml\b|<head\b|<body\b)/i;

/** What files are that nothing but their name tells. */
const FOREIGN_BY_NAME: readonly [name: RegExp, what: string, want: string][] = [
  [/\.onnx[._]data$/, 'it has the weights of an ONNX model', 'open the .onnx file beside it'],
  [/\.pb$/, 'it is a protocol buffer, as TensorFlow and ONNX write', CONVERT],
  [/\.tflite$/, ...LITE],
  [/\.mlmodel$/, 'it is a model for Core ML', CONVERT],
  [/\.(?:msgpack|flax)$/, 'it is a checkpoint of Flax', CONVERT],
  [/\.ckpt\.(?:index|meta|data-\d+-of-\d+)$/, 'it is a checkpoint of TensorFlow', CONVERT],
  [
    /(?:^tokenizer|\.spm|^sentencepiece.*)\.model$/,
    'it is a tokenizer (SentencePiece)',
    'want the file of weights beside it, or the folder',
  ],
];

/** How texts begin that are not written as plain bytes, and how they are. */
const MARKS: readonly [mark: string, encoding: 'utf-8' | 'utf-16le' | 'utf-16be'][] = [
  ['\xef\xbb\xbf', 'utf-8'],
  ['\xff\xfe', 'utf-16le'],
  ['\xfe\xff', 'utf-16be'],
];

/** The file's beginning as text, if it is one; no byte below the space is in texts but white space. */
function textOf(start: Uint8Array, bytes: string): { text: string; encoding?: string } | undefined {
  const [mark, encoding] = MARKS.find(([each]) => bytes.startsWith(each)) ?? ['', 'utf-8'];
  // The end may be in the middle of a character.
  const end = encoding === 'utf-8' ? bytes.replace(/[\xc2-\xf4][\x80-\xbf]*$/, '').length : start.length & ~1;
  try {
    const text = new TextDecoder(encoding, { fatal: true }).decode(start.subarray(mark.length, end));
    // biome-ignore lint/suspicious/noControlCharactersInRegex: their absence makes a text
    if (text === '' || /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(text)) return undefined;
    return { text, encoding: encoding === 'utf-8' ? undefined : 'UTF-16' };
  } catch {
    return undefined;
  }
}

/** What a file of words is. */
function textKind(start: Uint8Array, bytes: string): readonly [what: string, want: string] | undefined {
  const { text, encoding } = textOf(start, bytes) ?? {};
  if (text === undefined) return undefined;
  if (WEB_PAGE.test(text)) return ['it is a web page (a download that failed?)', 'download the file itself'];
  const begins = `begins with ${JSON.stringify(text.trimStart().slice(0, 40))}`;
  if (/^\s*[[{]/.test(text)) {
    return [
      `it is JSON and has no weights in it (it ${begins})`,
      'want the file of weights beside it, or the folder',
    ];
  }
  return [
    `it is a text file${encoding ? ` (${encoding})` : ''}, which ${begins}`,
    'want a file of weights (did a download fail?)',
  ];
}

/**
 * Which reader a file is for: its first bytes decide, then its name, and without either it is .safetensors.
 * @param name for messages
 * @throws LMHeadError FORMAT for what is known to be something else
 */
export function fileKind(name: string, start: Uint8Array): FileKind {
  if (start.length === 0)
    throw new LMHeadError(
      'FORMAT',
      `${name}: the file is empty; want a file of weights (did a download fail?)`,
    );
  const text = Buffer.from(start.buffer, start.byteOffset, start.byteLength).toString('latin1');
  const magic = MAGICS.find(([bytes]) => text.startsWith(bytes));
  if (magic) return magic[1];
  // Eight bytes of length, of which the upper four are 0, and then JSON: the length may begin as something else does.
  if (text.startsWith('\0\0\0\0', 4) && '{ \t\r\n'.includes(text.charAt(8))) return 'safetensors';
  const other = (what: string, want: string) => new LMHeadError('FORMAT', `${name}: ${what}; ${want}`);
  const named = FOREIGN_BY_NAME.find(([pattern]) => pattern.test(name.toLowerCase()));
  if (ONNX.some(bytes => text.startsWith(bytes))) {
    // All protocol buffers begin much the same.
    if (named) throw other(named[1], named[2]);
    return 'onnx';
  }
  for (const [starts, what, want] of FOREIGN) {
    if (starts.some(bytes => text.startsWith(bytes))) throw other(what, want);
  }
  const numbered = FOREIGN_AT_4.get(text.slice(4, 8));
  if (numbered) throw other(...numbered);
  if (text.startsWith('ustar', 257)) {
    throw /^(?:\.\/)?(?:sys_info|pickle|storages|tensors)\0/.test(text)
      ? other('it is a tar archive, as PyTorch wrote checkpoints before version 0.1.10', CONVERT)
      : other('it is a tar archive', UNPACK);
  }
  if (start.length >= 64 && /^\0{64}/.test(text)) {
    throw other('it begins with zeros (a download that is not finished?)', WEIGHTS);
  }
  const extension = extname(name).toLowerCase();
  const kind = BY_EXTENSION.get(extension);
  if (kind !== 'index') {
    const words = textKind(start, text);
    if (words) throw other(...words);
  }
  if (kind === undefined && named) throw other(named[1], named[2]);
  if (
    kind === undefined &&
    extension !== '.safetensors' &&
    start.length >= 8 &&
    !text.startsWith('\0\0\0\0', 4)
  ) {
    const bytes = Buffer.from(start.subarray(0, 8)).toString('hex');
    throw other(
      `it begins as no file of weights does (with the bytes ${bytes})`,
      'want .safetensors, .gguf, .npy, .npz or a PyTorch checkpoint',
    );
  }
  return kind ?? 'safetensors';
}
