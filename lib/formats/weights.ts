/** From a path to tensors: whichever format the file has, and whether it is one of several, or in a model's folder. */
import { basename, dirname, join } from 'node:path';
import { LMHeadError } from '../errors';
import type { FileKind } from './file-kind';
import { type GgufHeader, readGguf } from './gguf';
import { ggufFacts } from './gguf-facts';
import { ggufParts } from './gguf-parts';
import { isOutput } from './head-names';
import { JsonScanner, type JsonValue } from './json-scanner';
import { describesModel, endsWithTokenizer, factsOf, quantizationOf } from './model-config';
import type { ModelFacts } from './model-facts';
import { indexNames, isSlice, modelInCache, shardsBeside, snapshotIn, weightsIn } from './model-folder';
import { readNpy } from './npy';
import { isNpz, readNpz } from './npz';
import { readOnnx } from './onnx/onnx';
import { describesParams, factsOfParams } from './params';
import { isCheckpoint, readPytorchLegacy, readPytorchZip } from './pytorch';
import { type FilePlan, look, notAFile, type Plan, readText, within } from './read-plan';
import { readSafetensors } from './safetensors';
import { savedFacts } from './saved-head';
import { nameQuantized } from './saved-quantized';
import { readShardIndex } from './shard-index';
import { isMlx, kindOf, readDirectory, readShard, readShards, shardsOf, twice } from './shards';
import type { HeadTensors } from './tensor-names';
import { quoted, type TensorTable } from './tensor-table';
import { addedTokensSize, tokenizerConfigSize, tokenizerSize } from './tokenizer-size';
import type { ZipMember } from './zip';

/** The tensors at a path, and what is said of them. */
export interface Weights {
  /** The file's name, for messages. */
  name: string;
  tensors: TensorTable;
  /** The file that has that tensor. */
  pathOf(tensor: string): string;
  /** Files in memory, by the tensor that they are of: where the one on the disk is compressed. */
  unpacked?: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
  facts?: ModelFacts;
  /** Names of all that there is, where `tensors` are only what by their names can be a head's. */
  names?: readonly string[];
  /** The one tensor of a file that can hold no more. */
  only?: string;
  /** The head's tensors, of a file that says itself which they are. */
  head?: HeadTensors;
}

/** Tokenizers of large vocabularies have tens of megabytes. */
const MOST_TOKENIZER_BYTES = 250_000_000;

/**
 * The file at a path, or in the folder that is there.
 * @throws LMHeadError IO where there is none, or several
 */
export function* weightsFile(path: string): Plan<{ file: string; size: number }> {
  let found = yield* look(path);
  let file = path;
  if (found.kind === 'folder') {
    const folder = yield* modelFolder(path, found.names);
    file = weightsIn(folder.path, folder.names);
    found = yield* look(file);
  }
  if (found.kind !== 'file') throw notAFile(file, found);
  return { file, size: found.size };
}

/**
 * @param path a file of weights, an index of several, or a folder with either
 * @param wanted a tensor that is to be found whatever its name
 * @param askTokenizer where a model's config is beside the weights, look into its tokenizer for the size of the vocabulary
 */
export function* readWeights(path: string, wanted: string | undefined, askTokenizer: boolean): Plan<Weights> {
  const { file, size } = yield* weightsFile(path);
  const name = basename(file);
  const pathOf = () => file;
  const kind = yield* kindOf(file, size);
  switch (kind) {
    case 'gguf': {
      const header = yield* within(file, size, bytes => readGguf(name, bytes));
      return { name, ...(yield* readParts(dirname(file), name, header)) };
    }
    case 'npy': {
      const only = 'array';
      const entry = yield* within(file, size, bytes => readNpy(name, bytes));
      return { name, tensors: new Map([[only, entry]]), pathOf, only };
    }
    case 'onnx':
      return { name, ...(yield* readOnnx(file, size, wanted)) };
    case 'index': {
      const shards = yield* within(file, size, bytes => readShardIndex(name, bytes));
      return { name, ...(yield* readIndexed(file, shards, wanted, askTokenizer)) };
    }
  }
  // Of the others any may be one of several.
  const indexed = yield* indexOf(file);
  if (indexed) return { name, ...(yield* readIndexed(file, indexed, wanted, askTokenizer, name)) };
  if (/^consolidated\.\d\d\.pth$/.test(name)) yield* requireWhole(file);
  const siblings = shardsBeside(name);
  if (siblings && !(yield* isSavedHead(file, kind)))
    return yield* readSiblings(file, siblings, wanted, askTokenizer);
  switch (kind) {
    case 'zip':
      return yield* readArchive(file, size, wanted, askTokenizer);
    case 'pytorch-legacy': {
      const tensors = yield* within(file, size, bytes => readPytorchLegacy(name, bytes));
      return { name, tensors, pathOf, facts: yield* modelFacts(file, askTokenizer) };
    }
    default: {
      const { tensors, metadata } = yield* within(file, size, bytes => readSafetensors(name, bytes));
      nameQuantized(tensors, metadata, name);
      const saved = savedFacts(metadata, name);
      if (saved) return { name, tensors, pathOf, facts: saved };
      const facts = yield* modelFacts(file, askTokenizer);
      return { name, tensors, pathOf, facts: isMlx(metadata) ? factsInMlx(facts) : facts };
    }
  }
}

