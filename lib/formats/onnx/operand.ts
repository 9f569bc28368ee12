/** From a value to the stored matrix that it is: through the nodes that turn it, convert it, or multiply it out. */
import { LMHeadError } from '../../errors';
import type { Plan } from '../read-plan';
import { countOf, quoted, shapeText } from '../tensor-table';
import type { OnnxTensor } from './model';
import { constantTensor, constantValues, isOnnx, type Known, type Scope } from './scope';
import { isFloating, type TensorReader } from './tensor-data';

/** Of DequantizeLinear: (q − zero)·scale. Axis and block are those of the stored matrix. */
export interface Dequantized {
  scales: OnnxTensor;
  zeros?: OnnxTensor;
  axis: number;
  /** Elements along the axis that share a scale; 0: each index of it has its own, or there is one for all. */
  block: number;
  /** Scales and zeros lie as the matrix does after it was transposed. */
  turned: boolean;
}

export interface Operand {
  tensor: OnnxTensor;
  /** As it is stored, with a size for each axis. */
  dims: number[];
  /** What is used is its transpose. */
  turned: boolean;
  dequantized?: Dequantized;
  /** What the graph does to the values on the way, beside: 'rounds them to F16'. */
  cast?: number;
}

const DEEPEST = 20;

/**
 * @returns undefined where the value is computed as the model runs
 * @throws LMHeadError TENSOR for an operator that is not read
 */
export function* resolveOperand(
  reader: TensorReader,
  scope: Scope,
  name: string,
  depth = 0,
): Plan<Operand | undefined> {
  const known = scope.find(name);
  if (!known || known.kind === 'input' || depth > DEEPEST) return undefined;
  if (known.kind === 'initializer') {
    return { tensor: known.tensor, dims: known.tensor.dims, turned: false };
  }
  const { node } = known;
  if (!isOnnx(node)) return undefined;
  if (node.op === 'Constant') {
    const tensor = constantTensor(scope, name);
    return tensor && { tensor, dims: tensor.dims, turned: false };
  }
  const inner = () => resolveOperand(reader, known.scope, node.inputs[0] ?? '', depth + 1);
  switch (node.op) {
    case 'Identity':
      return yield* inner();
    case 'Cast': {
      const operand = yield* inner();
      const to = node.attributes.get('to')?.integer ?? 0;
      if (!operand || !isFloating(to) || (!operand.dequantized && !isFloating(operand.tensor.type)))
        return undefined;
      return { ...operand, cast: to };
    }
    case 'Transpose': {
      const operand = yield* inner();
      const perm = node.attributes.get('perm')?.integers ?? [1, 0];
      if (operand?.dims.length !== 2 || perm.length !== 2) return undefined;
      return perm[0] === 1 && perm[1] === 0 ? { ...operand, turned: !operand.turned } : operand;
    }
    case 'Reshape':
    case 'Squeeze':
    case 'Unsqueeze':
    case 'Flatten': {
      const operand = yield* inner();
      if (!operand || operand.turned || operand.dequantized) return undefined;
      const dims = yield* reshaped(reader, known, operand.dims);
      return dims && { ...operand, dims };
    }
    case 'DequantizeLinear': {
      const operand = yield* inner();
      if (!operand || operand.dequantized || operand.dims.length !== 2) return undefined;
      return yield* dequantized(known, operand);
    }
    default:
      return undefined;
  }
}

/** The shape that a node gives. */
function* reshaped(
  reader: TensorReader,
  { node, scope }: Known & { kind: 'node' },
  dims: number[],
): Plan<number[] | undefined> {
  if (node.op === 'Squeeze') return dims.filter(size => size !== 1);
  if (node.op === 'Unsqueeze') return dims;
  if (node.op === 'Flatten') {
    const axis = node.attributes.get('axis')?.integer ?? 1;
    const [rows, columns] = [countOf(dims.slice(0, axis)), countOf(dims.slice(axis))];
    return rows === undefined || columns === undefined ? undefined : [rows, columns];
  }
  const said = yield* constantValues(reader, scope, node.inputs[1] ?? '', 64);
  if (!said) return undefined;
  const total = countOf(dims);
  const sizes = Array.from(said, (size, i) => (size === 0 ? (dims[i] ?? 0) : size));
  const known = countOf(sizes.filter(size => size !== -1));
  if (total === undefined || !known) return undefined;
  const whole = sizes.map(size => (size === -1 ? total / known : size));
  return countOf(whole) === total && whole.every(Number.isSafeInteger) ? whole : undefined;
}

// biome-ignore lint/correctness/useYield: a plan that needs nothing.
function* dequantized(
  { node, scope }: Known & { kind: 'node' },
  operand: Operand,
): Plan<Operand | undefined> {
  const scales = constantTensor(scope, node.inputs[1] ?? '');
  if (!scales) return undefined;
  const zeroName = node.inputs[2] ?? '';
  const zeros = zeroName === '' ? undefined : constantTensor(scope, zeroName);
  if (zeroName !== '' && !zeros) return undefined;
  const said = node.attributes.get('axis')?.integer ?? 1;
  const axis = said < 0 ? said + 2 : said;
  const block = node.attributes.get('block_size')?.integer ?? 0;
  if (axis !== 0 && axis !== 1) return undefined;
  return {
    ...operand,
    dequantized: { scales, zeros, axis: operand.turned ? 1 - axis : axis, block, turned: operand.turned },
  };
}

/**
 * A matrix of two dimensions.
 * @param what for messages: the argument of the node
 * @throws LMHeadError TENSOR, SHAPE
 */
export function* resolveMatrix(
  reader: TensorReader,
  scope: Scope,
  name: string,
  what: string,
): Plan<Operand> {
  const operand = yield* resolveOperand(reader, scope, name);
  if (!operand) {
    const known = scope.find(name);
    const by = known?.kind === 'node' ? `, what ${known.node.op} gives` : '';
    throw new LMHeadError(
      'TENSOR',
      `tensor: ${what} in ${reader.file} is ${quoted(name)}${by}; want a matrix that the file has, or Transpose, Cast, Identity, Reshape or DequantizeLinear of one`,
    );
  }
  const { dims } = operand;
  if (dims.length === 2 && dims[0] > 0 && dims[1] > 0) return operand;
  throw new LMHeadError(
    'SHAPE',
    `tensor: ${what} in ${reader.file} is ${shapeText(dims)}; want two dimensions above 0`,
  );
}
