/** From a file of weights to the parts of a head. */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { got } from '../arguments/describe';
import {
  type HeadSettings,
  headSettings,
  headSizes,
  holdsBits,
  layoutOf,
  memoryMatrix,
  specSettings,
} from '../arguments/head-options';
import { OPEN_OPTIONS, type OptionNames, readOptions } from '../arguments/option-names';
import { reading } from '../arguments/reading';
import { flag, liveSignal } from '../arguments/values';
import type { HeadBackend, HeadSpec, MatrixSource } from '../backend/backend';
import { type BackendKind, chooseBackend } from '../backend/choose';
import { untilAbort } from '../backend/on-abort';
import type { CopySource } from '../backend/saved-copy';
import { isFloat, rowBytes } from '../dtypes/row-format';
import { LMHeadError } from '../errors';
import type { ModelFacts } from '../formats/model-facts';
import { requireOwnLayout } from '../formats/onnx/onnx';
import { follow, followSync, type Plan } from '../formats/read-plan';
import { COPY_FORM, COPY_TENSOR } from '../formats/saved-head';
import { storedAs } from '../formats/stored-values';
import {
  besideWeight,
  findHeadTensors,
  type HeadTensors,
  type MatrixTensor,
  type NormTensors,
} from '../formats/tensor-names';
import { countOf, quoted } from '../formats/tensor-table';
import { readWeights, type Weights } from '../formats/weights';
import type { Shard } from '../shard/backend';
import { inputRange, shardRange } from '../shard/range';
import { shardSource } from '../shard/rows';
import type { NormOptions, OpenOptions } from '../types';
import { warn } from '../warning';
import { backendOfParts, backendOfPartsAsync } from './head-backend';
import { matrixSource } from './matrix-source';
import { vector } from './read-tensor';
import { isOnePlace, join, resolveTie } from './tie';

/** Everything that a head is made of. */
export interface HeadParts {
  spec: HeadSpec;
  settings: HeadSettings;
  backend: HeadBackend;
  shard?: Shard;
}

/** What was found in files, and who says so. */
export interface HeadReport {
  /** The model's type, where something says it. */
  family?: string;
  /** Names of the matrices in the file. */
  output: string;
  input?: string;
  /** Of each thing that is said: an option, a file's name, the family, or a default. */
  origins: Record<(typeof REPORTED)[number], string>;
}
const REPORTED = [
  'tied',
  'norm',
  'bias',
  'logitScale',
  'softCap',
  'embeddingScale',
  'validVocabSize',
] as const;
interface FilePlanned {
  /** Of the whole; with a shard, its matrices are what that holds. */
  spec: HeadSpec;
  settings: HeadSettings;
  shard?: Shard;
  report: HeadReport;
}

export async function openHead(
  path: unknown,
  given: OpenOptions = {},
): Promise<HeadParts & { report: HeadReport }> {
  const { file, options, kind, mmap } = checked(path, given, OPEN_OPTIONS.async);
  const { signal: own, onProgress, ...rest } = options;
  const signal = liveSignal(own);
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw new LMHeadError('ARGUMENT', `onProgress: got ${got(onProgress)}; want a function`);
  }
  const opened = async (stop?: AbortSignal) => {
    // What a backend reads, it reads at once; so bytes that are to be read are read here, while the loop runs on.
    const load = kind === 'reference' || !mmap;
    const plan = await follow(headPlan(file, rest, mmap, load));
    stop?.throwIfAborted();
    const backend = await backendOfPartsAsync(kind, plan, stop, onProgress);
    // Nobody gets what is made when the caller has been told of the abort.
    if (stop?.aborted) backend.close();
    return { ...plan, backend };
  };
  if (!signal) return opened();
  const stop = new AbortController();
  return untilAbort(
    signal,
    () => opened(stop.signal),
    error => stop.abort(error),
  );
}

export function openHeadSync(path: unknown, given: OpenOptions = {}): HeadParts {
  const { file, options, kind, mmap } = checked(path, given, OPEN_OPTIONS.sync);
  // The native side reads by itself; the reference has to be given the values.
  const plan = followSync(headPlan(file, options, mmap, kind === 'reference'));
  return { ...plan, backend: backendOfParts(kind, plan) };
}

