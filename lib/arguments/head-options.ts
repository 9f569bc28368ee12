/** What a head is made of: sizes, weights, and the parameters around them. */

import type { Epilogue, HeadSpec, MatrixSource } from '../backend/backend';
import { ACTIVATIONS } from '../dtypes/quantized-activations';
import { QUANTIZED_DTYPES, requireWholeBlocks, rowBytes } from '../dtypes/row-format';
import { LMHeadError } from '../errors';
import type { Activations, Dtype, HeadOptions, NormOptions, QuantizedDtype } from '../types';
import { float32ArrayOf, isShared, memoryOf, overlap, requireMemory } from './arrays';
import { arrayType, got } from './describe';
import { arrayDtype } from './hidden';
import { NORM_OPTIONS, readOptions } from './option-names';
import { finiteNumber, flag, integerBetween, oneOf } from './values';

/** The options that hold whether the weights come from memory or from a file, resolved. */
export interface HeadSettings {
  epilogue: Epilogue;
  activations: Activations;
  embeddingScale: number;
  performanceMarks: boolean;
  coalesce: boolean;
  screen: boolean;
  norm?: NormOptions;
  threads?: number;
}

/** Ids are 32-bit words, and the last one means "ignored". */
const MOST_ROWS = 2 ** 32 - 1;
const MOST_BYTES = 2 ** 53;
const MOST_THREADS = 1024;

/** V and d, and that their matrix can be addressed. */
export function headSizes(
  vocabSize: unknown,
  hiddenSize: unknown,
): { vocabSize: number; hiddenSize: number } {
  const v = integerBetween(vocabSize, 'vocabSize', 1, MOST_ROWS);
  const d = integerBetween(hiddenSize, 'hiddenSize', 1, MOST_ROWS);
  if (v * d * 4 >= MOST_BYTES) {
    throw new LMHeadError('RANGE', `vocabSize · hiddenSize: got ${v} · ${d}; want fewer than 2^51 elements`);
  }
  return { vocabSize: v, hiddenSize: d };
}

/** Vectors are copied: what a caller does to them later changes nothing. */
export function headSettings(
  options: Omit<Partial<HeadOptions>, 'vocabSize' | 'hiddenSize'>,
  vocabSize: number,
  hiddenSize: number,
): HeadSettings {
  const { bias, softCap, validVocabSize, norm, threads } = options;
  const epilogue: Epilogue = {
    bias: bias === undefined ? undefined : vectorOf(bias, 'bias', vocabSize, 'vocabSize'),
    logitScale: float32Number(options.logitScale, 'logitScale', 1),
    softCap: softCap === undefined ? 0 : positive(softCap, 'softCap'),
    capOrder: oneOf(options.capOrder, 'capOrder', ['scale-then-cap', 'cap-then-scale']),
    validVocabSize:
      validVocabSize === undefined
        ? vocabSize
        : integerBetween(validVocabSize, 'validVocabSize', 1, vocabSize),
  };
  checkProducts(epilogue);
  return {
    epilogue,
    activations: oneOf(options.activations, 'activations', ACTIVATIONS),
    embeddingScale: finiteNumber(options.embeddingScale, 'embeddingScale', 1),
    performanceMarks: flag(options.performanceMarks, 'performanceMarks'),
    coalesce: flag(options.coalesce, 'coalesce', true),
    screen: flag(options.screen, 'screen'),
    norm: norm === undefined ? undefined : normOptions(norm, hiddenSize),
    threads: threads === undefined ? undefined : integerBetween(threads, 'threads', 1, MOST_THREADS),
  };
}

/** What a backend has to know of them. */
export function specSettings({
  epilogue,
  activations,
  threads,
  coalesce,
  screen,
}: HeadSettings): Pick<HeadSpec, 'epilogue' | 'activations' | 'threads' | 'coalesce' | 'screen'> {
  return { epilogue, activations, threads, coalesce, screen };
}

/** A copy of a caller's vector. */
function vectorOf(value: unknown, name: string, length: number, lengthName: string): Float32Array {
  return new Float32Array(float32ArrayOf(value, name, length, lengthName));
}

