/** The matrices of heads and embeddings: which tensors they are, and how their elements lie. */
import { LMHeadError } from '../../errors';
import type { Plan } from '../read-plan';
import { countOf, quoted, shapeText } from '../tensor-table';
import type { OnnxNode, OnnxTensor } from './model';
import { type Operand, resolveOperand } from './operand';
import type { PerGroup, Quantized } from './quantized';
import { constantTensor, type Scope } from './scope';
import { bitsOf, isFloating, isSigned, type TensorReader, TYPE, typeName } from './tensor-data';

/** [rows, columns]: of the vocabulary, and of the hidden state. */
export interface StoredMatrix {
  rows: number;
  columns: number;
  /** Its values. */
  tensor: OnnxTensor;
  /** Its tensors, whose identity is the matrix's. */
  tensors: OnnxTensor[];
  /** Stored [columns, rows]. */
  turned: boolean;
  /** Where its values are integers that stand for others. */
  quantized?: Quantized;
  /** The type of floating point that the graph has it in. */
  type: number;
}

/** @param asRows the operand is [rows, columns], not its transpose */
export function* storedMatrix(
  reader: TensorReader,
  { tensor, dims, turned, dequantized, cast }: Operand,
  asRows: boolean,
): Plan<StoredMatrix> {
  // As stored: is that [rows, columns]?
  const straight = asRows !== turned;
  const [rows, columns] = straight ? dims : [dims[1], dims[0]];
  const shape = { rows, columns, tensor, turned: !straight };
  if (!dequantized) {
    if (!isFloating(tensor.type)) {
      throw new LMHeadError(
        'DTYPE',
        `tensor: ${quoted(tensor.name)} in ${reader.file} is ${typeName(tensor.type)}; want F32, F16, BF16 or F64`,
      );
    }
    return { ...shape, tensors: [tensor], type: cast ?? tensor.type };
  }
  const { scales, zeros, axis, block, turned: sideTurned } = dequantized;
  const bits = integerBits(reader, tensor);
  if (dims.length !== 2) throw wrongSize(reader, tensor, 'two dimensions');
  // Along the rows of the matrix: is it the row, or the column, that has another scale?
  const alongRows = (axis === 0) === straight;
  const total = countOf(scales.dims) ?? 0;
  const size = dims[axis];
  let strides: Omit<PerGroup, 'values'>;
  let group = columns;
  if (block > 0) {
    const blocks = Math.ceil(size / block);
    const want = axis === 0 ? [blocks, dims[1]] : [dims[0], blocks];
    const [a, b] = sideTurned ? [want[1], want[0]] : want;
    if (scales.dims.length !== 2 || scales.dims[0] !== a || scales.dims[1] !== b)
      throw wrongSize(reader, scales, `[${a},${b}]`);
    if (alongRows) {
      throw new LMHeadError(
        'TENSOR',
        `tensor: ${quoted(tensor.name)} in ${reader.file} has scales for blocks of the vocabulary; want blocks of the hidden state`,
      );
    }
    group = block;
    // Scales lie as [rows, blocks], or as [blocks, rows].
    strides = straight !== sideTurned ? { row: blocks, group: 1 } : { row: 1, group: rows };
  } else if (total === 1) strides = { row: 0, group: 0 };
  else if (total !== size) throw wrongSize(reader, scales, `one scale, or ${size}`);
  else if (alongRows) strides = { row: 1, group: 0 };
  else {
    strides = { row: 0, group: 1 };
    group = 1;
  }
  const quantized: Quantized = {
    label: `QDQ, ${bits} bits`,
    ...{ rows, columns, group, bits, signed: isSigned(tensor.type), stride: straight ? columns : rows },
    turned: !straight,
    scales: { values: yield* reader.values(scales), ...strides },
    zeros: yield* zerosOf(reader, zeros, scales, strides, 0),
  };
  return {
    ...shape,
    tensors: [tensor, scales, ...(zeros ? [zeros] : [])],
    quantized,
    type: cast ?? scales.type,
  };
}