function checked<T extends OpenOptions>(
  path: unknown,
  given: T,
  names: OptionNames,
): { file: string; options: T; kind: BackendKind; mmap: boolean } {
  const file = filePath(path);
  const options = readOptions(given, names);
  const { tensor } = options;
  if (tensor !== undefined && typeof tensor !== 'string') {
    throw new LMHeadError('ARGUMENT', `tensor: got ${got(tensor)}; want a tensor's name`);
  }
  return { file, options, kind: chooseBackend(options.backend), mmap: flag(options.mmap, 'mmap', true) };
}

/**
 * Where a path or a file: URL points.
 * @param name the argument's, for messages
 */
export function filePath(path: unknown, name = 'path'): string {
  if (typeof path === 'string') return resolve(path);
  const href = reading(name, () => hrefOf(path));
  if (href !== undefined) {
    try {
      return fileURLToPath(href);
    } catch (cause) {
      throw new LMHeadError('ARGUMENT', `${name}: got ${href.slice(0, 80)}; want a path or a file: URL`, {
        cause,
      });
    }
  }
  throw new LMHeadError('ARGUMENT', `${name}: got ${got(path)}; want a path or a file: URL`);
}

/** What a URL says, be it this realm's, another's, or a browser environment's. */
function hrefOf(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { href, protocol } = value as Partial<URL>;
  return typeof href === 'string' && typeof protocol === 'string' ? href : undefined;
}

/** Reads headers and the small tensors, and with `load` the matrices too. */
export function* headPlan(
  path: string,
  options: OpenOptions,
  mmap: boolean,
  load: boolean,
): Plan<FilePlanned> {
  const { tensor, inputEmbedding } = options;
  const layout = layoutOf(options.layout);
  const read = yield* readWeights(path, tensor, options.validVocabSize === undefined);
  const { name, tensors } = read;
  if (read.head) requireOwnLayout(name, layout);
  const found =
    read.head ??
    findHeadTensors(tensors, name, {
      ...read.facts,
      tensor: tensor ?? read.only,
      layout,
      names: read.names,
    });
  // A wrong type may have the wrong shape, too: it is the cause.
  if (!found.output.form) storedAs(found.output.entry, `tensor: ${found.output.name} in ${name}`);
  const { rows, columns } = found.output;
  const { vocabSize, hiddenSize } = layout === 'vd' ? headSizes(rows, columns) : headSizes(columns, rows);
  const facts = read.facts?.atWidth?.(hiddenSize) ?? read.facts;
  const weights: Weights = { ...read, facts };
  if (facts) requireFit(facts, found.output, vocabSize, hiddenSize, options);
  if (isOnePlace(weights, found)) join(found, found.output);
  if (found.saidTied) yield* resolveTie(weights, found);
  const said = yield* saidOptions(weights, found, vocabSize, hiddenSize);
  const savedCopy = copySource(weights, options, mmap);
  if (savedCopy) said.screen = true;
  const settings = headSettings({ ...said, ...given(options) }, vocabSize, hiddenSize);
  const range = options.shard && shardRange(options.shard, vocabSize, settings.epilogue.validVocabSize);
  const { unitRows } = facts ?? {};
  const output = range
    ? yield* shardSource(weights, found.output, { first: range.base, count: range.rows }, layout, {
        mmap,
        load,
        unitRows,
      })
    : yield* matrixSource(weights, found.output, layout, mmap, load, unitRows);
  const spec: Omit<HeadSpec, 'activations' | 'epilogue'> = {
    vocabSize,
    hiddenSize,
    output,
    savedCopy: settings.screen ? savedCopy : undefined,
    untied: found.untied,
    normProblem: settings.norm ? undefined : normProblem(weights),
  };
  if (inputEmbedding !== undefined) {
    // The file's dtype speaks for an array of bits, which cannot speak for itself.
    const dtype = holdsBits(inputEmbedding) ? output.dtype : undefined;
    const input = memoryMatrix(inputEmbedding, 'inputEmbedding', dtype, vocabSize, hiddenSize, 'vd', true);
    spec.input = range ? rowsInMemory(input, range.begin, range.end, hiddenSize) : input;
  } else if (found.input) {
    spec.inputRows = found.input.rows;
    const its = range && inputRange(range, found.input.rows);
    if (!its) spec.input = yield* matrixSource(weights, found.input, 'vd', mmap, load);
    else if (its.count > 0) spec.input = yield* shardSource(weights, found.input, its, 'vd', { mmap, load });
    else spec.inputProblem = 'it has no rows of the shard';
    if (!spec.input) spec.untied = true;
  } else if (found.untied) spec.inputProblem = found.inputProblem;
  const report = reportOf(weights, found, said, given(options));
  const shard = range && {
    range,
    origin: { path, tensor: found.output.name, columns: hiddenSize, unitRows },
  };
  return { spec: { ...spec, ...specSettings(settings) }, settings, report, shard };
}