/** Options that `headSettings` makes the same settings of. */
export function settingsAsOptions({ epilogue, ...rest }: HeadSettings): Partial<HeadOptions> {
  const { softCap, ...others } = epilogue;
  return { ...others, softCap: softCap === 0 ? undefined : softCap, ...rest };
}

/** 2^-5 of float32's range. What is beyond that range is beyond 32 such caps: there tanh has long been 1 in float32. */
const MOST_CAP = 2 ** 123;

/** What is scaled has to be a number still: a bias, or the cap where that comes first. (One that comes last holds anything, if not too large.) */
function checkProducts({ bias, logitScale, softCap, capOrder }: Epilogue): void {
  const overflows = (number: number) =>
    Number.isFinite(number) && !Number.isFinite(Math.fround(number * Math.fround(logitScale)));
  const refuse = (what: string, number: number) => {
    throw new LMHeadError(
      'RANGE',
      `${what}: got ${number} beside the logitScale ${logitScale}; want a product that float32 can hold`,
    );
  };
  if (softCap !== 0) {
    if (capOrder === 'cap-then-scale') {
      if (overflows(softCap)) refuse('softCap', softCap);
    } else if (softCap > MOST_CAP && (bias !== undefined || Math.abs(logitScale) > 1)) {
      throw new LMHeadError(
        'RANGE',
        `softCap: got ${softCap} beside a bias or a logitScale above 1; want at most ${MOST_CAP}, beyond which float32 ends before the cap is reached`,
      );
    }
    return;
  }
  const at = bias ? bias.findIndex(overflows) : -1;
  if (at >= 0) refuse(`bias[${at}]`, bias![at]);
}

/** Backends compute with it as a float32, and that must neither be infinite nor become 0. */
function float32Number(value: unknown, name: string, fallback: number): number {
  const number = finiteNumber(value, name, fallback);
  const rounded = Math.fround(number);
  if (Number.isFinite(rounded) && (rounded !== 0 || number === 0)) return number;
  throw new LMHeadError('RANGE', `${name}: got ${number}; want a number that float32 can hold`);
}

/** Nor may this one become 0, which means none. */
function positive(value: unknown, name: string): number {
  if (typeof value === 'number' && Math.fround(value) > 0 && Math.fround(value) < Infinity) return value;
  const kind = typeof value === 'number' ? 'RANGE' : 'ARGUMENT';
  throw new LMHeadError(kind, `${name}: got ${got(value)}; want a number above 0 that float32 can hold`);
}

function normOptions(given: NormOptions, d: number): NormOptions {
  const norm = readOptions(given, NORM_OPTIONS, 'norm');
  const { type, weight, bias } = norm;
  if (type === undefined) {
    throw new LMHeadError('ARGUMENT', "norm.type: got undefined; want 'layernorm' or 'rmsnorm'");
  }
  const eps = finiteNumber(norm.eps, 'norm.eps');
  if (eps < 0) throw new LMHeadError('RANGE', `norm.eps: got ${eps}; want a finite number of at least 0`);
  return {
    type: oneOf(type, 'norm.type', ['layernorm', 'rmsnorm']),
    weight: vectorOf(weight, 'norm.weight', d, 'hiddenSize'),
    bias: bias === undefined ? undefined : vectorOf(bias, 'norm.bias', d, 'hiddenSize'),
    eps,
    offset: finiteNumber(norm.offset, 'norm.offset', 0),
  };
}

export function layoutOf(layout: unknown): 'vd' | 'dv' {
  return oneOf(layout, 'layout', ['vd', 'dv']);
}

/** The one or two matrices of a head whose weights lie in memory. */
export interface MemoryMatrices {
  output: MatrixSource & { kind: 'memory' };
  /** Absent: tied. */
  input?: MatrixSource & { kind: 'memory' };
}