/** A head of this library's own, which is whole whatever its name. */
function* isSavedHead(file: string, kind: FileKind): Plan<boolean> {
  if (kind !== 'safetensors') return false;
  const { metadata } = yield* readShard(file);
  return savedFacts(metadata, basename(file)) !== undefined;
}

/** A PyTorch checkpoint, or an archive of NumPy's arrays. */
function* readArchive(
  file: string,
  size: number,
  wanted: string | undefined,
  askTokenizer: boolean,
): Plan<Weights> {
  const name = basename(file);
  const members = yield* within(file, size, bytes => readDirectory(name, bytes));
  const facts = yield* modelFacts(file, askTokenizer);
  const pathOf = () => file;
  if (isCheckpoint(members)) {
    const tensors = yield* within(file, size, bytes => readPytorchZip(name, bytes, members));
    return { name, tensors, pathOf, facts };
  }
  if (!isNpz(members)) {
    throw new LMHeadError(
      'FORMAT',
      `${name}: it is a ZIP archive of ${contents(members)}, but neither a PyTorch checkpoint nor an .npz; want the file of weights that is in it`,
    );
  }
  const arrays = yield* within(file, size, bytes => readNpz(name, bytes, members, wanted));
  return { name, ...arrays, pathOf, facts };
}

/** What is in an archive, for messages. */
function contents(members: ReadonlyMap<string, ZipMember>): string {
  const shown = [...members.keys()].slice(0, 3).map(quoted);
  if (members.size > shown.length) shown.push('…');
  return shown.join(', ') || 'nothing';
}

/** Where in a folder the model is: in a hub's cache, that is the snapshot that its main branch leads to. */
function* modelFolder(path: string, names: string[]): Plan<{ path: string; names: string[] }> {
  if (basename(path) === 'snapshots') return yield* modelFolder(dirname(path), ['snapshots']);
  const model = modelInCache(path, names);
  if (model !== undefined) {
    const found = yield* look(join(path, model));
    if (found.kind === 'folder') return yield* modelFolder(join(path, model), found.names);
  }
  if (!names.includes('snapshots')) return { path, names };
  const snapshots = yield* look(join(path, 'snapshots'));
  if (snapshots.kind !== 'folder') return { path, names };
  const main = yield* readBeside(join(path, 'refs'), 'main', 1000, bytes =>
    Buffer.from(bytes).toString().trim(),
  );
  const snapshot = join(path, 'snapshots', snapshotIn(path, snapshots.names, main));
  const found = yield* look(snapshot);
  return found.kind === 'folder' ? { path: snapshot, names: found.names } : { path, names };
}

/** The index beside a file that says which shard of a model this is. */
function* indexOf(file: string): Plan<Map<string, string> | undefined> {
  for (const index of indexNames(basename(file))) {
    const path = join(dirname(file), index);
    const found = yield* look(path);
    if (found.kind !== 'file') continue;
    const shards = yield* within(path, found.size, size => readShardIndex(index, size));
    if ([...shards.values()].includes(basename(file))) return shards;
  }
  return undefined;
}

/**
 * A file whose name says that it is one of several, which no index describes: what they have is read from those that are there.
 * @throws LMHeadError IO where the output may be in one that is not
 */
function* readSiblings(
  file: string,
  siblings: readonly string[],
  wanted: string | undefined,
  askTokenizer: boolean,
): Plan<Weights> {
  const name = basename(file);
  const { shards, missing } = yield* shardsOf(dirname(file), siblings);
  const weights = yield* readIndexed(file, shards, wanted, askTokenizer, name);
  const whole = missing.length === 0 || wanted !== undefined || weights.facts?.tied === true;
  if (whole || [...shards.keys()].some(isOutput)) return { name, ...weights };
  throw new LMHeadError(
    'IO',
    `path: ${file} is one of ${siblings.length} files of a model, and has no output matrix; want ${missing[0]} beside it, too`,
  );
}

/** @throws LMHeadError FORMAT for one of the parts that a model was cut into for several devices */
function* requireWhole(file: string): Plan<void> {
  const beside = yield* look(dirname(file));
  if (beside.kind !== 'folder' || !isSlice(basename(file), beside.names)) return;
  throw new LMHeadError(
    'FORMAT',
    `${basename(file)}: it has a part of every matrix, as a model has it that is cut for several devices (model parallel); want the model in one piece, as .safetensors`,
  );
}