function* zerosOf(
  reader: TensorReader,
  zeros: OnnxTensor | undefined,
  scales: OnnxTensor,
  strides: Omit<PerGroup, 'values'>,
  otherwise: number,
): Plan<PerGroup> {
  if (!zeros) return { values: [otherwise], row: 0, group: 0 };
  if (countOf(zeros.dims) !== countOf(scales.dims))
    throw wrongSize(reader, zeros, `${shapeText(scales.dims)}, as the scales`);
  return { values: yield* reader.values(zeros), ...strides };
}

/** A scale, or one for each row; and zero points likewise. */
export function* perRowMatrix(
  reader: TensorReader,
  { tensor, dims, turned }: Operand,
  scales: OnnxTensor,
  zeros: OnnxTensor | undefined,
  label: string,
): Plan<StoredMatrix> {
  const bits = integerBits(reader, tensor);
  const [columns, rows] = turned ? [dims[1], dims[0]] : dims;
  const side = (of: OnnxTensor): Omit<PerGroup, 'values'> => {
    const total = countOf(of.dims) ?? 0;
    if (total !== 1 && total !== rows) throw wrongSize(reader, of, `one number, or ${rows}`);
    return { row: total === 1 ? 0 : 1, group: 0 };
  };
  const quantized: Quantized = {
    ...{
      label,
      rows,
      columns,
      group: columns,
      bits,
      signed: isSigned(tensor.type),
      stride: turned ? columns : rows,
    },
    turned: !turned,
    scales: { ...side(scales), values: yield* reader.values(scales) },
    zeros: zeros
      ? { ...side(zeros), values: yield* reader.values(zeros) }
      : { values: [0], row: 0, group: 0 },
  };
  const tensors = [tensor, scales, ...(zeros ? [zeros] : [])];
  return { rows, columns, tensor, tensors, turned: !turned, quantized, type: scales.type };
}

/** MatMulNBits' and GatherBlockQuantized's matrices: rows of whole blocks, values from the lowest bits on. */
export interface BlockShape {
  rows: number;
  columns: number;
  bits: number;
  block: number;
}

export function* blockMatrix(
  reader: TensorReader,
  scope: Scope,
  names: { weight: string; scales: string; zeros: string },
  { rows, columns, bits, block }: BlockShape,
  label: string,
): Plan<StoredMatrix> {
  const operand = yield* resolveOperand(reader, scope, names.weight);
  const scales = constantTensor(scope, names.scales);
  const zeros = names.zeros === '' ? undefined : constantTensor(scope, names.zeros);
  if (!operand || operand.dequantized || operand.turned || !scales || (names.zeros !== '' && !zeros)) {
    const name = !operand ? names.weight : !scales ? names.scales : names.zeros;
    throw new LMHeadError(
      'TENSOR',
      `tensor: ${label} in ${reader.file} takes ${quoted(name)}, which the file does not have as it is; want initializers`,
    );
  }
  const sizes = [rows, columns, bits, block];
  if (
    sizes.some(size => !Number.isSafeInteger(size) || size <= 0) ||
    ![2, 4, 8].includes(bits) ||
    block % 4 !== 0
  ) {
    throw new LMHeadError(
      'FORMAT',
      `${reader.file}: ${label} has [${rows},${columns}] of ${bits} bits in blocks of ${block}; want 2, 4 or 8 bits, and sizes above 0`,
    );
  }
  const { tensor } = operand;
  const blocks = Math.ceil(columns / block);
  // Of GatherBlockQuantized the integers may be of 4 bits by their type, and then stand one after another.
  const own = tensor.type !== TYPE.uint8;
  if (own && integerBits(reader, tensor) !== bits)
    throw wrongSize(reader, tensor, `U8, or integers of ${bits} bits`);
  const signed = own && isSigned(tensor.type);
  const bytes = reader.bytesOf(tensor);
  const padded = (rows * blocks * block * bits) / 8;
  const tight = Math.ceil((rows * columns * bits) / 8);
  if (bytes !== padded && bytes !== tight) throw wrongSize(reader, tensor, `${padded} bytes`);
  if (countOf(scales.dims) !== rows * blocks) throw wrongSize(reader, scales, `[${rows},${blocks}]`);
  const strides = { row: blocks, group: 1 };
  const quantized: Quantized = {
    ...{ label: `${label}, ${bits} bits`, rows, columns, group: block, bits, signed },
    stride: bytes === padded ? blocks * block : columns,
    turned: false,
    scales: { values: yield* reader.values(scales), ...strides },
    zeros: zeros
      ? yield* blockZeros(reader, zeros, { rows, blocks, bits }, signed)
      : { values: [own ? 0 : 2 ** (bits - 1)], row: 0, group: 0 }, // bytes alone are about their middle
  };
  const tensors = [tensor, scales, ...(zeros ? [zeros] : [])];
  return { rows, columns, tensor, tensors, turned: false, quantized, type: scales.type };
}

