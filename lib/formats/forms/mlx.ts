/**
 * MLX's quantized matrices: U32 words [V, d·bits/32] with values of `bits` bits from the lowest on, and for each group of a row
 * a scale and a bias apart: a weight is scale·q + bias. Its microscaling modes have scales of one byte and no bias. The config says
 * bits and group size, for all modules or for one.
 */
import { LMHeadError } from '../../errors';
import type { Plan } from '../read-plan';
import {
  type FormContext,
  isScale,
  type Leaves,
  type MatrixForm,
  type Part,
  readScales,
  rowRanges,
  unpackBits,
  wrongShape,
} from './form';
import { E2M1, SMALL_FLOATS } from './small-floats';

const AFFINE_BITS = [2, 3, 4, 5, 6, 8];
const AFFINE_GROUPS = [32, 64, 128];

/** Modes without biases: bits, the values by their codes, and what scales are of. */
const MICROSCALED = new Map([
  ['mxfp4', { bits: 4, group: 32, values: E2M1, scale: SMALL_FLOATS.get('F8_E8M0')! }],
  [
    'mxfp8',
    { bits: 8, group: 32, values: SMALL_FLOATS.get('F8_E4M3')!, scale: SMALL_FLOATS.get('F8_E8M0')! },
  ],
  ['nvfp4', { bits: 4, group: 16, values: E2M1, scale: SMALL_FLOATS.get('F8_E4M3')! }],
]);

/** The shape of an affine matrix. */
export interface MlxAffine {
  rows: number;
  columns: number;
  bits: number;
  groupSize: number;
  weight: Part;
  scales: Part;
  biases: Part;
}

export function mlxForm(leaves: Leaves, context: FormContext): MatrixForm | undefined {
  const weight = leaves.get('weight');
  const scales = leaves.get('scales');
  const biases = leaves.get('biases');
  if (weight?.entry.dtype !== 'U32' || !scales) return undefined;
  if (!biases) return microscaled(weight, scales, context);
  const affine = affineOf(weight, scales, biases, context);
  const { rows, columns, bits } = affine;
  return {
    label: `MLX affine, ${bits} bits`,
    rows,
    columns,
    parts: [weight, scales, biases],
    dtype: 'f32',
    inPlace: inPlaceOf(affine),
    fill: (read, out) => fillAffine(affine, read, out as Float32Array),
  };
}

/** What passes read: 4 or 8 bits, with scales and biases of 16. */
function inPlaceOf({ bits, groupSize, scales, biases }: MlxAffine): MatrixForm['inPlace'] {
  const { dtype } = scales.entry;
  if ((bits !== 4 && bits !== 8) || biases.entry.dtype !== dtype || (dtype !== 'F16' && dtype !== 'BF16'))
    return undefined;
  return {
    dtype: bits === 4 ? 'mlx4' : 'mlx8',
    groups: { size: groupSize, dtype: dtype === 'F16' ? 'f16' : 'bf16' },
  };
}

function affineOf(weight: Part, scales: Part, biases: Part, context: FormContext): MlxAffine {
  const form = "MLX's affine quantization";
  requireMatrix(weight, context, form);
  const [rows, words] = weight.entry.shape;
  for (const part of [scales, biases]) {
    const { shape } = part.entry;
    if (
      shape.length !== 2 ||
      shape[0] !== rows ||
      shape[1] === 0 ||
      !isScale(part) ||
      part.entry.dtype.startsWith('F8')
    )
      throw wrongShape(context, part, form, `F16, BF16 or F32 [${rows}, groups of a row]`);
  }
  const groups = scales.entry.shape[1];
  if (biases.entry.shape[1] !== groups)
    throw wrongShape(context, biases, form, `[${rows},${groups}], as the scales`);
  const { bits, groupSize } = sizesOf(words, groups, AFFINE_BITS, AFFINE_GROUPS, context);
  return { rows, columns: groups * groupSize, bits, groupSize, weight, scales, biases };
}

function requireMatrix(weight: Part, context: FormContext, form: string): void {
  const { shape } = weight.entry;
  if (shape.length !== 2 || shape[0] === 0 || shape[1] === 0)
    throw wrongShape(context, weight, form, 'a matrix');
}

