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
import { knownOptions, OPEN_OPTIONS } from '../arguments/option-names';
import { flag } from '../arguments/values';
import type { HeadBackend, HeadSpec, MatrixSource } from '../backend/backend';
import { type BackendKind, chooseBackend, createHead } from '../backend/choose';
import { floats } from '../dtypes/half';
import { isFloat, rowBytes } from '../dtypes/row-format';
import { LMHeadError } from '../errors';
import type { ModelFacts } from '../formats/model-facts';
import { follow, followSync, look, type Plan, readBytes } from '../formats/read-plan';
import { bytesEach, storedAs, toFloats } from '../formats/stored-numbers';
import {
  findHeadTensors,
  type HeadTensors,
  type MatrixTensor,
  type VectorTensor,
} from '../formats/tensor-names';
import { readWeights, type Weights } from '../formats/weights';
import type { Dtype, OpenOptions } from '../types';

/** Everything that a head is made of. */
export interface HeadParts {
  spec: HeadSpec;
  settings: HeadSettings;
  backend: HeadBackend;
}

export async function openHead(path: unknown, options: OpenOptions = {}): Promise<HeadParts> {
  const { file, kind, mmap } = checked(path, options);
  // What a backend reads, it reads at once; so bytes that are to be read are read here, while the loop runs on.
  const load = kind === 'reference' || !mmap;
  const plan = await follow(headPlan(file, options, mmap, load));
  return { ...plan, backend: createHead(kind, plan.spec) };
}

export function openHeadSync(path: unknown, options: OpenOptions = {}): HeadParts {
  const { file, kind, mmap } = checked(path, options);
  // The native side reads by itself; the reference has to be given the numbers.
  const plan = followSync(headPlan(file, options, mmap, kind === 'reference'));
  return { ...plan, backend: createHead(kind, plan.spec) };
}

function checked(path: unknown, options: OpenOptions): { file: string; kind: BackendKind; mmap: boolean } {
  const file = filePath(path);
  knownOptions(options, OPEN_OPTIONS);
  const { tensor } = options;
  if (tensor !== undefined && typeof tensor !== 'string') {
    throw new LMHeadError('ARGUMENT', `tensor: got ${got(tensor)}; want a tensor's name`);
  }
  return { file, kind: chooseBackend(options.backend), mmap: flag(options.mmap, 'mmap', true) };
}

/** Where a path or a file: URL points. */
export function filePath(path: unknown): string {
  if (typeof path === 'string') return resolve(path);
  if (path instanceof URL) {
    try {
      return fileURLToPath(path);
    } catch (cause) {
      throw new LMHeadError('ARGUMENT', `path: got ${path.href.slice(0, 80)}; want a path or a file: URL`, {
        cause,
      });
    }
  }
  throw new LMHeadError('ARGUMENT', `path: got ${got(path)}; want a path or a file: URL`);
}

/** Reads headers and the small tensors, and with `load` the matrices too. */
export function* headPlan(
  path: string,
  options: OpenOptions,
  mmap: boolean,
  load: boolean,
): Plan<{ spec: HeadSpec; settings: HeadSettings }> {
  const { tensor, inputEmbedding } = options;
  const layout = layoutOf(options.layout);
  const weights = yield* readWeights(path, tensor, options.validVocabSize === undefined);
  const { name, tensors, facts } = weights;
  const found = findHeadTensors(tensors, name, { ...facts, tensor: tensor ?? weights.only, layout });
  const { rows, columns } = found.output;
  const { vocabSize, hiddenSize } = layout === 'vd' ? headSizes(rows, columns) : headSizes(columns, rows);
  if (facts) requireFit(facts, found.output, vocabSize, hiddenSize, options);
  const said = yield* saidOptions(weights, found, vocabSize);
  const settings = headSettings({ ...said, ...given(options) }, vocabSize, hiddenSize);
  const output = yield* matrixSource(weights, found.output, layout, mmap, load);
  let input: MatrixSource | undefined;
  if (inputEmbedding !== undefined) {
    // The file's dtype speaks for an array of bits, which cannot speak for itself.
    const dtype = holdsBits(inputEmbedding) ? output.dtype : undefined;
    input = memoryMatrix(inputEmbedding, 'inputEmbedding', dtype, vocabSize, hiddenSize, 'vd', true);
  } else if (found.input) {
    input = yield* matrixSource(weights, found.input, 'vd', mmap, load);
  }
  const { untied } = found;
  return { spec: { vocabSize, hiddenSize, output, input, untied, ...specSettings(settings) }, settings };
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
function* saidOptions(weights: Weights, found: HeadTensors, vocabSize: number): Plan<OpenOptions> {
  const { facts = { source: '' } } = weights;
  const { logitScale, softCap, capOrder, embeddingScale } = facts;
  const said: OpenOptions = { logitScale, softCap, capOrder, embeddingScale };
  said.validVocabSize = facts.vocabSize ?? vocabSize;
  if (found.bias) said.bias = yield* vector(weights, found.bias, 'bias');
  if (found.norm && facts.norm) {
    said.norm = {
      ...facts.norm,
      weight: yield* vector(weights, found.norm.weight, 'norm.weight'),
      bias: found.norm.bias && (yield* vector(weights, found.norm.bias, 'norm.bias')),
    };
  }
  return said;
}

/** So many bytes of a matrix are converted at a time. */
const CONVERTED_AT_ONCE = 2 ** 23;

function* matrixSource(
  weights: Weights,
  tensor: MatrixTensor,
  asked: 'vd' | 'dv',
  mmap: boolean,
  load: boolean,
): Plan<MatrixSource> {
  const { name, entry, rows, columns } = tensor;
  const what = `tensor: ${name} in ${weights.name}`;
  const { dtype, converted } = storedAs(entry, what);
  const path = weights.pathOf(name);
  const { begin, end } = entry;
  if (!isFloat(dtype) && asked === 'dv') {
    throw new LMHeadError(
      'RANGE',
      `layout: got 'dv' with ${name} in ${entry.dtype}; want 'vd', as blocks lie in rows`,
    );
  }
  // Column by column, a matrix lies as its transpose does row by row.
  const layout = entry.columnMajor ? (asked === 'vd' ? 'dv' : 'vd') : asked;
  yield* requireInFile(weights, tensor);
  if (!load && !converted) {
    return { kind: 'file', path, offset: begin, length: end - begin, dtype, mmap, layout };
  }
  const data = sharedNumbers(dtype, rows, columns);
  if (converted) {
    for (let at = 0; at < end - begin; at += CONVERTED_AT_ONCE) {
      const length = Math.min(CONVERTED_AT_ONCE, end - begin - at);
      const bytes = yield* readBytes(path, { offset: begin + at, length });
      data.set(toFloats(bytes, entry, what), at / bytesEach(entry));
    }
  } else {
    yield* readBytes(path, { offset: begin, length: end - begin, into: new Uint8Array(data.buffer) });
  }
  return { kind: 'memory', data, dtype, copy: layout === 'dv', layout };
}

/** A header alone can be a well-formed file; but there is no head in it. */
function* requireInFile(weights: Weights, { name, entry }: VectorTensor): Plan<void> {
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
  const bytes = yield* readBytes(weights.pathOf(name), {
    offset: entry.begin,
    length: entry.end - entry.begin,
  });
  if (converted) return toFloats(bytes, entry, what);
  const numbers = dtype === 'f32' ? new Float32Array(bytes.buffer) : new Uint16Array(bytes.buffer);
  return floats(numbers, dtype);
}
