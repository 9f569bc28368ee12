/** The input embedding of an ONNX decoder: what its ids are looked up in. */
import { LMHeadError } from '../../errors';
import type { Plan } from '../read-plan';
import { countOf } from '../tensor-table';
import type { OnnxGraph, OnnxModel, OnnxNode } from './model';
import { type Operand, resolveOperand } from './operand';
import { sameValues } from './same-values';
import { constantTensor, constantValues, HANDS_ON, isOnnx, nested, Scope, upstream } from './scope';
import { blockMatrix, perRowMatrix, type StoredMatrix, sameMatrix, storedMatrix } from './stored-matrix';
import { isFloating, type TensorReader, TYPE } from './tensor-data';

export interface Embedding {
  /** Is it the head's matrix? */
  tied: boolean;
  /** Where it is another; or where the head's is a copy of it. */
  matrix?: StoredMatrix;
  /** Why there is none. */
  problem?: string;
  /** What its rows are multiplied with. */
  scale: number;
}

interface Lookup {
  node: OnnxNode;
  scope: Scope;
  /** Which inputs have the table and the ids. */
  table: string;
  ids: string;
}

/** So many lookups are tried, where a graph has that many. */
const MOST_TRIED = 200;

export function* findEmbedding(reader: TensorReader, model: OnnxModel, head: StoredMatrix): Plan<Embedding> {
  let untied: Embedding | undefined;
  let problem: string | undefined;
  let tried = 0;
  for (const lookup of lookups(model.graph, undefined)) {
    if (tried++ >= MOST_TRIED) break;
    const byTokens = isOfTokens(lookup);
    try {
      const matrix = yield* tableOf(reader, lookup);
      if (!matrix) continue;
      if (sameMatrix(matrix, head)) return { tied: true, scale: yield* factorOf(reader, lookup) };
      if (!byTokens || untied) continue;
      if (yield* sameValues(reader, matrix, head))
        return { tied: true, matrix, scale: yield* factorOf(reader, lookup) };
      if (matrix.columns === head.columns)
        untied = { tied: false, matrix, scale: yield* factorOf(reader, lookup) };
      else
        problem ??= `${reader.file} has an embedding of rows of ${matrix.columns} elements, which are no hidden states`;
    } catch (error) {
      if (!(error instanceof LMHeadError)) throw error;
      if (byTokens) problem ??= error.message;
    }
  }
  return (
    untied ?? { tied: false, problem: problem ?? `${reader.file} looks up no ids in a matrix`, scale: 1 }
  );
}

function* lookups(graph: OnnxGraph, parent: Scope | undefined): Generator<Lookup> {
  const scope = new Scope(graph, parent);
  for (const node of graph.nodes) {
    const { op, domain, inputs, attributes } = node;
    const [first = '', second = '', third = ''] = inputs;
    if (isOnnx(node) && op === 'Gather' && !attributes.get('axis')?.integer) {
      yield { node, scope, table: first, ids: second };
    } else if (domain === 'com.microsoft' && op === 'GatherBlockQuantized') {
      yield { node, scope, table: first, ids: second };
    } else if (domain === 'com.microsoft' && op === 'EmbedLayerNormalization') {
      yield { node, scope, table: third, ids: first };
    }
  }
  for (const inner of nested(graph)) yield* lookups(inner, scope);
}

function* tableOf(reader: TensorReader, { node, scope, table }: Lookup): Plan<StoredMatrix | undefined> {
  const operand = yield* resolveOperand(reader, scope, table);
  if (operand?.dims.length !== 2 || operand.dims[0] === 0 || operand.dims[1] === 0) return undefined;
  if (node.op === 'Gather' && !operand.dequantized && !isFloating(operand.tensor.type)) {
    return yield* dequantizedLater(reader, node, scope, operand);
  }
  if (node.op !== 'GatherBlockQuantized') return yield* storedMatrix(reader, operand, true);
  const number = (name: string, otherwise: number) => node.attributes.get(name)?.integer ?? otherwise;
  const [rows, width] = operand.dims;
  if (number('gather_axis', 0) !== 0 || ![1, -1].includes(number('quantize_axis', 1))) {
    throw new LMHeadError(
      'TENSOR',
      `${reader.file} has GatherBlockQuantized over other axes than those of rows`,
    );
  }
  const packed = operand.tensor.type === TYPE.uint8;
  const bits = number('bits', 4);
  const columns = packed ? (width * 8) / bits : width;
  const names = { weight: table, scales: node.inputs[2] ?? '', zeros: node.inputs[3] ?? '' };
  return yield* blockMatrix(
    reader,
    scope,
    names,
    { rows, columns, bits, block: number('block_size', 128) },
    node.op,
  );
}

/** Of a table of integers, whose rows become values once they are looked up: by one scale for all. */
function* dequantizedLater(
  reader: TensorReader,
  { outputs }: OnnxNode,
  scope: Scope,
  operand: Operand,
): Plan<StoredMatrix | undefined> {
  const user = scope.graph.nodes.find(({ inputs }) => inputs[0] === outputs[0]);
  if (user?.op !== 'DequantizeLinear') return undefined;
  const [, scaleName = '', zeroName = ''] = user.inputs;
  const scales = constantTensor(scope, scaleName);
  const zeros = zeroName === '' ? undefined : constantTensor(scope, zeroName);
  if (!scales || countOf(scales.dims) !== 1 || (zeroName !== '' && !zeros)) return undefined;
  return yield* perRowMatrix(reader, { ...operand, turned: !operand.turned }, scales, zeros, user.op);
}

/** Do its ids come from the graph's input of tokens? */
function isOfTokens({ scope, ids }: Lookup): boolean {
  let name = ids;
  for (const known of upstream(scope, ids)) {
    if (known.kind === 'input') return /input_ids$|^(?:input|ids|tokens?)$/.test(name);
    if (known.kind !== 'node' || !isOnnx(known.node) || !HANDS_ON.has(known.node.op)) return false;
    name = known.node.inputs[0] ?? '';
  }
  return false;
}

/** The number that what was looked up is multiplied with, and nothing else is done to it. */
function* factorOf(reader: TensorReader, { node, scope }: Lookup): Plan<number> {
  let [value] = node.op === 'EmbedLayerNormalization' ? [] : node.outputs;
  for (let i = 0; i < 4 && value !== undefined; i++) {
    const users = scope.graph.nodes.filter(({ inputs }) => inputs.includes(value!));
    const [user] = users;
    if (users.length !== 1 || !isOnnx(user)) return 1;
    if (['Cast', 'Identity', 'DequantizeLinear'].includes(user.op)) {
      [value] = user.outputs;
      continue;
    }
    if (user.op !== 'Mul' || user.inputs.length !== 2) return 1;
    const other = user.inputs[0] === value ? user.inputs[1] : user.inputs[0];
    const values = yield* constantValues(reader, scope, other, 2 ** 16);
    return values?.length === 1 && Number.isFinite(values[0]) ? values[0] : 1;
  }
  return 1;
}
