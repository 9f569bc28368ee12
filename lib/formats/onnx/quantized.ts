/** Matrices of integers with scales and zero points for groups of a row: what they are, and how a pass reads them. */
import { narrow, unpack } from '../../dtypes/half';
import { ROW_FORMATS } from '../../dtypes/row-format';
import { type MatrixForm, rowRanges } from '../forms/form';
import type { Plan } from '../read-plan';
import { smallIntegers } from './tensor-data';

/** A number for each group of each row. */
export interface PerGroup {
  values: ArrayLike<number>;
  /** Strides. */
  row: number;
  group: number;
}

export interface Quantized {
  label: string;
  rows: number;
  columns: number;
  /** Numbers of a row that share a scale; the last group may have fewer. */
  group: number;
  bits: number;
  signed: boolean;
  /** Numbers from one row (or with `turned` one column) to the next. */
  stride: number;
  /** Stored [columns, rows]. */
  turned: boolean;
  scales: PerGroup;
  zeros: PerGroup;
}

/** Bytes of the stored integers. */
export type ReadLevels = (offset: number, length: number) => Plan<Uint8Array>;

const groupsOf = ({ columns, group }: Quantized) => Math.ceil(columns / group);

/** Visits all rows: q − zero of each of their elements. */
export function* eachRange(
  q: Quantized,
  read: ReadLevels,
  visit: (first: number, count: number, levels: Float32Array) => void,
): Plan<void> {
  const { rows, columns, bits, signed, stride, turned, group, zeros } = q;
  const whole = turned ? yield* read(0, Math.ceil((columns * stride * bits) / 8)) : undefined;
  for (const [first, count] of rowRanges(rows, columns * 4)) {
    const levels = new Float32Array(count * columns);
    if (whole) {
      for (let k = 0; k < columns; k++) {
        const some = smallIntegers(whole, k * stride + first, bits, signed, count);
        for (let i = 0; i < count; i++) levels[i * columns + k] = some[i];
      }
    } else {
      const from = Math.floor((first * stride * bits) / 8);
      const to = Math.ceil(((first + count) * stride * bits) / 8);
      const bytes = yield* read(from, to - from);
      const before = first * stride - (from * 8) / bits;
      for (let i = 0; i < count; i++) {
        levels.set(smallIntegers(bytes, before + i * stride, bits, signed, columns), i * columns);
      }
    }
    for (let i = 0; i < count; i++) {
      for (let k = 0, g = 0; k < columns; k += group, g++) {
        const zero = zeros.values[(first + i) * zeros.row + g * zeros.group];
        if (zero === 0) continue;
        const end = Math.min(columns, k + group);
        for (let j = k; j < end; j++) levels[i * columns + j] -= zero;
      }
    }
    visit(first, count, levels);
  }
}

/** What of it is to become. */
export interface Kept {
  dtype: MatrixForm['dtype'];
  /** What all of it is multiplied with beside: its one scale. */
  factor: number;
  /** Do scales lose nothing by it? */
  exact: boolean;
}

/** Scales as f16: all as they are, all rounded by no more than half a unit, or neither. */
function asHalves(values: Iterable<number>): 'exact' | 'rounded' | 'no' {
  let result: 'exact' | 'rounded' = 'exact';
  const list = Float32Array.from(values);
  const halves = unpack(narrow(list, 'f16') as Uint16Array, 'f16');
  for (let i = 0; i < list.length; i++) {
    if (halves[i] === list[i]) continue;
    if (!(Math.abs(halves[i] - list[i]) <= Math.abs(list[i]) * 2 ** -11)) return 'no';
    result = 'rounded';
  }
  return result;
}

function* eachValue({ values, row, group }: PerGroup, rows: number, groups: number): Generator<number> {
  for (let v = 0; v < (row === 0 ? 1 : rows); v++) {
    for (let g = 0; g < (group === 0 ? 1 : groups); g++) yield values[v * row + g * group];
  }
}

/** Which of the types that a pass reads holds it: exactly where one does, else with rounded scales. */
export function* keptAs(q: Quantized, read: ReadLevels): Plan<Kept> {
  const { rows, columns, group, bits, signed, scales, zeros } = q;
  const groups = groupsOf(q);
  const exact = (dtype: MatrixForm['dtype'], factor = 1): Kept => ({ dtype, factor, exact: true });
  const least = signed ? -(2 ** (bits - 1)) : 0;
  let lowest = 0;
  let highest = 0;
  let whole = true;
  for (const zero of eachValue(zeros, rows, groups)) {
    if (!Number.isInteger(zero)) whole = false;
    lowest = Math.min(lowest, least - zero);
    highest = Math.max(highest, least + 2 ** bits - 1 - zero);
  }
  if (!whole) return exact('f32');
  if (bits === 8 && (lowest < -128 || highest > 127)) {
    [lowest, highest] = yield* extremes(q, read);
  }
  const blocks = columns % 32 === 0 && (groups === 1 || group % 32 === 0);
  const halves = asHalves(eachValue(scales, rows, groups));
  const within = lowest >= -128 && highest <= 127;
  if (blocks && halves === 'exact') {
    if (lowest >= -8 && highest <= 7) return exact('q4_0');
    if (bits <= 4 && minimumsFit(q) === 'exact') return exact('q4_1');
  }
  if (within && groups === 1) return exact('i8');
  if (within && blocks && halves === 'exact') return exact('q8_0');
  if (blocks && halves === 'rounded') {
    const rounded = (dtype: MatrixForm['dtype']): Kept => ({ dtype, factor: 1, exact: false });
    if (lowest >= -8 && highest <= 7) return rounded('q4_0');
    if (bits <= 4 && minimumsFit(q) !== 'no') return rounded('q4_1');
    if (within) return rounded('q8_0');
  }
  // Integers up to 256 are exact in bf16, and one scale can be that of the logits.
  const [scale] = scales.row === 0 && scales.group === 0 ? [scales.values[0]] : [0];
  if (Number.isFinite(scale) && scale !== 0 && lowest >= -256 && highest <= 256) return exact('bf16', scale);
  return exact('f32');
}

