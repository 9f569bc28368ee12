/** From a matrix in a file to what a backend takes. */
import { outOfMemory } from '../arguments/arrays';
import type { MatrixSource } from '../backend/backend';
import { unpackedRows } from '../dtypes/dequantize';
import { isFloat, matrixBytes, rowBytes } from '../dtypes/row-format';
import { LMHeadError } from '../errors';
import { type MatrixForm, type ReadPart, storesInfinity } from '../formats/forms';
import type { Plan } from '../formats/read-plan';
import { bytesEach, storedAs, toFloats } from '../formats/stored-values';
import type { MatrixTensor } from '../formats/tensor-names';
import type { Weights } from '../formats/weights';
import type { Dtype } from '../types';
import { readTensor, requireInFile } from './read-tensor';

/** So many bytes of a matrix are converted at a time. */
const CONVERTED_AT_ONCE = 2 ** 23;

export function* matrixSource(
  weights: Weights,
  tensor: MatrixTensor,
  asked: 'vd' | 'dv',
  mmap: boolean,
  load: boolean,
  unitRows = false,
): Plan<MatrixSource> {
  const { name, entry, rows, columns, form } = tensor;
  const what = `tensor: ${name} in ${weights.name}`;
  if (form) return yield* formedSource(weights, form, what, asked, unitRows, mmap && !load);
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
  const data = sharedArray(dtype, rows, columns);
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
    return unitSource(unpackedRows(data, dtype, columns), v, d, layout, strides);
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
  mapped: boolean,
): Plan<MatrixSource> {
  if (asked === 'dv') {
    throw new LMHeadError(
      'RANGE',
      `layout: got 'dv' with ${what.slice('tensor: '.length)}, ${form.label}; want 'vd'`,
    );
  }
  const { rows, columns, dtype } = form;
  for (const part of form.parts) yield* requireInFile(weights, part);
  if (form.inPlace && !unitRows) return yield* groupedSource(weights, form, form.inPlace, mapped);
  const data = sharedArray(dtype, rows, columns);
  const read: ReadPart = (part, offset, length) =>
    readTensor(weights, part.name, { offset: part.entry.begin + offset, length });
  yield* form.fill(read, data);
  if (dtype === 'f32') yield* requireFinite(form, read, data as Float32Array, what);
  if (!unitRows) return { kind: 'memory', data, dtype, copy: false, layout: 'vd' };
  return unitSource(unpackedRows(data, dtype, columns), rows, columns, 'vd', { row: columns, column: 1 });
}

/**
 * What is made of scales and small values can be too large for float32, and infinite without a word. An infinity that is stored is
 * none of these, as in a file of floats.
 */
function* requireFinite(form: MatrixForm, read: ReadPart, data: Float32Array, what: string): Plan<void> {
  const [first] = [Infinity, -Infinity]
    .map(infinity => data.indexOf(infinity))
    .filter(at => at >= 0)
    .sort((a, b) => a - b);
  if (first === undefined || (yield* storesInfinity(form, read))) return;
  throw new LMHeadError(
    'RANGE',
    `${what} has a value beyond float32 in row ${Math.floor(first / form.columns)}; want values that float32 can hold`,
  );
}

/** Of rows with scales and biases apart: mapped where all lie in one file, else read, one after another. */
function* groupedSource(
  weights: Weights,
  { rows, columns, parts }: MatrixForm,
  { dtype, groups }: NonNullable<MatrixForm['inPlace']>,
  mapped: boolean,
): Plan<MatrixSource> {
  const [values, scales, biases] = parts;
  const path = weights.pathOf(values.name);
  if (mapped && parts.every(({ name }) => weights.pathOf(name) === path && !weights.unpacked?.has(name))) {
    const { begin, end } = values.entry;
    const offsets = { scalesOffset: scales.entry.begin, biasesOffset: biases.entry.begin };
    const length = end - begin;
    return {
      ...{ kind: 'file', path, offset: begin, length, dtype, mmap: true, layout: 'vd' },
      groups: { ...groups, ...offsets },
    };
  }
  const data = sharedByteArray(matrixBytes(dtype, rows, columns, groups));
  let at = 0;
  for (const { name, entry } of parts) {
    const length = entry.end - entry.begin;
    yield* readTensor(weights, name, { offset: entry.begin, length, into: data.subarray(at, at + length) });
    at += length;
  }
  return { kind: 'memory', data, dtype, copy: false, layout: 'vd', groups };
}

function unitSource(
  values: Float32Array,
  v: number,
  d: number,
  layout: 'vd' | 'dv',
  strides: { row: number; column: number },
): MatrixSource {
  const unit = sharedArray('f32', v, d) as Float32Array;
  toUnitRows(values, unit, { v, d, ...strides });
  return { kind: 'memory', data: unit, dtype: 'f32', copy: layout === 'dv', layout };
}

/** Divides each of v rows by its length, in float64. */
export function toUnitRows(
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

/** Memory for a matrix, shared so that the backend may use it in place. */
export function sharedArray(
  dtype: Dtype,
  rows: number,
  columns: number,
): Float32Array | Uint16Array | Uint8Array {
  const { buffer } = sharedByteArray(rows * rowBytes(dtype, columns));
  if (!isFloat(dtype)) return new Uint8Array(buffer);
  return dtype === 'f32' ? new Float32Array(buffer) : new Uint16Array(buffer);
}

function sharedByteArray(count: number): Uint8Array {
  try {
    return new Uint8Array(new SharedArrayBuffer(count));
  } catch (cause) {
    throw outOfMemory(count, 'weight', cause);
  }
}
