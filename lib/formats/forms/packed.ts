/**
 * compressed-tensors' "pack-quantized": integers of 4 or 8 bits, plus half of their range, from the lowest bits of 32-bit words on
 * ('weight_packed' [V, d·bits/32]); scales for each group of a row; zero points, packed down the rows; and 'weight_shape', [V, d].
 */
import { LMHeadError } from '../../errors';
import {
  type FormContext,
  isScale,
  type Leaves,
  type MatrixForm,
  type Part,
  readScales,
  readWords,
  rowRanges,
  wrongShape,
} from './form';

const FORM = "compressed-tensors' packed integers";
const BITS = [4, 8];

export function packedForm(leaves: Leaves, context: FormContext): MatrixForm | undefined {
  const packed = leaves.get('weight_packed');
  const scales = leaves.get('weight_scale');
  if (packed?.entry.dtype !== 'I32') return undefined;
  const [rows, words] = packed.entry.shape;
  if (packed.entry.shape.length !== 2 || rows === 0 || words === 0)
    throw wrongShape(context, packed, FORM, 'a matrix');
  if (!scales) throw missing(context, packed, 'weight_scale');
  if (leaves.has('weight_g_idx')) {
    throw new LMHeadError(
      'DTYPE',
      `tensor: ${context.module} in ${context.file} has its columns' groups in another order (weight_g_idx); want them in their own`,
    );
  }
  const shape = leaves.get('weight_shape');
  const bits = bitsOf(words, scales, shape !== undefined, context);
  const columns = (words * 32) / bits;
  const groups = scales.entry.shape[1] ?? 1;
  if (
    scales.entry.shape[0] !== rows ||
    scales.entry.shape.length > 2 ||
    !isScale(scales) ||
    columns % groups !== 0
  ) {
    throw wrongShape(context, scales, FORM, `[${rows}, groups of a row]`);
  }
  const zeros = leaves.get('weight_zero_point');
  if (
    shape &&
    (shape.entry.dtype !== 'I64' || shape.entry.shape.length !== 1 || shape.entry.shape[0] !== 2)
  ) {
    throw wrongShape(context, shape, FORM, 'I64 [2]');
  }
  const perWord = 32 / bits;
  const zeroWords = Math.ceil(rows / perWord);
  if (
    zeros &&
    (zeros.entry.dtype !== 'I32' ||
      zeros.entry.shape[0] !== zeroWords ||
      (zeros.entry.shape[1] ?? 1) !== groups)
  ) {
    throw wrongShape(context, zeros, FORM, `I32 [${zeroWords},${groups}]`);
  }
  const half = 2 ** (bits - 1);
  const mask = 2 ** bits - 1;
  return {
    label: `compressed-tensors, ${bits} bits`,
    rows,
    columns,
    parts: [packed, scales, ...(zeros ? [zeros] : []), ...(shape ? [shape] : [])],
    dtype: 'f32',
    *fill(read, out) {
      if (shape) {
        const { buffer } = yield* read(shape, 0, 16);
        const said = new BigInt64Array(buffer);
        if (said[0] !== BigInt(rows) || said[1] !== BigInt(columns)) {
          throw wrongShape(
            context,
            packed,
            `a weight_shape of [${said}]`,
            `[${rows},${columns}] of ${bits} bits`,
          );
        }
      }
      const zero = zeros && (yield* readWords(read, zeros));
      const groupSize = columns / groups;
      for (const [first, count] of rowRanges(rows, words * 4)) {
        const bytes = yield* read(packed, first * words * 4, count * words * 4);
        const word = new Uint32Array(bytes.buffer);
        const scale = yield* readScales(read, scales, first * groups, count * groups);
        for (let row = 0; row < count; row++) {
          const to = (first + row) * columns;
          for (let k = 0; k < columns; k++) {
            const g = Math.floor(k / groupSize);
            const q = (word[row * words + Math.floor(k / perWord)] >>> ((k % perWord) * bits)) & mask;
            const at = first + row;
            const z = zero
              ? (zero[Math.floor(at / perWord) * groups + g] >>> ((at % perWord) * bits)) & mask
              : half;
            out[to + k] = (q - z) * scale[row * groups + g];
          }
        }
      }
    },
  };
}

/** What the width says, or the config; without either 4, which is what everyone packs, if the matrix's own shape can confirm it. */
function bitsOf(words: number, scales: Part, confirmed: boolean, context: FormContext): number {
  const { quantization, hiddenSize } = context;
  const bits =
    hiddenSize !== undefined
      ? (words * 32) / hiddenSize
      : (quantization?.bits ?? (confirmed ? 4 : Number.NaN));
  if (BITS.includes(bits)) return bits;
  const wanted = Number.isNaN(bits)
    ? 'a config.json or a weight_shape that tells whether they have 4 bits or 8'
    : 'integers of 4 or 8 bits';
  throw wrongShape(context, scales, `${FORM} of ${words} words a row`, wanted);
}

function missing({ file, module }: FormContext, { name }: Part, leaf: string): LMHeadError {
  return new LMHeadError(
    'TENSOR',
    `tensor: ${file} has ${name}, as compressed-tensors packs integers, without ${module}.${leaf}; want both`,
  );
}