/** q4_1's minimums: −zero·scale, with zeros of unsigned integers. */
function minimumsFit(q: Quantized): ReturnType<typeof asHalves> {
  const { rows, scales, zeros } = q;
  const groups = groupsOf(q);
  const all = function* () {
    for (let v = 0; v < rows; v++) {
      for (let g = 0; g < groups; g++) {
        yield unsignedZero(q, zeros.values[v * zeros.row + g * zeros.group]) *
          scales.values[v * scales.row + g * scales.group];
      }
    }
  };
  return asHalves(all());
}

function unsignedZero({ bits, signed }: Quantized, zero: number): number {
  return signed ? zero + 2 ** (bits - 1) : zero;
}

function* extremes(q: Quantized, read: ReadLevels): Plan<[number, number]> {
  let lowest = 0;
  let highest = 0;
  yield* eachRange(q, read, (_first, _count, levels) => {
    for (const level of levels) {
      if (level < lowest) lowest = level;
      else if (level > highest) highest = level;
    }
  });
  return [lowest, highest];
}

/** Writes all rows in the type that they are kept as. */
export function* fillRows(q: Quantized, { dtype }: Kept, read: ReadLevels, out: Uint8Array): Plan<void> {
  const { columns, group, scales } = q;
  const { elements, bytes, header } = ROW_FORMATS[dtype];
  const rowBytes = header + (columns / elements) * bytes;
  const view = new DataView(out.buffer, out.byteOffset, out.byteLength);
  const asHalf = (number: number) => narrow(Float32Array.of(number), 'f16')[0];
  yield* eachRange(q, read, (first, count, levels) => {
    for (let i = 0; i < count; i++) {
      const row = first + i;
      const at = row * rowBytes;
      const of = i * columns;
      const scale = (k: number) => scales.values[row * scales.row + Math.floor(k / group) * scales.group];
      if (dtype === 'i8') {
        view.setFloat32(at, scale(0), true);
        for (let k = 0; k < columns; k++) out[at + 4 + k] = levels[of + k];
      } else if (dtype === 'f32') {
        for (let k = 0; k < columns; k++) view.setFloat32(at + 4 * k, levels[of + k] * scale(k), true);
      } else if (dtype === 'bf16') {
        const words = narrow(levels.subarray(of, of + columns), 'bf16') as Uint16Array;
        for (let k = 0; k < columns; k++) view.setUint16(at + 2 * k, words[k], true);
      } else {
        for (let k = 0, to = at; k < columns; k += 32, to += bytes) {
          view.setUint16(to, asHalf(scale(k)), true);
          if (dtype === 'q8_0') {
            for (let j = 0; j < 32; j++) out[to + 2 + j] = levels[of + k + j];
            continue;
          }
          const zero = dtype === 'q4_0' ? 8 : zeroOf(q, row, k);
          if (dtype === 'q4_1') view.setUint16(to + 2, asHalf(-zero * scale(k)), true);
          const nibbles = to + (dtype === 'q4_0' ? 2 : 4);
          for (let j = 0; j < 16; j++) {
            out[nibbles + j] = (levels[of + k + j] + zero) | ((levels[of + k + j + 16] + zero) << 4);
          }
        }
      }
    }
  });
}

function zeroOf(q: Quantized, row: number, k: number): number {
  const { zeros, group } = q;
  return unsignedZero(q, zeros.values[row * zeros.row + Math.floor(k / group) * zeros.group]);
}

/** The largest difference that keeping it so makes to a weight. */
export function* largestError(q: Quantized, { dtype, exact }: Kept, read: ReadLevels): Plan<number> {
  if (exact) return 0;
  const { columns, group, scales } = q;
  const rounded = (x: number) => unpack(narrow(Float32Array.of(x), 'f16') as Uint16Array, 'f16')[0];
  let largest = 0;
  yield* eachRange(q, read, (first, count, levels) => {
    for (let i = 0; i < count; i++) {
      for (let k = 0, g = 0; k < columns; k += group, g++) {
        const scale = scales.values[(first + i) * scales.row + g * scales.group];
        const zero = dtype === 'q4_1' ? zeroOf(q, first + i, k) : 0;
        const minimum = dtype === 'q4_1' ? rounded(-zero * scale) : 0;
        const kept = rounded(scale);
        const end = Math.min(columns, k + group);
        for (let j = k; j < end; j++) {
          const level = levels[i * columns + j];
          const error = Math.abs(kept * (level + zero) + minimum - scale * level);
          if (error > largest) largest = error;
        }
      }
    }
  });
  return largest;
}
