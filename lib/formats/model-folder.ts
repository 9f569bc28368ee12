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
/** Beside a model: what is no model itself, though it may be all that there is. */
const BESIDE_A_MODEL = /^(?:mmproj|adapter_model|adapters|imatrix)\b|imatrix\.gguf$/i;
/** Weights in forms that are not read. */
const OTHERS = /\.(?:ckpt|ckpt\.index|h5|keras|msgpack|flax|pb|tflite|mlmodel|ot)$/i;
/** TensorFlow.js's weights: bare values, which model.json or weights_manifest.json describes. */
const OF_TENSORFLOW_JS = /^(?:weights_manifest\.json|group\d+-shard\d+of\d+(?:\.bin)?)$/;
const SHOWN = 4;
const MOST_SHARDS = 1000;

/** Of a shard: all before its number, how many there are, and what is behind that. */
const SHARD = /^(.+-)\d{5}-of-(\d{5})(\.\w+)$/i;
const INDEX = /\.(?:safetensors|bin)\.index(?:\.[\w-]+)?\.json$/;

/** Names of the indexes that may list a file as a shard. */
export function indexNames(file: string): string[] {
  if (STANDARD.includes(file)) return [];
  const names = new Set(STANDARD.filter(name => name.endsWith('.index.json')));
  const [, start, , extension] = SHARD.exec(file) ?? [];
  if (start === undefined) return [...names];
  const base = start.slice(0, -1);
  names.add(`${base}${extension.toLowerCase()}.index.json`);
  // Of a variant its name stands behind the model's in shards, and behind the index's: model.fp16-00001-of-00002, index.fp16.
  const [, model, variant] = /^(.+)\.([^.]+)$/.exec(base) ?? [];
  if (variant !== undefined) names.add(`${model}${extension.toLowerCase()}.index.${variant}.json`);
  return [...names];
}

/** All shards of the model that a file is one of, by their names; undefined where it is none. */
export function shardsBeside(file: string): string[] | undefined {
  const [, start, count, extension] = SHARD.exec(file) ?? [];
  if (!(Number(count) > 1 && Number(count) <= MOST_SHARDS)) return undefined;
  return Array.from(
    { length: Number(count) },
    (_, i) => `${start}${String(i + 1).padStart(5, '0')}-of-${count}${extension}`,
  );
}

/** Of shards the first alone, which leads to the others; of other files all. */
function withoutFollowers(files: readonly string[]): string[] {
  const all = new Set(files);
  return files.filter(file => {
    const [, start, count, extension] = SHARD.exec(file) ?? [];
    const first = start === undefined ? file : `${start}00001-of-${count}${extension}`;
    return file === first || !all.has(first);
  });
}

/** Is it one of the parts that Meta cuts a model into, each with some rows or columns of every matrix? */
export function isSlice(file: string, beside: readonly string[]): boolean {
  const slices = beside.filter(name => /^consolidated\.\d\d\.pth$/.test(name));
  return slices.length > 1 && slices.includes(file);
}

/**
 * The folder of the model in a hub's cache of models; undefined where it is no such cache.
 * @throws LMHeadError IO where there are several
 */
export function modelInCache(folder: string, names: readonly string[]): string | undefined {
  const models = names.filter(name => name.startsWith('models--'));
  if (models.length < 2) return models[0];
  throw noWeights(
    folder,
    `is a cache of ${models.length} models (${shown(models)})`,
    'the path of one of them',
  );
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
  const indexes = names.filter(name => INDEX.test(name));
  if (indexes.length === 1) return join(folder, indexes[0]);
  const shards = names.filter(name => OF_TENSORFLOW_JS.test(name));
  if (shards.length > 0) {
    throw noWeights(
      folder,
      `has weights of TensorFlow.js, which are not read (${shown(shards)})`,
      'the output matrix on its own, as .npy or .safetensors',
    );
  }
  for (const extension of EXTENSIONS) {
    const all = names.filter(
      name => extname(name).toLowerCase() === extension && !OF_TRAINING.test(name.toLowerCase()),
    );
    const models = all.filter(name => !BESIDE_A_MODEL.test(name));
    const files = withoutFollowers(models.length > 0 ? models : all);
    if (files.length === 1) return join(folder, files[0]);
    if (files.length > 1) {
      throw noWeights(
        folder,
        `has ${files.length} ${extension} files (${shown(files)})`,
        'the path of one of them',
      );
    }
  }
  const others = names.filter(name => OTHERS.test(name));
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
