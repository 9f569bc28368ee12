/** What a file is, by its first bytes; and what to do with one that holds weights in a form that is not read. */
import { extname } from 'node:path';
import { LMHeadError } from '../errors';
import { LEGACY_MAGIC } from './pytorch';

export type FileKind = 'safetensors' | 'gguf' | 'npy' | 'index' | 'zip' | 'pytorch-legacy' | 'onnx';

/** So many bytes tell all kinds apart. */
export const KIND_BYTES = 64;

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

const CONVERT = 'convert it to .safetensors (in Python: safetensors.torch.save_file of its tensors)';

/** What else people have in the place of weights: how it begins, what it is, what to do. */
const FOREIGN: readonly [starts: readonly string[], what: string, want: string][] = [
  [
    ['version https://git-lfs'],
    'it is a Git-LFS pointer, which stands for the real file',
    '`git lfs pull` fetches that',
  ],
  [
    ['\x80\x02', '\x80\x03', '\x80\x04', '\x80\x05'],
    'it is a Python pickle, which can run any code',
    CONVERT,
  ],
  [['\x89HDF\r\n\x1a\n'], 'it is an HDF5 file, as Keras and TensorFlow write', CONVERT],
  [
    ['lmgg', 'fmgg', 'tjgg', 'algg'],
    'it is a GGML file of before GGUF',
    'convert it with the llama.cpp of that time',
  ],
  [['\x1f\x8b'], 'it is compressed by gzip', 'unpack it first'],
  [
    ['<!doctype', '<!DOCTYPE', '<html', '<?xml'],
    'it is a web page (a download that failed?)',
    'download the file itself',
  ],
];

/** What files are that nothing but their name tells. */
const FOREIGN_BY_EXTENSION = new Map<string, readonly [what: string, want: string]>([
  ['.pb', ['it is a protocol buffer, as TensorFlow and ONNX write', CONVERT]],
  ['.tflite', ['it is a model for TensorFlow Lite', CONVERT]],
  ['.mlmodel', ['it is a model for Core ML', CONVERT]],
  ['.msgpack', ['it is a checkpoint of Flax', CONVERT]],
]);

/** As long as words are written, no byte below the space is in them but these. */
const TEXT = /^(?:[\t\n\r\x20-\x7e]|[\xc2-\xf4][\x80-\xbf]+)+$/;

/** What a file of words is. */
function textKind(text: string): readonly [what: string, want: string] | undefined {
  // The end may be in the middle of a character.
  if (!TEXT.test(text.replace(/[\xc2-\xf4][\x80-\xbf]*$/, '')) || text === '') return undefined;
  return /^\s*[[{]/.test(text)
    ? ['it is JSON and has no weights in it', 'want the file of weights beside it, or the folder']
    : [
        `it is a text file, which begins with ${JSON.stringify(text.slice(0, 24))}`,
        'want a file of weights (did a download fail?)',
      ];
}

/**
 * Which reader a file is for: its first bytes decide, then its name, and without either it is .safetensors.
 * @param name for messages
 * @throws LMHeadError FORMAT for what is known to be something else
 */
export function fileKind(name: string, start: Uint8Array): FileKind {
  const text = Buffer.from(start.buffer, start.byteOffset, start.byteLength).toString('latin1');
  const magic = MAGICS.find(([bytes]) => text.startsWith(bytes));
  if (magic) return magic[1];
  // Eight bytes of length, of which the upper four are 0, and then JSON: the length may begin as something else does.
  if (text.startsWith('\0\0\0\0', 4) && '{ \t\r\n'.includes(text.charAt(8))) return 'safetensors';
  if (ONNX.some(bytes => text.startsWith(bytes))) return 'onnx';
  for (const [starts, what, want] of FOREIGN) {
    if (starts.some(bytes => text.startsWith(bytes))) {
      throw new LMHeadError('FORMAT', `${name}: ${what}; ${want}`);
    }
  }
  const extension = extname(name).toLowerCase();
  const kind = BY_EXTENSION.get(extension);
  const foreign =
    (kind === 'index' ? undefined : textKind(text)) ??
    (kind === undefined ? FOREIGN_BY_EXTENSION.get(extension) : undefined);
  if (foreign) throw new LMHeadError('FORMAT', `${name}: ${foreign[0]}; ${foreign[1]}`);
  return kind ?? 'safetensors';
}
