/** From a file of weights to the parts of a head. */
import { basename, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { outOfMemory } from './arguments/arrays';
import { arrayType, got } from './arguments/describe';
import { type HeadSettings, headSettings, headSizes, layoutOf, memoryMatrix } from './arguments/head-options';
import { flag, optionsObject } from './arguments/values';
import type { HeadBackend, HeadSpec, MatrixSource } from './backend';
import { type BackendKind, chooseBackend, createHead } from './choose-backend';
import { LMHeadError } from './errors';
import { type FilePlan, follow, followSync } from './formats/read-plan';
import { readSafetensors } from './formats/safetensors';
import { findHeadTensors, type MatrixTensor } from './formats/tensor-names';
import { widen } from './half';
import type { Dtype, OpenOptions } from './types';

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
  const plan = await follow(file, size => headPlan(file, size, options, mmap, load));
  return { ...plan, backend: createHead(kind, plan.spec) };
}

export function openHeadSync(path: unknown, options: OpenOptions = {}): HeadParts {
  const { file, kind, mmap } = checked(path, options);
  // The native side reads by itself; the reference has to be given the numbers.
  const plan = followSync(file, size => headPlan(file, size, options, mmap, kind === 'reference'));
  return { ...plan, backend: createHead(kind, plan.spec) };
}

function checked(path: unknown, options: OpenOptions): { file: string; kind: BackendKind; mmap: boolean } {
  const file = filePath(path);
  optionsObject(options, 'options');
  const { tensor } = options;
  if (tensor !== undefined && typeof tensor !== 'string') {
    throw new LMHeadError('ARGUMENT', `tensor: got ${got(tensor)}; want a tensor's name`);
  }
  return { file, kind: chooseBackend(options.backend), mmap: flag(options.mmap, 'mmap', true) };
}

function filePath(path: unknown): string {
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

/** Reads the header and the small tensors, and with `load` the matrices too. */
function* headPlan(
  file: string,
  fileSize: number,
  options: OpenOptions,
  mmap: boolean,
  load: boolean,
): FilePlan<{ spec: HeadSpec; settings: HeadSettings }> {
  const layout = layoutOf(options.layout);
  const tensors = yield* readSafetensors(basename(file), fileSize);
  const found = findHeadTensors(tensors, basename(file), options.tensor, layout);
  const { rows, columns } = found.output;
  const { vocabSize, hiddenSize } = layout === 'vd' ? headSizes(rows, columns) : headSizes(columns, rows);
  const settings = headSettings(options, vocabSize, hiddenSize);
  if (options.bias === undefined && found.bias) {
    const { begin, end, dtype } = found.bias;
    settings.epilogue.bias = floats(yield { offset: begin, length: end - begin }, dtype);
  }
  const source = function* (tensor: MatrixTensor, its: 'vd' | 'dv'): FilePlan<MatrixSource> {
    const { dtype, begin } = tensor;
    if (!load) return { kind: 'file', path: file, offset: begin, dtype, mmap, layout: its };
    const data = sharedNumbers(tensor);
    const bytes = new Uint8Array(data.buffer);
    yield { offset: begin, length: bytes.byteLength, into: bytes };
    return { kind: 'memory', data, dtype, copy: its === 'dv', layout: its };
  };
  const output = yield* source(found.output, layout);
  let input: MatrixSource | undefined;
  const { inputEmbedding } = options;
  if (inputEmbedding !== undefined) {
    // The file's dtype speaks for a Uint16Array, which cannot speak for itself.
    const dtype = arrayType(inputEmbedding) === 'Uint16Array' ? output.dtype : undefined;
    input = memoryMatrix(inputEmbedding, 'inputEmbedding', dtype, vocabSize, hiddenSize, 'vd', true);
  } else if (found.input) {
    input = yield* source(found.input, 'vd');
  }
  const { epilogue, threads } = settings;
  return { spec: { vocabSize, hiddenSize, output, input, epilogue, threads }, settings };
}

/** Memory for a matrix, shared so that the backend may use it in place. */
function sharedNumbers({ dtype, rows, columns }: MatrixTensor): Float32Array | Uint16Array {
  const count = rows * columns;
  try {
    return dtype === 'f32'
      ? new Float32Array(new SharedArrayBuffer(count * 4))
      : new Uint16Array(new SharedArrayBuffer(count * 2));
  } catch (cause) {
    throw outOfMemory(count, 'weight', cause);
  }
}

function floats(bytes: Uint8Array<ArrayBuffer>, dtype: Dtype): Float32Array {
  const { buffer, byteOffset, byteLength } = bytes;
  return dtype === 'f32'
    ? new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength))
    : widen(new Uint16Array(buffer.slice(byteOffset, byteOffset + byteLength)), dtype);
}
