/** The node that makes logits of hidden states, whichever it is, and its weight. */
import { LMHeadError } from '../../errors';
import type { Plan } from '../read-plan';
import { quoted } from '../tensor-table';
import type { OnnxModel, OnnxNode } from './model';
import { resolveMatrix } from './operand';
import { constantTensor, constantValues, isOnnx, type Known, type Scope } from './scope';
import { blockMatrix, blockShape, perRowMatrix, type StoredMatrix, storedMatrix } from './stored-matrix';
import { ownSteps, stepName } from './tail';
import type { TensorReader } from './tensor-data';

export interface HeadNode {
  scope: Scope;
  node: OnnxNode;
  /** The value that it takes; none in a damaged graph. */
  hidden: string | undefined;
  matrix: StoredMatrix;
  /** What it does beside the product. */
  steps: ReturnType<typeof ownSteps>;
  /** For reports. */
  pattern: string;
  /** What cutting it off changes. */
  notes: string[];
  /** Does onnxruntime quantize what it takes to 8 bits? */
  quantizesActivations: boolean;
}

/** Most elements of a bias: as many as there are tokens. */
const MOST = 2 ** 26;

const QUANTIZED_ACTIVATIONS =
  'onnxruntime rounds the hidden states to 8 bits here, and lmhead does not: some tokens will differ, and lmhead is the more exact';

const QUANTIZED = { notes: [QUANTIZED_ACTIVATIONS], quantizesActivations: true };
const MAYBE_QUANTIZED =
  'onnxruntime may turn this into MatMulNBits with accuracy level 4, which rounds the hidden states to 8 bits; lmhead does not';

/** @throws LMHeadError TENSOR where it is none that is read, with its name */
export function* headNode(
  reader: TensorReader,
  model: OnnxModel,
  known: Known | undefined,
  value: string,
): Plan<HeadNode> {
  if (known?.kind !== 'node') {
    throw new LMHeadError(
      'TENSOR',
      `tensor: the logits of ${reader.file} come from ${quoted(value)}, ${known ? `an ${known.kind === 'input' ? 'input' : 'initializer'} of the graph` : 'which nothing gives'}; want a graph that ends in its head`,
    );
  }
  const { node, scope } = known;
  const found = { scope, node, steps: [], notes: [] as string[], quantizesActivations: false };
  const what = `the weight of ${stepName(known, value)}`;
  if (isOnnx(node)) {
    if (node.op === 'MatMul') {
      const operand = yield* resolveMatrix(reader, scope, node.inputs[1] ?? '', what);
      const matrix = yield* storedMatrix(reader, operand, false);
      if (matrix.quantized) Object.assign(found, { notes: [MAYBE_QUANTIZED], quantizesActivations: true });
      return {
        ...found,
        hidden: node.inputs[0],
        matrix,
        pattern: matrix.quantized ? 'MatMul of DequantizeLinear' : 'MatMul',
      };
    }
    if (node.op === 'Gemm') return yield* gemm(reader, known, found, what);
    if (node.op === 'Mul') {
      const dynamic = yield* dynamicInteger(reader, known, found);
      if (dynamic) return dynamic;
    }
  } else if (node.domain === 'com.microsoft') {
    if (node.op === 'FusedMatMul' || node.op === 'TransposeMatMul')
      return yield* fused(reader, known, found, what);
    if (node.op === 'MatMulNBits') return yield* nBits(reader, known, found);
    if (node.op === 'MatMulIntegerToFloat') return yield* integerToFloat(reader, known, found);
    if (node.op === 'DynamicQuantizeMatMul') return yield* dynamicMatMul(reader, known, found);
  }
  throw refusedNode(reader, model, node);
}