/** Zero points: values of the scales' type, or packed as the weights are, each row from a byte of its own on. */
function* blockZeros(
  reader: TensorReader,
  zeros: OnnxTensor,
  { rows, blocks, bits }: { rows: number; blocks: number; bits: number },
  signed: boolean,
): Plan<PerGroup> {
  const values = yield* reader.values(zeros);
  const count = rows * blocks;
  const perRow = Math.ceil((blocks * bits) / 8);
  if (zeros.type !== TYPE.uint8 || (bits === 8 && values.length === count)) {
    if (values.length !== count) throw wrongSize(reader, zeros, `[${rows},${blocks}]`);
    return { values, row: blocks, group: 1 };
  }
  if (values.length !== rows * perRow) throw wrongSize(reader, zeros, `[${rows},${perRow}]`);
  const perByte = 8 / bits;
  const mask = 2 ** bits - 1;
  const out = new Float32Array(count);
  for (let row = 0; row < rows; row++) {
    for (let g = 0; g < blocks; g++) {
      const q = (values[row * perRow + Math.floor(g / perByte)] >> ((g % perByte) * bits)) & mask;
      out[row * blocks + g] = signed && q >= 2 ** (bits - 1) ? q - 2 ** bits : q;
    }
  }
  return { values: out, row: blocks, group: 1 };
}

/** The sizes that a node's attributes say. */
export function blockShape({ attributes }: OnnxNode): BlockShape {
  const number = (name: string, otherwise: number) => attributes.get(name)?.integer ?? otherwise;
  return {
    rows: number('N', 0),
    columns: number('K', 0),
    bits: number('bits', 4),
    block: number('block_size', 0),
  };
}

function integerBits(reader: TensorReader, tensor: OnnxTensor): number {
  const bits = bitsOf(tensor.type) ?? 0;
  const { uint8, int8, uint4, int4, uint2, int2 } = TYPE;
  if ([uint8, int8, uint4, int4, uint2, int2].includes(tensor.type as 2)) return bits;
  throw new LMHeadError(
    'DTYPE',
    `tensor: ${quoted(tensor.name)} in ${reader.file} is ${typeName(tensor.type)}; want integers of 2, 4 or 8 bits`,
  );
}

function wrongSize(reader: TensorReader, { name, type, dims }: OnnxTensor, want: string): LMHeadError {
  return new LMHeadError(
    'SHAPE',
    `tensor: ${quoted(name)} in ${reader.file} is ${typeName(type)} ${shapeText(dims)}; want ${want}`,
  );
}

/** Are they the same values, by where they are? */
export function sameMatrix(a: StoredMatrix, b: StoredMatrix): boolean {
  return (
    a.rows === b.rows &&
    a.columns === b.columns &&
    a.turned === b.turned &&
    a.tensors.length === b.tensors.length &&
    a.tensors.every((tensor, i) => sameTensor(tensor, b.tensors[i]))
  );
}

function sameTensor(a: OnnxTensor, b: OnnxTensor): boolean {
  if (a === b) return true;
  if (a.type !== b.type || countOf(a.dims) !== countOf(b.dims)) return false;
  if (a.external || b.external) {
    const [one, other] = [a.external, b.external];
    return one?.location === other?.location && (one?.offset ?? '0') === (other?.offset ?? '0');
  }
  return a.begin === b.begin && a.end === b.end;
}
