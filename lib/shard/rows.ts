/** Some rows of a matrix in a file: those that a shard holds, and those of targets that it does not. */
import type { MatrixSource } from '../backend/backend';
import { unpackedRows } from '../dtypes/dequantize';
import { type QuantizeTarget, quantizeRow } from '../dtypes/quantize';
import { rowBytes } from '../dtypes/row-format';
import { LMHeadError } from '../errors';
import type { Plan } from '../formats/read-plan';
import { bytesEach, storedAs, toFloats } from '../formats/stored-values';
import type { MatrixTensor } from '../formats/tensor-names';
import { readWeights, type Weights } from '../formats/weights';
import { sharedArray, toUnitRows } from '../head/matrix-source';
import { readTensor, requireInFile } from '../head/read-tensor';
import type { Dtype } from '../types';

/** Rows [first, first + count). */
export interface RowRange {
  first: number;
  count: number;
}

/** Where a shard's matrix came from: enough to find more of its rows, in another thread too. Structured-cloneable. */
export interface RowOrigin {
  path: string;
  /** The tensor's name. */
  tensor: string;
  columns: number;
  /** Rows are divided by their lengths. */
  unitRows?: boolean;
  /** They have been quantized since. */
  quantized?: QuantizeTarget;
}

/** What is known of a tensor's rows once they have been looked at. */
interface StoredRows {
  weights: Weights;
  tensor: Pick<MatrixTensor, 'name' | 'entry'>;
  what: string;
  dtype: Dtype;
  converted: boolean;
  /** In the file. */
  rowBytes: number;
}

function* storedRows(
  weights: Weights,
  tensor: Pick<MatrixTensor, 'name' | 'entry'>,
  columns: number,
): Plan<StoredRows> {
  const { name, entry } = tensor;
  const what = `tensor: ${name} in ${weights.name}`;
  yield* requireInFile(weights, tensor);
  const { dtype, converted } = storedAs(entry, what);
  const bytes = converted ? columns * bytesEach(entry) : rowBytes(dtype, columns);
  return { weights, tensor, what, dtype, converted, rowBytes: bytes };
}

/**
 * @param mapped whether rows may be used in place
 * @throws LMHeadError RANGE where a row's values do not lie together
 */
export function* shardSource(
  weights: Weights,
  tensor: MatrixTensor,
  range: RowRange,
  layout: 'vd' | 'dv',
  options: { mmap: boolean; load: boolean; unitRows?: boolean },
): Plan<MatrixSource> {
  const { name, entry, columns, form } = tensor;
  const reason =
    form?.label ?? (layout === 'dv' || entry.columnMajor ? 'stored column by column' : undefined);
  if (reason !== undefined) {
    throw new LMHeadError(
      'RANGE',
      `shard: got ${name} in ${weights.name}, ${reason}; want rows that lie one after another, as in a file that \`save\` of the whole head writes`,
    );
  }
  const rows = yield* storedRows(weights, tensor, columns);
  const { mmap, load, unitRows = false } = options;
  if (!load && !rows.converted && !unitRows && !weights.unpacked?.has(name)) {
    const path = weights.pathOf(name);
    const offset = entry.begin + range.first * rows.rowBytes;
    const length = range.count * rows.rowBytes;
    return { kind: 'file', path, offset, length, dtype: rows.dtype, mmap, layout: 'vd' };
  }
  return yield* readRanges(rows, [range], columns, unitRows);
}

/** So many bytes are converted at a time, or a row. */
const CONVERTED_AT_ONCE = 2 ** 23;

function* readRanges(
  stored: StoredRows,
  ranges: readonly RowRange[],
  columns: number,
  unitRows = false,
): Plan<MatrixSource> {
  const { weights, tensor, what, dtype, converted, rowBytes: stride } = stored;
  const total = ranges.reduce((sum, { count }) => sum + count, 0);
  const data = sharedArray(dtype, total, columns);
  const bytes = new Uint8Array(data.buffer);
  const most = converted ? Math.max(1, Math.floor(CONVERTED_AT_ONCE / stride)) : Infinity;
  let row = 0;
  for (const { first, count } of ranges) {
    for (let done = 0; done < count; ) {
      const some = Math.min(most, count - done);
      const offset = tensor.entry.begin + (first + done) * stride;
      if (converted) {
        const read = yield* readTensor(weights, tensor.name, { offset, length: some * stride });
        data.set(toFloats(read, tensor.entry, what), row * columns);
      } else {
        const into = bytes.subarray(row * stride, (row + some) * stride);
        yield* readTensor(weights, tensor.name, { offset, length: some * stride, into });
      }
      row += some;
      done += some;
    }
  }
  const held = { kind: 'memory', data, dtype, copy: false, layout: 'vd' } as const;
  return unitRows ? unitSource(held, total, columns) : held;
}

function unitSource({ data, dtype }: MatrixSource & { kind: 'memory' }, v: number, d: number): MatrixSource {
  const unit = sharedArray('f32', v, d) as Float32Array;
  toUnitRows(unpackedRows(data, dtype, d), unit, { v, d, row: d, column: 1 });
  return { kind: 'memory', data: unit, dtype: 'f32', copy: false, layout: 'vd' };
}

/** Reads rows of a shard's matrix that the shard does not hold. */
export class RowReader {
  readonly origin: RowOrigin;
  #stored: StoredRows | undefined;

  constructor(origin: RowOrigin) {
    this.origin = origin;
  }

  /** @param ids ascending, each once */
  *rows(ids: Uint32Array): Plan<MatrixSource> {
    const { path, tensor, columns, unitRows, quantized } = this.origin;
    if (!this.#stored) {
      const weights = yield* readWeights(path, tensor, false);
      const entry = weights.tensors.get(tensor);
      if (!entry) {
        throw new LMHeadError(
          'IO',
          `path: ${path} has no ${tensor} any more; want a file that stays as it is`,
        );
      }
      this.#stored = yield* storedRows(weights, { name: tensor, entry }, columns);
    }
    const source = yield* readRanges(this.#stored, runsOf(ids), columns, unitRows);
    return quantized ? quantizedSource(source, ids.length, columns, quantized) : source;
  }
}

/** Neighbors together. */
function runsOf(ids: Uint32Array): RowRange[] {
  const runs: RowRange[] = [];
  for (const id of ids) {
    const last = runs.at(-1);
    if (last && last.first + last.count === id) last.count++;
    else runs.push({ first: id, count: 1 });
  }
  return runs;
}

function quantizedSource(
  source: MatrixSource,
  rows: number,
  columns: number,
  dtype: QuantizeTarget,
): MatrixSource {
  const { data, dtype: from } = source as MatrixSource & { kind: 'memory' };
  const values = unpackedRows(data, from, columns);
  const stride = rowBytes(dtype, columns);
  const bytes = sharedArray(dtype, rows, columns) as Uint8Array;
  for (let i = 0; i < rows; i++) {
    const row = values.subarray(i * columns, (i + 1) * columns);
    quantizeRow(row, dtype, bytes.subarray(i * stride, (i + 1) * stride));
  }
  return { kind: 'memory', data: bytes, dtype, copy: false, layout: 'vd' };
}
