/** From a file of weights to the parts of a head. */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { outOfMemory } from '../arguments/arrays';
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
import { OPEN_OPTIONS, readOptions } from '../arguments/option-names';
import { reading } from '../arguments/reading';
import { flag } from '../arguments/values';
import type { HeadBackend, HeadSpec, MatrixSource } from '../backend/backend';
import { type BackendKind, chooseBackend, createHead } from '../backend/choose';
import { widenedRows } from '../dtypes/dequantize';
import { floats } from '../dtypes/half';
import { isFloat, rowBytes } from '../dtypes/row-format';
import { LMHeadError } from '../errors';
import type { MatrixForm } from '../formats/forms';
import type { ModelFacts } from '../formats/model-facts';
import { follow, followSync, look, type Plan, type ReadRequest, readBytes } from '../formats/read-plan';
import { bytesEach, storedAs, toFloats } from '../formats/stored-numbers';
import {
  besideWeight,
  findHeadTensors,
  type HeadTensors,
  type MatrixTensor,
  type NormTensors,
  type VectorTensor,
} from '../formats/tensor-names';
import { countOf, quoted } from '../formats/tensor-table';
import { readWeights, type Weights } from '../formats/weights';
import { bytesBegin, LOCAL_BYTES } from '../formats/zip';
import type { Dtype, NormOptions, OpenOptions } from '../types';
import { warn } from '../warning';

/** Everything that a head is made of. */
export interface HeadParts {
  spec: HeadSpec;
  settings: HeadSettings;
  backend: HeadBackend;
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
  spec: HeadSpec;
  settings: HeadSettings;
  report: HeadReport;
}

export async function openHead(
  path: unknown,
  given: OpenOptions = {},
): Promise<HeadParts & { report: HeadReport }> {
  const { file, options, kind, mmap } = checked(path, given);
  // What a backend reads, it reads at once; so bytes that are to be read are read here, while the loop runs on.
  const load = kind === 'reference' || !mmap;
  const plan = await follow(headPlan(file, options, mmap, load));
  return { ...plan, backend: createHead(kind, plan.spec) };
}

export function openHeadSync(path: unknown, given: OpenOptions = {}): HeadParts {
  const { file, options, kind, mmap } = checked(path, given);
  // The native side reads by itself; the reference has to be given the numbers.
  const plan = followSync(headPlan(file, options, mmap, kind === 'reference'));
  return { ...plan, backend: createHead(kind, plan.spec) };
}

function checked(
  path: unknown,
  given: OpenOptions,
): { file: string; options: OpenOptions; kind: BackendKind; mmap: boolean } {
  const file = filePath(path);
  const options = readOptions(given, OPEN_OPTIONS);
  const { tensor } = options;
  if (tensor !== undefined && typeof tensor !== 'string') {
    throw new LMHeadError('ARGUMENT', `tensor: got ${got(tensor)}; want a tensor's name`);
  }
  return { file, options, kind: chooseBackend(options.backend), mmap: flag(options.mmap, 'mmap', true) };
}

