/**
 * GPTQ and AWQ: integers in 32-bit words, scales and zero points for groups of inputs, all of it [inputs, outputs] and so turned
 * over here. GPTQ packs the inputs ('qweight' [d·bits/32, V]) and, in its first format, zero points less 1; AWQ packs the outputs
 * ('qweight' [d, V/8]) in an order of its own. Zero points ('qzeros' [groups, V·bits/32]) are packed along the outputs in both.
 */
import { LMHeadError } from '../../errors';
import type { Plan } from '../read-plan';
import {
  type FormContext,
  isScale,
  type Leaves,
  type MatrixForm,
  type Part,
  type ReadPart,
  readScales,
  readWords,
  rowRanges,
  wrongShape,
} from './form';

const GPTQ_BITS = [2, 4, 8];
/** AWQ's column of each of a word's eight values. */
const AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7];

/** What both have. */
interface Packed {
  /** Inputs, outputs, groups. */
  d: number;
  v: number;
  groups: number;
  qweight: Part;
  scales: Part;
  zeros?: Part;
}

export function gptqForm(leaves: Leaves, context: FormContext): MatrixForm | undefined {
  const qweight = leaves.get('qweight');
  const scales = leaves.get('scales');
  if (qweight?.entry.dtype !== 'I32' || !scales) return undefined;
  const [groups, v] = scales.entry.shape;
  if (scales.entry.shape.length !== 2 || groups === 0 || v === 0 || !isScale(scales)) {
    throw wrongShape(context, scales, 'GPTQ or AWQ', 'floats [groups, outputs]');
  }
  const { shape } = qweight.entry;
  const zeros = leaves.get('qzeros');
  const common = { v, groups, qweight, scales, zeros };
  if (shape.length === 2 && shape[1] === v) return gptq(common, shape[0], leaves.get('g_idx'), context);
  if (shape.length === 2 && shape[1] * 8 === v) return awq({ ...common, d: shape[0] }, context);
  throw wrongShape(context, qweight, 'GPTQ or AWQ', `[inputs/8,${v}] or [inputs,${v}/8]`);
}

function gptq(
  packed: Omit<Packed, 'd'>,
  words: number,
  order: Part | undefined,
  context: FormContext,
): MatrixForm {
  const { v, groups, qweight, scales, zeros } = packed;
  const { quantization, hiddenSize } = context;
  // Each says it: the description, the width, the zero points.
  const bits =
    quantization?.bits ??
    (hiddenSize === undefined ? (32 * (zeros?.entry.shape[1] ?? 0)) / v : (words * 32) / hiddenSize);
  if (!GPTQ_BITS.includes(bits)) {
    throw new LMHeadError(
      'DTYPE',
      `tensor: ${qweight.name} in ${context.file} has GPTQ's integers of ${bits} bits; want 2, 4 or 8`,
    );
  }
  const d = (words * 32) / bits;
  requireZeros(zeros, groups, (v * bits) / 32, 'GPTQ', context);
  if (
    order &&
    (order.entry.dtype !== 'I32' || order.entry.shape.length !== 1 || order.entry.shape[0] !== d)
  ) {
    throw wrongShape(context, order, 'GPTQ', `I32 [${d}]`);
  }
  if (!order && d % groups !== 0) throw wrongShape(context, scales, 'GPTQ', `groups of ${d} inputs`);
  const mask = 2 ** bits - 1;
  const perWord = 32 / bits;
  const less = quantization?.format === 'gptq_v2' ? 0 : 1;
  return {
    label: `GPTQ, ${bits} bits`,
    rows: v,
    columns: d,
    parts: [qweight, scales, ...(zeros ? [zeros] : []), ...(order ? [order] : [])],
    dtype: 'f32',
    *fill(read, out) {
      const scale = yield* readScales(read, scales, 0, groups * v);
      const zero = yield* zerosOf(
        read,
        packed,
        bits,
        (word, o) => ((word >>> ((o % perWord) * bits)) & mask) + less,
      );
      const group = order && (yield* groupsOf(read, order, groups, context));
      for (const [first, count] of rowRanges(words, v * 4)) {
        const bytes = yield* read(qweight, first * v * 4, count * v * 4);
        const word = new Uint32Array(bytes.buffer);
        for (let i = 0; i < count; i++) {
          for (let j = 0; j < perWord; j++) {
            const k = (first + i) * perWord + j;
            const at = (group ? group[k] : Math.floor(k / (d / groups))) * v;
            for (let o = 0; o < v; o++) {
              out[o * d + k] = (((word[i * v + o] >>> (j * bits)) & mask) - zero[at + o]) * scale[at + o];
            }
          }
        }
      }
    },
  };
}

/** The group of each input. */
function* groupsOf(read: ReadPart, order: Part, groups: number, { file }: FormContext): Plan<Uint32Array> {
  const group = yield* readWords(read, order);
  const wrong = group.findIndex(g => g >= groups);
  if (wrong < 0) return group;
  throw new LMHeadError(
    'FORMAT',
    `${file}: ${order.name} has ${group[wrong]} at ${wrong}; want a group below ${groups}`,
  );
}

function awq(packed: Packed, context: FormContext): MatrixForm {
  const { d, v, groups, qweight, scales, zeros } = packed;
  requireZeros(zeros, groups, v / 8, 'AWQ', context);
  if (d % groups !== 0) throw wrongShape(context, scales, 'AWQ', `groups of ${d} inputs`);
  const shifts = AWQ_ORDER.map((_, column) => AWQ_ORDER.indexOf(column) * 4);
  const at = (word: number, o: number) => (word >>> shifts[o % 8]) & 15;
  return {
    label: 'AWQ, 4 bits',
    rows: v,
    columns: d,
    parts: [qweight, scales, ...(zeros ? [zeros] : [])],
    dtype: 'f32',
    *fill(read, out) {
      const scale = yield* readScales(read, scales, 0, groups * v);
      const zero = yield* zerosOf(read, packed, 4, at);
      const words = v / 8;
      for (const [first, count] of rowRanges(d, words * 4)) {
        const bytes = yield* read(qweight, first * words * 4, count * words * 4);
        const word = new Uint32Array(bytes.buffer);
        for (let i = 0; i < count; i++) {
          const k = first + i;
          const g = Math.floor(k / (d / groups)) * v;
          for (let o = 0; o < v; o++) {
            out[o * d + k] = (at(word[i * words + (o >> 3)], o) - zero[g + o]) * scale[g + o];
          }
        }
      }
    },
  };
}

function requireZeros(
  zeros: Part | undefined,
  groups: number,
  words: number,
  form: string,
  context: FormContext,
): void {
  if (!zeros) return;
  const { dtype, shape } = zeros.entry;
  if (dtype === 'I32' && shape.length === 2 && shape[0] === groups && shape[1] === words) return;
  throw wrongShape(context, zeros, form, `I32 [${groups},${words}]`);
}

/** The zero point of each output in each group: half of the range where there are none. */
function* zerosOf(
  read: ReadPart,
  { zeros, groups, v }: Pick<Packed, 'zeros' | 'groups' | 'v'>,
  bits: number,
  numberAt: (word: number, output: number) => number,
): Plan<Uint16Array> {
  const result = new Uint16Array(groups * v);
  if (!zeros) return result.fill(2 ** (bits - 1));
  const words = yield* readWords(read, zeros);
  const perWord = 32 / bits;
  for (let g = 0; g < groups; g++) {
    for (let o = 0; o < v; o++) {
      result[g * v + o] = numberAt(words[g * (v / perWord) + Math.floor(o / perWord)], o);
    }
  }
  return result;
}