/** What the config says of the module, or what its width says, or what alone can be. */
function sizesOf(
  words: number,
  groups: number,
  allowedBits: readonly number[],
  allowedGroups: readonly number[],
  { file, module, quantization, hiddenSize }: FormContext,
): { bits: number; groupSize: number } {
  const { bits: saidBits, groupSize: saidGroup } = quantization?.modules?.get(module) ?? quantization ?? {};
  const possible: { bits: number; groupSize: number }[] = [];
  for (const bits of allowedBits) {
    const columns = (words * 32) / bits;
    const groupSize = columns / groups;
    if (!Number.isInteger(columns) || !allowedGroups.includes(groupSize)) continue;
    if (saidBits !== undefined && bits !== saidBits) continue;
    if (saidGroup !== undefined && groupSize !== saidGroup) continue;
    if (hiddenSize !== undefined && columns !== hiddenSize) continue;
    possible.push({ bits, groupSize });
  }
  if (possible.length === 1) return possible[0];
  const said = [
    saidBits && `${saidBits} bits`,
    saidGroup && `groups of ${saidGroup}`,
    hiddenSize && `hidden size ${hiddenSize}`,
  ]
    .filter(text => text)
    .join(', ');
  throw new LMHeadError(
    'SHAPE',
    `tensor: ${module} in ${file} has ${words} words and ${groups} scales a row, which ` +
      (possible.length === 0
        ? `no quantization of MLX gives${said ? ` with ${said}` : ''}; want files of one model`
        : `${possible.map(({ bits, groupSize }) => `${bits} bits in groups of ${groupSize}`).join(' or ')} may be; want the model's config.json beside it`),
  );
}

function* fillAffine(
  { rows, columns, bits, groupSize, weight, scales, biases }: MlxAffine,
  read: Parameters<MatrixForm['fill']>[0],
  out: Float32Array,
): Plan<void> {
  const bytesOfRow = (columns * bits) / 8;
  const groups = columns / groupSize;
  const q = new Uint8Array(columns);
  for (const [first, count] of rowRanges(rows, bytesOfRow)) {
    const bytes = yield* read(weight, first * bytesOfRow, count * bytesOfRow);
    const scale = yield* readScales(read, scales, first * groups, count * groups);
    const bias = yield* readScales(read, biases, first * groups, count * groups);
    for (let row = 0; row < count; row++) {
      unpackBits(bytes, row * bytesOfRow, bits, columns, q);
      const to = (first + row) * columns;
      for (let g = 0, k = 0; g < groups; g++) {
        const s = scale[row * groups + g];
        const b = bias[row * groups + g];
        for (const end = k + groupSize; k < end; k++) out[to + k] = s * q[k] + b;
      }
    }
  }
}

function microscaled(weight: Part, scales: Part, context: FormContext): MatrixForm {
  const mode =
    context.quantization?.modules?.get(context.module)?.mode ?? context.quantization?.mode ?? 'mxfp4';
  const kind = MICROSCALED.get(mode);
  if (!kind) {
    throw new LMHeadError(
      'DTYPE',
      `tensor: ${context.module} in ${context.file} is quantized in MLX's mode ${JSON.stringify(mode)}; want affine, ${[...MICROSCALED.keys()].join(', ')}`,
    );
  }
  const form = `MLX's ${mode}`;
  requireMatrix(weight, context, form);
  const [rows, words] = weight.entry.shape;
  const { shape, dtype } = scales.entry;
  if (shape.length !== 2 || shape[0] !== rows || shape[1] === 0 || dtype !== 'U8') {
    throw wrongShape(context, scales, form, `U8 [${rows}, groups of a row]`);
  }
  const groups = shape[1];
  const { bits, group, values, scale } = kind;
  const { groupSize } = sizesOf(words, groups, [bits], [group], context);
  const columns = groups * groupSize;
  return {
    label: `MLX ${mode}`,
    rows,
    columns,
    parts: [weight, scales],
    dtype: 'f32',
    *fill(read, out) {
      const bytesOfRow = (columns * bits) / 8;
      const codes = new Uint8Array(columns);
      for (const [first, count] of rowRanges(rows, bytesOfRow)) {
        const bytes = yield* read(weight, first * bytesOfRow, count * bytesOfRow);
        const scaleBytes = yield* read(scales, first * groups, count * groups);
        for (let row = 0; row < count; row++) {
          unpackBits(bytes, row * bytesOfRow, bits, columns, codes);
          const to = (first + row) * columns;
          for (let k = 0; k < columns; k++) {
            const s = scale[scaleBytes[row * groups + Math.floor(k / groupSize)]];
            out[to + k] = s * values[codes[k]];
          }
        }
      }
    },
  };
}