export function memoryMatrices(
  weight: unknown,
  options: HeadOptions,
  vocabSize: number,
  hiddenSize: number,
): MemoryMatrices {
  const { dtype, inputEmbedding } = options;
  const layout = layoutOf(options.layout);
  const copy = flag(options.copy, 'copy', true);
  // `dtype` tells what an array of bits holds; where one of the two arrays is none, it speaks of the other.
  const embeddingHasBits = holdsBits(inputEmbedding);
  const speaksOfEmbedding = embeddingHasBits && !holdsBits(weight);
  const weightDtype = speaksOfEmbedding ? undefined : dtype;
  const output = memoryMatrix(weight, 'weight', weightDtype, vocabSize, hiddenSize, layout, copy);
  if (inputEmbedding === undefined) return { output };
  const ownDtype = embeddingHasBits ? dtype : undefined;
  const input = memoryMatrix(inputEmbedding, 'inputEmbedding', ownDtype, vocabSize, hiddenSize, 'vd', copy);
  const same =
    layout === 'vd' &&
    input.dtype === output.dtype &&
    input.data.byteOffset === output.data.byteOffset &&
    overlap(input.data, output.data);
  return same ? { output } : { output, input };
}

/** Is it an array whose type doesn't say what it holds? */
export function holdsBits(array: unknown): boolean {
  return ['Uint16Array', 'Uint8Array'].includes(arrayType(array)!);
}

/** One matrix in memory. */
export function memoryMatrix(
  array: unknown,
  name: string,
  givenDtype: Dtype | undefined,
  vocabSize: number,
  hiddenSize: number,
  layout: 'vd' | 'dv',
  copy: boolean,
): MatrixSource & { kind: 'memory' } {
  const type = arrayType(array);
  if (type === undefined) {
    throw new LMHeadError(
      'ARGUMENT',
      `${name}: got ${got(array)}; want a Float32Array, Uint16Array, Uint8Array or Float16Array`,
    );
  }
  const quantized = type === 'Uint8Array';
  const dtype = quantized
    ? quantizedDtype(givenDtype, name, hiddenSize, layout)
    : arrayDtype(type, givenDtype, name, 'dtype');
  const given = array as Float32Array | Uint8Array;
  requireMemory(given, name);
  const { buffer, byteOffset, length } = memoryOf(given);
  const wanted = vocabSize * (quantized ? rowBytes(dtype, hiddenSize) : hiddenSize);
  if (length !== wanted) {
    const what = quantized
      ? `bytes; want vocabSize rows of ${wanted / vocabSize} bytes, ${wanted}`
      : `elements; want vocabSize · hiddenSize = ${wanted}`;
    throw new LMHeadError('SHAPE', `${name}: got ${length} ${what}`);
  }
  if (!copy) {
    if (!isShared(buffer)) {
      throw new LMHeadError(
        'RANGE',
        `copy: got false with ${name} in an ArrayBuffer; want a SharedArrayBuffer, or true`,
      );
    }
    if (layout === 'dv') {
      throw new LMHeadError(
        'RANGE',
        "copy: got false with layout 'dv', which is repacked; want true, or layout 'vd'",
      );
    }
  }
  // A view of our own, which has no properties but those that it was made with.
  const View = type === 'Float32Array' ? Float32Array : quantized ? Uint8Array : Uint16Array;
  const data = new View(buffer as ArrayBuffer, byteOffset, length);
  return { kind: 'memory', data, dtype, copy, layout };
}

/** Of a Uint8Array of weights. */
function quantizedDtype(
  given: Dtype | undefined,
  name: string,
  hiddenSize: number,
  layout: 'vd' | 'dv',
): QuantizedDtype {
  const known: readonly Dtype[] = QUANTIZED_DTYPES;
  if (given === undefined || !known.includes(given)) {
    throw new LMHeadError(
      given === undefined || typeof given === 'string' ? 'DTYPE' : 'ARGUMENT',
      `dtype: got ${got(given)} for a Uint8Array in ${name}; want one of ${known.join(', ')}`,
    );
  }
  if (layout === 'dv') {
    throw new LMHeadError(
      'RANGE',
      `layout: got 'dv' with ${name} in ${given}; want 'vd', as blocks lie in rows`,
    );
  }
  requireWholeBlocks(given, hiddenSize, name);
  return given as QuantizedDtype;
}