/** Where a path or a file: URL points. */
export function filePath(path: unknown): string {
  if (typeof path === 'string') return resolve(path);
  const href = reading('path', () => hrefOf(path));
  if (href !== undefined) {
    try {
      return fileURLToPath(href);
    } catch (cause) {
      throw new LMHeadError('ARGUMENT', `path: got ${href.slice(0, 80)}; want a path or a file: URL`, {
        cause,
      });
    }
  }
  throw new LMHeadError('ARGUMENT', `path: got ${got(path)}; want a path or a file: URL`);
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
  const weights = yield* readWeights(path, tensor, options.validVocabSize === undefined);
  const { name, tensors, facts } = weights;
  const found = findHeadTensors(tensors, name, { ...facts, tensor: tensor ?? weights.only, layout });
  // A wrong type may have the wrong shape, too: it is the cause.
  if (!found.output.form) storedAs(found.output.entry, `tensor: ${found.output.name} in ${name}`);
  const { rows, columns } = found.output;
  const { vocabSize, hiddenSize } = layout === 'vd' ? headSizes(rows, columns) : headSizes(columns, rows);
  if (facts) requireFit(facts, found.output, vocabSize, hiddenSize, options);
  if (isOnePlace(weights, found)) join(found, found.output);
  if (found.saidTied) yield* resolveTie(weights, found);
  const said = yield* saidOptions(weights, found, vocabSize, hiddenSize);
  const settings = headSettings({ ...said, ...given(options) }, vocabSize, hiddenSize);
  const output = yield* matrixSource(weights, found.output, layout, mmap, load, facts?.unitRows);
  const spec: Omit<HeadSpec, 'activations' | 'epilogue'> = {
    vocabSize,
    hiddenSize,
    output,
    untied: found.untied,
  };
  if (inputEmbedding !== undefined) {
    // The file's dtype speaks for an array of bits, which cannot speak for itself.
    const dtype = holdsBits(inputEmbedding) ? output.dtype : undefined;
    spec.input = memoryMatrix(inputEmbedding, 'inputEmbedding', dtype, vocabSize, hiddenSize, 'vd', true);
  } else if (found.input) {
    spec.input = yield* matrixSource(weights, found.input, 'vd', mmap, load);
    spec.inputRows = found.input.rows;
  } else if (found.untied) spec.inputProblem = found.inputProblem;
  const report = reportOf(weights, found, said, given(options));
  return { spec: { ...spec, ...specSettings(settings) }, settings, report };
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

/** Does the file itself say that they are one, as a checkpoint of PyTorch does of tensors that share their numbers? */
function isOnePlace(weights: Weights, { output, input }: HeadTensors): boolean {
  if (!input || output.form || input.form || weights.unpacked?.has(output.name)) return false;
  const [a, b] = [output.entry, input.entry];
  return (
    weights.pathOf(output.name) === weights.pathOf(input.name) &&
    a.zipHeader === b.zipHeader &&
    a.begin === b.begin &&
    a.end === b.end &&
    a.dtype === b.dtype &&
    a.columnMajor === b.columnMajor &&
    output.rows === input.rows
  );
}

/** Input and output are that one matrix. */
function join(found: HeadTensors, matrix: MatrixTensor): void {
  found.output = matrix;
  found.input = undefined;
  found.untied = false;
  found.saidTied = undefined;
}

/** So many bytes of two matrices are compared at first; those that differ mostly do so at once. */
const COMPARED_FIRST = 2 ** 16;
const COMPARED_AT_ONCE = 2 ** 22;

/** Decides by their bytes whether output and embedding, which are said to be tied, are one. */
function* resolveTie(weights: Weights, found: HeadTensors): Plan<void> {
  const { output, input } = found;
  if (input && (yield* sameBytes(weights, output, input))) return join(found, input);
  warn(
    'LMHEAD_TIE',
    `according to ${weights.facts?.source} input and output are tied, but ${weights.name} has ${output.name} and ` +
      `${input?.name} with different numbers: each is used for what it is`,
  );
}

function* sameBytes(weights: Weights, a: MatrixTensor, b: MatrixTensor): Plan<boolean> {
  if (a.rows !== b.rows || a.form?.label !== b.form?.label) return false;
  const [these, those] = [a.form?.parts ?? [a], b.form?.parts ?? [b]];
  for (const [i, part] of these.entries()) {
    if (!(yield* sameTensor(weights, part, those[i]))) return false;
  }
  return these.length === those.length;
}

function* sameTensor(weights: Weights, a: VectorTensor, b: VectorTensor | undefined): Plan<boolean> {
  const size = a.entry.end - a.entry.begin;
  if (a.entry.dtype !== b?.entry.dtype || size !== b.entry.end - b.entry.begin) return false;
  yield* requireInFile(weights, a);
  yield* requireInFile(weights, b);
  let length = COMPARED_FIRST;
  for (let at = 0; at < size; at += length, length = COMPARED_AT_ONCE) {
    const part = Math.min(length, size - at);
    const of = ({ name, entry }: VectorTensor) =>
      readTensor(weights, name, { offset: entry.begin + at, length: part });
    if (Buffer.compare(yield* of(a), yield* of(b)) !== 0) return false;
  }
  return true;
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

/** So many bytes of a matrix are converted at a time. */
const CONVERTED_AT_ONCE = 2 ** 23;

function* matrixSource(
  weights: Weights,
  tensor: MatrixTensor,
  asked: 'vd' | 'dv',
  mmap: boolean,
  load: boolean,
  unitRows = false,
): Plan<MatrixSource> {
  const { name, entry, rows, columns, form } = tensor;
  const what = `tensor: ${name} in ${weights.name}`;
  if (form) return yield* formedSource(weights, form, what, asked, unitRows);
  const { dtype, converted } = storedAs(entry, what);
  if (!isFloat(dtype) && asked === 'dv') {
    throw new LMHeadError(
      'RANGE',
      `layout: got 'dv' with ${name} in ${entry.dtype}; want 'vd', as blocks lie in rows`,
    );
  }
  // Column by column, a matrix lies as its transpose does row by row.
  const layout = entry.columnMajor ? (asked === 'vd' ? 'dv' : 'vd') : asked;
  yield* requireInFile(weights, tensor);
  const { begin, end } = entry;
  if (!load && !converted && !unitRows && !weights.unpacked?.has(name)) {
    const path = weights.pathOf(name);
    return { kind: 'file', path, offset: begin, length: end - begin, dtype, mmap, layout };
  }
  const data = sharedNumbers(dtype, rows, columns);
  if (converted) {
    for (let at = 0; at < end - begin; at += CONVERTED_AT_ONCE) {
      const length = Math.min(CONVERTED_AT_ONCE, end - begin - at);
      const bytes = yield* readTensor(weights, name, { offset: begin + at, length });
      data.set(toFloats(bytes, entry, what), at / bytesEach(entry));
    }
  } else {
    const into = new Uint8Array(data.buffer);
    yield* readTensor(weights, name, { offset: begin, length: end - begin, into });
  }
  if (unitRows) {
    const [v, d] = asked === 'vd' ? [rows, columns] : [columns, rows];
    const strides = layout === 'vd' ? { row: d, column: 1 } : { row: 1, column: v };
    return unitSource(widenedRows(data, dtype, columns), v, d, layout, strides);
  }
  return { kind: 'memory', data, dtype, copy: layout === 'dv', layout };
}

/** Of a matrix that is stored in a form of its own: made one of a dtype that a pass reads. */
function* formedSource(
  weights: Weights,
  form: MatrixForm,
  what: string,
  asked: 'vd' | 'dv',
  unitRows: boolean,
): Plan<MatrixSource> {
  if (asked === 'dv') {
    throw new LMHeadError(
      'RANGE',
      `layout: got 'dv' with ${what.slice('tensor: '.length)}, ${form.label}; want 'vd'`,
    );
  }
  const { rows, columns, dtype } = form;
  for (const part of form.parts) yield* requireInFile(weights, part);
  const data = sharedNumbers(dtype, rows, columns);
  yield* form.fill(
    (part, offset, length) => readTensor(weights, part.name, { offset: part.entry.begin + offset, length }),
    data as Float32Array | Uint8Array,
  );
  if (!unitRows) return { kind: 'memory', data, dtype, copy: false, layout: 'vd' };
  return unitSource(widenedRows(data, dtype, columns), rows, columns, 'vd', { row: columns, column: 1 });
}

function unitSource(
  numbers: Float32Array,
  v: number,
  d: number,
  layout: 'vd' | 'dv',
  strides: { row: number; column: number },
): MatrixSource {
  const unit = sharedNumbers('f32', v, d) as Float32Array;
  toUnitRows(numbers, unit, { v, d, ...strides });
  return { kind: 'memory', data: unit, dtype: 'f32', copy: layout === 'dv', layout };
}

/** Divides each of v rows by its length, in float64. */
function toUnitRows(
  from: Float32Array,
  to: Float32Array,
  { v, d, row, column }: { v: number; d: number; row: number; column: number },
): void {
  for (let i = 0; i < v; i++) {
    let squares = 0;
    for (let k = 0; k < d; k++) squares += from[i * row + k * column] ** 2;
    const scale = 1 / Math.max(Math.sqrt(squares), 1e-12);
    for (let k = 0; k < d; k++) to[i * row + k * column] = from[i * row + k * column] * scale;
  }
}

/** Bytes of a tensor's file. */
function readTensor(weights: Weights, name: string, read: ReadRequest): Plan<Uint8Array<ArrayBuffer>> {
  const unpacked = weights.unpacked?.get(name);
  return unpacked ? copyOf(unpacked, read) : readBytes(weights.pathOf(name), read);
}

// biome-ignore lint/correctness/useYield: a plan that needs nothing.
function* copyOf(bytes: Uint8Array, { offset, length, into }: ReadRequest): Plan<Uint8Array<ArrayBuffer>> {
  const copy = (into ?? new Uint8Array(length)) as Uint8Array<ArrayBuffer>;
  copy.set(bytes.subarray(offset, offset + length));
  return copy;
}

/** A header alone can be a well-formed file; but there is no head in it. Where a tensor of an archive lies is known from here on. */
function* requireInFile(weights: Weights, { name, entry }: VectorTensor): Plan<void> {
  if (weights.unpacked?.has(name)) return;
  if (entry.zipHeader !== undefined) {
    const header = yield* readTensor(weights, name, { offset: entry.zipHeader, length: LOCAL_BYTES });
    const begin = bytesBegin(header, entry.zipHeader);
    if (begin === undefined) {
      throw new LMHeadError(
        'FORMAT',
        `${weights.name}: ${name} is not where it should be; want a whole file`,
      );
    }
    entry.zipHeader = undefined;
    entry.begin += begin;
    entry.end += begin;
  }
  const found = yield* look(weights.pathOf(name));
  if (found.kind === 'file' && found.size >= entry.end) return;
  throw new LMHeadError(
    'FORMAT',
    `${weights.name}: ${name} ends at byte ${entry.end}, which the file doesn't have; want a whole file`,
  );
}

/** Memory for a matrix, shared so that the backend may use it in place. */
function sharedNumbers(dtype: Dtype, rows: number, columns: number): Float32Array | Uint16Array | Uint8Array {
  try {
    const bytes = new SharedArrayBuffer(rows * rowBytes(dtype, columns));
    if (!isFloat(dtype)) return new Uint8Array(bytes);
    return dtype === 'f32' ? new Float32Array(bytes) : new Uint16Array(bytes);
  } catch (cause) {
    throw outOfMemory(rows * columns, 'weight', cause);
  }
}

function* vector(weights: Weights, tensor: VectorTensor, argument: string): Plan<Float32Array> {
  const { name, entry } = tensor;
  const what = `${argument}: ${name} in ${weights.name}`;
  const { dtype, converted } = storedAs(entry, what);
  if (!isFloat(dtype))
    throw new LMHeadError('DTYPE', `${what} is ${entry.dtype}; want F32, F16, BF16 or F64`);
  yield* requireInFile(weights, tensor);
  const bytes = yield* readTensor(weights, name, {
    offset: entry.begin,
    length: entry.end - entry.begin,
  });
  if (converted) return toFloats(bytes, entry, what);
  const numbers = dtype === 'f32' ? new Float32Array(bytes.buffer) : new Uint16Array(bytes.buffer);
  return floats(numbers, dtype);
}