/** The bounded copy that `save` has written, where it is of the rows that are asked for and of use with the options. */
function copySource(
  { tensors, facts, unpacked, pathOf }: Weights,
  { tensor, shard, layout, activations }: OpenOptions,
  mmap: boolean,
): CopySource | undefined {
  const entry = facts?.screen === COPY_FORM ? tensors.get(COPY_TENSOR) : undefined;
  if (!entry || unpacked?.has(COPY_TENSOR) || tensor !== undefined || shard || layout === 'dv')
    return undefined;
  if (activations !== undefined && activations !== 'f32') return undefined;
  const { begin, end } = entry;
  return { path: pathOf(COPY_TENSOR), offset: begin, length: end - begin, mmap };
}

/** Of a matrix that lies in memory, some rows. */
function rowsInMemory(
  source: MatrixSource & { kind: 'memory' },
  begin: number,
  end: number,
  columns: number,
): MatrixSource {
  const each = isFloat(source.dtype) ? columns : rowBytes(source.dtype, columns);
  return { ...source, data: source.data.subarray(begin * each, end * each) };
}

function reportOf(
  { name, facts }: Weights,
  { output, input }: HeadTensors,
  said: OpenOptions,
  options: OpenOptions,
): HeadReport {
  const { source, family, origins = {} } = facts ?? {};
  const by = { config: source, file: name, family: family && `the family ${family.type}` };
  const originOf = (what: (typeof REPORTED)[number]): string => {
    if (what === 'tied') return (facts?.tied !== undefined && by[origins.tied ?? 'config']) || name;
    if (options[what] !== undefined) return 'option';
    if (what === 'validVocabSize') return (facts?.vocabSize && by[origins.vocabSize ?? 'config']) || name;
    if (said[what] === undefined) return 'default';
    return (what !== 'bias' && by[origins[what] ?? 'config']) || name;
  };
  return {
    family: family?.type,
    output: output.name,
    input: input?.name,
    origins: Object.fromEntries(REPORTED.map(what => [what, originOf(what)])) as HeadReport['origins'],
  };
}

/** The options that a caller has given: undefined gives none. */
function given(options: OpenOptions): OpenOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

/** A description of another model than that of the weights would give wrong results without a sign of it. */
function requireFit(
  facts: ModelFacts,
  { name }: MatrixTensor,
  vocabSize: number,
  hiddenSize: number,
  { validVocabSize }: OpenOptions,
): void {
  const clash = (key: string, value: number, remedy = '') =>
    new LMHeadError(
      'SHAPE',
      `tensor: ${facts.source} says that the ${key} is ${value}, but ${name} is [${vocabSize},${hiddenSize}]; want files of one model${remedy}`,
    );
  if (facts.hiddenSize !== undefined && facts.hiddenSize !== hiddenSize) {
    throw clash('hidden size', facts.hiddenSize);
  }
  if (facts.vocabSize !== undefined && facts.vocabSize > vocabSize && validVocabSize === undefined) {
    throw clash('vocabulary size', facts.vocabSize, ', or the option validVocabSize');
  }
}