/** @param own the shard that was named, where it was one: others need not be there for what can be done without */
function* readIndexed(
  file: string,
  shards: Map<string, string>,
  wanted: string | undefined,
  askTokenizer: boolean,
  own?: string,
): Plan<Pick<Weights, 'tensors' | 'pathOf' | 'facts' | 'names'>> {
  const { mlx, ...weights } = yield* readShards(dirname(file), shards, wanted, own);
  const facts = yield* modelFacts(file, askTokenizer);
  return { ...weights, names: [...shards.keys()], facts: mlx ? factsInMlx(facts) : facts };
}

/** What is left to do where mlx-lm's converter has written a part of it into the weights. */
function factsInMlx(facts: ModelFacts | undefined): ModelFacts | undefined {
  if (facts === undefined) return undefined;
  const left: ModelFacts = {
    ...facts,
    atWidth: facts.atWidth && (size => factsInMlx(facts.atWidth!(size))!),
  };
  if (facts.inMlx === 'unitRows') left.unitRows = undefined;
  if (facts.inMlx === 'offset' && facts.norm) left.norm = { ...facts.norm, offset: 0 };
  if (facts.inMlx === 'scales') {
    left.embeddingScale = undefined;
    // A matrix that is both has the embedding's.
    left.logitScale = facts.tied ? facts.logitScale! / facts.embeddingScale! : undefined;
  }
  return left;
}

/** The tensors of a GGUF file, of all its parts if it has several. */
function* readParts(
  folder: string,
  name: string,
  header: GgufHeader,
): Plan<Pick<Weights, 'tensors' | 'pathOf' | 'facts'>> {
  const tensors: TensorTable = new Map();
  const paths = new Map<string, string>();
  let facts: ModelFacts | undefined;
  for (const part of ggufParts(name, header.metadata)) {
    const path = join(folder, part);
    const read = part === name ? header : yield* readFile(path, readGguf);
    facts ??= ggufFacts(read.metadata, part);
    for (const [tensor, entry] of read.tensors) {
      if (tensors.has(tensor)) throw twice(part, tensor);
      tensors.set(tensor, entry);
      paths.set(tensor, path);
    }
  }
  return { tensors, pathOf: tensor => paths.get(tensor)!, facts };
}

/** Follows a reader of a file's header. */
function* readFile<T>(path: string, reader: (name: string, size: number) => FilePlan<T>): Plan<T> {
  const found = yield* look(path);
  if (found.kind !== 'file') throw notAFile(path, found);
  yield* kindOf(path, found.size); // which may be a Git-LFS pointer
  return yield* within(path, found.size, size => reader(basename(path), size));
}

/** What config.json says, if there is one, and the tokenizer's files beside it. */
function* modelFacts(file: string, askTokenizer: boolean): Plan<ModelFacts | undefined> {
  const folder = dirname(file);
  // As Mistral and Meta publish a model beside its form for transformers.
  if (basename(file).startsWith('consolidated')) {
    const params = yield* readJson(folder, 'params.json');
    if (params !== undefined && describesParams(params)) return factsOfParams(params, 'params.json');
  }
  const config = yield* readJson(folder, 'config.json');
  if (config === undefined) {
    const params = yield* readJson(folder, 'params.json');
    return params !== undefined && describesParams(params) ? factsOfParams(params, 'params.json') : undefined;
  }
  if (!describesModel(config)) return undefined;
  const facts = factsOf(config, 'config.json');
  if (facts.quantization === undefined) {
    const quantize = yield* readJson(folder, 'quantize_config.json');
    if (quantize instanceof Map) facts.quantization = quantizationOf(quantize);
  }
  if (!askTokenizer || !endsWithTokenizer(facts)) return facts;
  const size = yield* readBeside(folder, 'tokenizer.json', MOST_TOKENIZER_BYTES, tokenizerSize);
  if (!size) return facts;
  // Tokens that were added later stand in files of their own, and not always in that one.
  const added = yield* readBeside(folder, 'added_tokens.json', undefined, addedTokensSize);
  const decoder = yield* readBeside(folder, 'tokenizer_config.json', undefined, tokenizerConfigSize);
  const whole = Math.max(size, added ?? 0, decoder ?? 0);
  if (whole < (facts.vocabSize ?? Infinity)) {
    facts.vocabSize = whole;
    facts.origins!.vocabSize = 'file';
  }
  return facts;
}

function readJson(folder: string, name: string): Plan<JsonValue | undefined> {
  return readBeside(folder, name, undefined, text => {
    const scanner = new JsonScanner(text, { python: true });
    const value: JsonValue = scanner.value();
    scanner.end();
    return value;
  });
}

/** What `parse` makes of a file in the folder; undefined where there is none. */
function* readBeside<T>(
  folder: string,
  name: string,
  most: number | undefined,
  parse: (text: Uint8Array) => T,
): Plan<T | undefined> {
  const path = join(folder, name);
  const found = yield* look(path);
  if (found.kind !== 'file') return undefined;
  const text = yield* within(path, found.size, size => readText(name, size, most));
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new LMHeadError('FORMAT', `${name}: it has ${error.message}; want a well-formed ${name}`, {
      cause: error,
    });
  }
}