function refusedNode(reader: TensorReader, model: OnnxModel, node: OnnxNode): LMHeadError {
  const name = node.domain === '' ? node.op : `${node.domain}.${node.op}`;
  const isLocal = model.functions.has(`${node.domain} ${node.op}`);
  return new LMHeadError(
    'TENSOR',
    `tensor: the logits of ${reader.file} come from ${quoted(name)}${isLocal ? ', a function of the model’s own' : ''}, which is not cut; ` +
      'want MatMul, Gemm, MatMulNBits, or MatMulInteger after DynamicQuantizeLinear',
  );
}

type Found = Pick<HeadNode, 'scope' | 'node' | 'steps' | 'notes' | 'quantizesActivations'>;
type KnownNode = Known & { kind: 'node' };

function refused(reader: TensorReader, { op }: OnnxNode, why: string): LMHeadError {
  return new LMHeadError('TENSOR', `tensor: ${reader.file} has ${op} ${why}; want one without`);
}

function* gemm(reader: TensorReader, { node, scope }: KnownNode, found: Found, what: string): Plan<HeadNode> {
  const { attributes, inputs } = node;
  if (attributes.get('transA')?.integer) throw refused(reader, node, 'with transA');
  const operand = yield* resolveMatrix(reader, scope, inputs[1] ?? '', what);
  const matrix = yield* storedMatrix(reader, operand, attributes.get('transB')?.integer === 1);
  const alpha = attributes.get('alpha')?.float ?? 1;
  const beta = attributes.get('beta')?.float ?? 1;
  const bias = yield* biasOf(reader, scope, node, inputs[2]);
  const steps = ownSteps(alpha, bias && (beta === 1 ? bias : Float64Array.from(bias, x => x * beta)));
  return { ...found, hidden: inputs[0], matrix, steps, pattern: 'Gemm' };
}

function* fused(
  reader: TensorReader,
  { node, scope }: KnownNode,
  found: Found,
  what: string,
): Plan<HeadNode> {
  const { attributes, inputs } = node;
  for (const name of ['transA', 'transBatchA', 'transBatchB']) {
    if (attributes.get(name)?.integer) throw refused(reader, node, `with ${name}`);
  }
  const operand = yield* resolveMatrix(reader, scope, inputs[1] ?? '', what);
  const matrix = yield* storedMatrix(reader, operand, attributes.get('transB')?.integer === 1);
  return {
    ...found,
    hidden: inputs[0],
    matrix,
    steps: ownSteps(attributes.get('alpha')?.float ?? 1),
    pattern: node.op,
  };
}

function* nBits(reader: TensorReader, { node, scope }: KnownNode, found: Found): Plan<HeadNode> {
  const { attributes, inputs } = node;
  if (attributes.get('weight_prepacked')?.integer) throw refused(reader, node, 'with prepacked weights');
  if ((inputs[4] ?? '') !== '') throw refused(reader, node, 'with columns in another order (g_idx)');
  const names = { weight: inputs[1] ?? '', scales: inputs[2] ?? '', zeros: inputs[3] ?? '' };
  const matrix = yield* blockMatrix(reader, scope, names, blockShape(node), node.op);
  const steps = ownSteps(1, yield* biasOf(reader, scope, node, inputs[5]));
  const activations = attributes.get('accuracy_level')?.integer === 4 ? QUANTIZED : {};
  return { ...found, ...activations, hidden: inputs[0], matrix, steps, pattern: node.op };
}

function* biasOf(
  reader: TensorReader,
  scope: Scope,
  node: OnnxNode,
  name = '',
): Plan<Float32Array | Float64Array | undefined> {
  if (name === '') return undefined;
  const bias = yield* constantValues(reader, scope, name, MOST);
  if (!bias) throw refused(reader, node, `with a bias that is computed, ${quoted(name)}`);
  return bias;
}