/** What file and model say where the caller doesn't. */
function* saidOptions(
  weights: Weights,
  found: HeadTensors,
  vocabSize: number,
  hiddenSize: number,
): Plan<OpenOptions> {
  const { facts = { source: '' } } = weights;
  const { softCap, capOrder, embeddingScale } = facts;
  const logitScale = found.untied ? facts.logitScale : (facts.tiedLogitScale ?? facts.logitScale);
  const said: OpenOptions = { logitScale, softCap, capOrder, embeddingScale };
  said.validVocabSize = facts.vocabSize ?? vocabSize;
  if (found.bias) said.bias = yield* vector(weights, found.bias, 'bias');
  const factor = yield* outputFactor(weights, found.output);
  if (factor !== 1) {
    // The bias is added to a product that has the factor already.
    said.bias = said.bias?.map(x => x / factor);
    said.logitScale = (logitScale ?? 1) * factor;
  }
  const { rule, tensors } = finalNormOf(weights, found);
  if (rule) {
    const { type, eps, offset } = rule;
    const weight = tensors && (yield* vector(weights, tensors.weight, 'norm.weight'));
    const bias = tensors?.bias && (yield* vector(weights, tensors.bias, 'norm.bias'));
    said.norm = { type, eps, offset, weight: weight ?? new Float32Array(hiddenSize).fill(1), bias };
  }
  return said;
}

/** A number of its own that the file has for all of the output. */
function* outputFactor(weights: Weights, { name }: MatrixTensor): Plan<number> {
  const suffix = weights.facts?.outputFactor;
  const beside = suffix === undefined ? undefined : besideWeight(name, suffix);
  const entry = beside === undefined ? undefined : weights.tensors.get(beside);
  if (!entry || countOf(entry.shape) !== 1) return 1;
  const [factor] = yield* vector(weights, { name: beside!, entry }, 'logitScale');
  if (Number.isFinite(factor) && factor !== 0) return factor;
  throw new LMHeadError(
    'FORMAT',
    `${weights.name}: ${beside} is ${factor}; want a finite number other than 0`,
  );
}

/** Which norm it is, and where its vectors are. Of a family that is not known, the norm by its looks; a warning says so. */
function finalNormOf(
  { name, facts }: Weights,
  { norms }: HeadTensors,
): { rule?: Omit<NormOptions, 'weight' | 'bias'>; tensors?: NormTensors } {
  if (facts?.norm) {
    if (facts.norm.weightless) return { rule: facts.norm };
    return norms.length > 0 ? { rule: facts.norm, tensors: norms[0] } : {};
  }
  if (facts?.family?.known !== false) return {};
  const tensors = norms.find(({ standard }) => standard);
  const { rmsnorm, layernorm } = facts.likelyNorm ?? {};
  const type =
    tensors && (rmsnorm && !tensors.bias ? 'rmsnorm' : layernorm && tensors.bias ? 'layernorm' : undefined);
  const what = `${facts.source}: models of type ${quoted(facts.family.type)} are not known, so `;
  if (!type) {
    warn(
      'LMHEAD_FAMILY',
      `${what}no final norm and no scales are set; where the model has them, pass them as options`,
    );
    return {};
  }
  const { key, eps } = (type === 'rmsnorm' ? rmsnorm : layernorm)!;
  warn(
    'LMHEAD_FAMILY',
    `${what}${tensors.weight.name} in ${name} is taken for the weight of ${type === 'rmsnorm' ? 'an RMSNorm' : 'a LayerNorm'} ` +
      `with eps ${eps} (${key}), to which nothing is added, and no scales are set; where the model has others, pass them as options`,
  );
  return { rule: { type, eps, offset: 0 }, tensors };
}

/** Why no norm was found. */
function normProblem({ name, facts }: Weights): string {
  if (!facts) return `beside ${name} is nothing that describes the model`;
  const { source, family, norm } = facts;
  if (norm) return `${name} has no weight of the norm that ${source} speaks of`;
  if (!family) return `${source} has none`;
  const type = quoted(family.type);
  return family.known
    ? `no final norm is known of models of type ${type}`
    : `models of type ${type}, according to ${source}, are not known`;
}
