/** Which file of a folder has the weights. */
import { extname, join } from 'node:path';
import { LMHeadError } from '../errors';

const STANDARD = [
  ...['model.safetensors', 'model.safetensors.index.json'],
  ...['pytorch_model.bin', 'pytorch_model.bin.index.json'],
];
const EXTENSIONS = ['.safetensors', '.gguf', '.npy', '.npz', '.bin', '.pt', '.pth', '.onnx'];
/** What training leaves beside a model. */
const OF_TRAINING = /^(?:training_args|optimizer|scheduler|scaler|rng_state\w*)\./;
/** Weights in forms that are not read. */
const OTHERS = ['.ckpt', '.h5', '.msgpack'];
/** TensorFlow.js's weights: bare numbers, which model.json or weights_manifest.json describes. */
const OF_TENSORFLOW_JS = /^(?:weights_manifest\.json|group\d+-shard\d+of\d+(?:\.bin)?)$/;
const SHOWN = 4;

/** Names of the indexes that may list a file as a shard. */
export function indexNames(file: string): string[] {
  if (STANDARD.includes(file)) return [];
  const [, base, extension] = /^(.+)-\d{5}-of-\d{5}(\.safetensors|\.bin)$/i.exec(file) ?? [];
  const names = new Set(STANDARD.filter(name => name.endsWith('.index.json')));
  if (base !== undefined) names.add(`${base}${extension.toLowerCase()}.index.json`);
  return [...names];
}

/**
 * The snapshot in a hub's cache of a model.
 * @param main what the cache says of its main branch: a snapshot's name
 * @throws LMHeadError IO where there are several, and nothing says which
 */
export function snapshotIn(folder: string, names: readonly string[], main: string | undefined): string {
  if (main !== undefined && names.includes(main)) return main;
  if (names.length === 1) return names[0];
  throw noWeights(
    folder,
    `has ${names.length === 0 ? 'no snapshots' : `the snapshots ${shown(names)}, and no refs/main that says which`}`,
    'the path of one of them',
  );
}

/**
 * @param names of what is in the folder
 * @returns the file's path
 * @throws LMHeadError IO where there is none, or more than one
 */
export function weightsIn(folder: string, names: readonly string[]): string {
  const standard = STANDARD.find(name => names.includes(name));
  if (standard) return join(folder, standard);
  const shards = names.filter(name => OF_TENSORFLOW_JS.test(name));
  if (shards.length > 0) {
    throw noWeights(
      folder,
      `has weights of TensorFlow.js, which are not read (${shown(shards)})`,
      'the output matrix on its own, as .npy or .safetensors',
    );
  }
  for (const extension of EXTENSIONS) {
    const files = names.filter(
      name => extname(name).toLowerCase() === extension && !OF_TRAINING.test(name.toLowerCase()),
    );
    if (files.length === 1) return join(folder, files[0]);
    if (files.length > 1) {
      throw noWeights(
        folder,
        `has ${files.length} ${extension} files (${shown(files)})`,
        'the path of one of them',
      );
    }
  }
  const others = names.filter(name => OTHERS.includes(extname(name).toLowerCase()));
  if (others.length > 0) {
    throw noWeights(
      folder,
      `has weights only in a form that is not read (${shown(others)})`,
      'model.safetensors: most models are published in that form too, else convert them with safetensors.torch.save_file',
    );
  }
  const what = names.length === 0 ? 'is empty' : `has no weights in it, only ${shown(names)}`;
  throw noWeights(
    folder,
    what,
    `a folder with ${STANDARD.slice(0, 2).join(' or ')}, or with one ${EXTENSIONS.join(', ')} file`,
  );
}

function shown(names: readonly string[]): string {
  const more = names.length > SHOWN ? `, and ${names.length - SHOWN} more` : '';
  return names.slice(0, SHOWN).join(', ') + more;
}

function noWeights(folder: string, what: string, want: string): LMHeadError {
  return new LMHeadError('IO', `path: the folder ${folder} ${what}; want ${want}`);
}