/** Mul(Cast(MatMulInteger(hq, Wq, hzp, wzp)), Mul(hs, ws)) of what DynamicQuantizeLinear(h) gives. */
function* dynamicInteger(
  reader: TensorReader,
  { node, scope }: KnownNode,
  found: Found,
): Plan<HeadNode | undefined> {
  for (const [a, b] of [node.inputs, node.inputs.toReversed()]) {
    let product = producer(scope, a);
    if (product?.node.op === 'Cast') product = producer(product.scope, product.node.inputs[0]);
    const factors = producer(scope, b);
    if (product?.node.op !== 'MatMulInteger' || factors?.node.op !== 'Mul') continue;
    const [states, weight, , zero = ''] = product.node.inputs;
    const quantize = producer(product.scope, states);
    if (quantize?.node.op !== 'DynamicQuantizeLinear') continue;
    const scaleName = factors.node.inputs.find(name => name !== quantize.node.outputs[1]);
    if (scaleName === undefined || !factors.node.inputs.includes(quantize.node.outputs[1])) continue;
    const scales = constantTensor(factors.scope, scaleName);
    if (!scales) throw refused(reader, product.node, `with a scale that is computed, ${quoted(scaleName)}`);
    const hidden = quantize.node.inputs[0];
    const matrix = yield* integerMatrix(reader, product, weight, scales, zero);
    return { ...found, hidden, matrix, ...QUANTIZED, pattern: 'MatMulInteger' };
  }
  return undefined;
}

function* integerMatrix(
  reader: TensorReader,
  { node, scope }: KnownNode,
  weight: string,
  scales: Parameters<typeof perRowMatrix>[2],
  zeroName: string,
): Plan<StoredMatrix> {
  const operand = yield* resolveMatrix(reader, scope, weight, `the weight of ${node.op}`);
  if (operand.dequantized) throw refused(reader, node, 'of what DequantizeLinear gives');
  const zero = zeroName === '' ? undefined : constantTensor(scope, zeroName);
  if (zeroName !== '' && !zero)
    throw refused(reader, node, `with a zero point that is computed, ${quoted(zeroName)}`);
  return yield* perRowMatrix(reader, operand, scales, zero, node.op);
}

/** com.microsoft.MatMulIntegerToFloat(hq, Wq, hs, ws, hzp, wzp, bias) of what DynamicQuantizeLinear(h) gives. */
function* integerToFloat(reader: TensorReader, known: KnownNode, found: Found): Plan<HeadNode> {
  const { node, scope } = known;
  const [states, weight, , scaleName = '', , zero = '', bias] = node.inputs;
  const quantize = producer(scope, states);
  const scales = constantTensor(scope, scaleName);
  if (quantize?.node.op !== 'DynamicQuantizeLinear' || !scales) {
    throw refused(reader, node, 'without DynamicQuantizeLinear before it, or with scales that are computed');
  }
  const matrix = yield* integerMatrix(reader, known, weight, scales, zero);
  const steps = ownSteps(1, yield* biasOf(reader, scope, node, bias));
  return {
    ...found,
    hidden: quantize.node.inputs[0],
    matrix,
    steps,
    ...QUANTIZED,
    pattern: node.op,
  };
}

/** com.microsoft.DynamicQuantizeMatMul(h, Wq, ws, wzp, bias) */
function* dynamicMatMul(reader: TensorReader, known: KnownNode, found: Found): Plan<HeadNode> {
  const { node, scope } = known;
  const [hidden, weight, scaleName = '', zero = '', bias] = node.inputs;
  const scales = constantTensor(scope, scaleName);
  if (!scales) throw refused(reader, node, 'with scales that are computed');
  const matrix = yield* integerMatrix(reader, known, weight, scales, zero);
  const steps = ownSteps(1, yield* biasOf(reader, scope, node, bias));
  return { ...found, hidden, matrix, steps, ...QUANTIZED, pattern: node.op };
}

function producer(scope: Scope, name: string | undefined): KnownNode | undefined {
  const known = name === undefined ? undefined : scope.find(name);
  return known?.kind === 'node' ? known : undefined;
}
