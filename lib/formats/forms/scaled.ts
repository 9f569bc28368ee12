/**
 * Matrices of one byte a number, with scales beside them: FP8 (E4M3, E5M2) with one scale, one for each row, or one for each block of
 * 128 × 128; and int8 with one for each row, as compressed-tensors ('weight_scale') and bitsandbytes ('SCB', times 127) have it.
 */
import { rowBytes } from '../../dtypes/row-format';
import { LMHeadError } from '../../errors';
import type { Plan } from '../read-plan';
import { countOf } from '../tensor-table';
import {
  type FormContext,
  isScale,
  type Leaves,
  type MatrixForm,
  type Part,
  type ReadPart,
  readScales,
  rowRanges,
  wrongShape,
} from './form';
import { SMALL_FLOATS } from './small-floats';

/** Blocks of FP8 where no description says how large they are. */
const BLOCK = 128;
const SCALE_LEAVES = ['weight_scale', 'weight_scale_inv', 'scale', 'qscale_weight', 'scale_weight'];

export function scaledForm(leaves: Leaves, context: FormContext): MatrixForm | undefined {
  const weight = leaves.get('weight') ?? leaves.get('');
  if (!weight) return undefined;
  const { dtype, shape } = weight.entry;
  if (dtype !== 'I8' && dtype !== 'F8_E4M3' && dtype !== 'F8_E5M2') return undefined;
  if (shape.length !== 2 || shape[0] === 0 || shape[1] === 0) {
    throw wrongShape(context, weight, 'scales beside it', 'a matrix');
  }
  return dtype === 'I8' ? integers(weight, leaves, context) : smallFloats(weight, leaves, context);
}

function smallFloats(weight: Part, leaves: Leaves, context: FormContext): MatrixForm {
  const [rows, columns] = weight.entry.shape;
  const scales = SCALE_LEAVES.map(leaf => leaves.get(leaf)).find(part => part !== undefined);
  if (!scales) {
    throw new LMHeadError(
      'DTYPE',
      `tensor: ${weight.name} in ${context.file} is ${weight.entry.dtype} without a scale beside it; want its weight_scale, or F32, F16 or BF16`,
    );
  }
  const table = SMALL_FLOATS.get(weight.entry.dtype)!;
  const blocks = blocksOf(scales, rows, columns, context);
  return {
    label: `FP8 (${weight.entry.dtype.slice(3)})`,
    rows,
    columns,
    parts: [weight, scales],
    dtype: 'f32',
    *fill(read, out) {
      const scale = yield* readScales(read, scales, 0, countOf(scales.entry.shape)!);
      for (const [first, count] of rowRanges(rows, columns)) {
        const bytes = yield* read(weight, first * columns, count * columns);
        for (let row = 0; row < count; row++) {
          const from = row * columns;
          const to = (first + row) * columns;
          const line = Math.floor((first + row) / blocks.rows) * blocks.across;
          for (let k = 0; k < columns; k++) {
            out[to + k] = table[bytes[from + k]] * scale[line + Math.floor(k / blocks.columns)];
          }
        }
      }
    },
  };
}

/** How many rows and columns share a scale, and how many scales lie side by side. */
function blocksOf(scales: Part, rows: number, columns: number, context: FormContext) {
  const { shape } = scales.entry;
  const [down, across] =
    shape.length === 2 ? shape : shape.length === 1 ? [shape[0], 1] : [countOf(shape)!, 1];
  const [blockRows, blockColumns] = context.quantization?.block ?? [BLOCK, BLOCK];
  const along = (size: number, count: number, block: number): number | undefined => {
    if (count === 1) return size;
    if (count === Math.ceil(size / block)) return block;
    return count > 0 && size % count === 0 ? size / count : undefined;
  };
  const found = { rows: along(rows, down, blockRows), columns: along(columns, across, blockColumns) };
  if (shape.length > 2 || !isScale(scales) || !found.rows || !found.columns) {
    throw wrongShape(
      context,
      scales,
      `a matrix [${rows},${columns}]`,
      'one scale, one for each row, or one for each block',
    );
  }
  return { rows: found.rows, columns: found.columns, across };
}

function integers(weight: Part, leaves: Leaves, context: FormContext): MatrixForm | undefined {
  const [rows, columns] = weight.entry.shape;
  const bitsAndBytes = leaves.get('SCB') ?? leaves.get('weight.SCB');
  const scales = bitsAndBytes ?? leaves.get('weight_scale');
  if (!scales) return undefined;
  const count = countOf(scales.entry.shape)!;
  const { shape } = scales.entry;
  const perRow = shape[0] === rows && count === rows;
  if (!isScale(scales) || !(perRow || count === 1)) {
    throw wrongShape(context, scales, `int8 [${rows},${columns}]`, `one scale for each of ${rows} rows`);
  }
  const zero = leaves.get('weight_zero_point');
  if (zero) {
    throw new LMHeadError(
      'DTYPE',
      `tensor: ${context.module} in ${context.file} is int8 with zero points (${zero.name}); want it without, or F32, F16 or BF16`,
    );
  }
  return {
    label: bitsAndBytes ? 'int8 (bitsandbytes)' : 'int8 with a scale for each row',
    rows,
    columns,
    parts: [weight, scales],
    dtype: 'i8',
    fill: (read, out) => fillRows(read, weight, scales, perRow, bitsAndBytes ? 127 : 1, out as Uint8Array),
  };
}

/** i8's rows: a scale, then the values. */
function* fillRows(
  read: ReadPart,
  weight: Part,
  scales: Part,
  perRow: boolean,
  divisor: number,
  out: Uint8Array,
): Plan<void> {
  const [rows, columns] = weight.entry.shape;
  const stride = rowBytes('i8', columns);
  const view = new DataView(out.buffer, out.byteOffset, out.byteLength);
  for (const [first, count] of rowRanges(rows, columns)) {
    const bytes = yield* read(weight, first * columns, count * columns);
    const scale = yield* readScales(read, scales, perRow ? first : 0, perRow ? count : 1);
    for (let row = 0; row < count; row++) {
      const at = (first + row) * stride;
      view.setFloat32(at, scale[perRow ? row : 0] / divisor, true);
      out.set(bytes.subarray(row * columns, (row + 1) * columns), at + stride - columns);
    }
  }
}
