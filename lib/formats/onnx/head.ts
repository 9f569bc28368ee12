/** The head of an ONNX decoder: found by walking backwards from its logits. */
import { LMHeadError } from '../../errors';
import type { Plan } from '../read-plan';
import { quoted } from '../tensor-table';
import { type Embedding, findEmbedding } from './embedding';
import { type HeadNode, headNode } from './head-node';
import type { OnnxGraph, OnnxModel, OnnxNode } from './model';
import { isOnnx, Scope } from './scope';
import { type StoredMatrix, sameMatrix } from './stored-matrix';
import { stepName, type Tail, tailOf, type Walked, walkTail } from './tail';
import { type TensorReader, typeName } from './tensor-data';

/** Where a graph is cut. */
export interface Cut {
  graph: OnnxGraph;
  /** Which of the graph's outputs it is. */
  output: number;
  /** The value that becomes the output. */
  hidden: string;
  /** Its TensorProto.DataType */
  type: number;
}

export interface OnnxHead {
  /** The graph's output. */
  output: string;
  matrix: StoredMatrix;
  tail: Tail;
  pattern: string;
  notes: string[];
  /** Does onnxruntime quantize the hidden states, where lmhead does not? */
  quantizesActivations: boolean;
  embedding: Embedding;
  /** Of a merged decoder each branch; else the graph. */
  cuts: Cut[];
  /** Of a merged decoder: the node with the branches, and which of its outputs has the logits. */
  branches?: { node: OnnxNode; output: number };
}

interface Found {
  head: HeadNode;
  tail: Tail;
  walked: Walked;
}

const SHOWN = 8;
const CACHES = /^(?:present|past|cache|new_|conv|ssm|encoder_|cross_)|cache|_state\b/i;

/**
 * @param wanted the name of an output, where the caller says it
 * @throws LMHeadError TENSOR where there is none, or several, or one that is not read; SHAPE, DTYPE, FORMAT, IO
 */
export function* findHead(reader: TensorReader, model: OnnxModel, wanted?: string): Plan<OnnxHead> {
  const scope = new Scope(model.graph);
  const outputs = model.graph.outputs.map(({ name }) => name);
  const named = wanted ?? (outputs.includes('logits') ? 'logits' : undefined);
  if (named !== undefined) return yield* headOf(reader, model, scope, named);
  const heads: OnnxHead[] = [];
  const others: string[] = [];
  for (const name of outputs.filter(output => !CACHES.test(output)).slice(0, 100)) {
    try {
      const head = yield* headOf(reader, model, scope, name);
      // Without logits' own name a projection would look like one.
      if (head.matrix.rows > head.matrix.columns) heads.push(head);
      else others.push(name);
    } catch (error) {
      if (!(error instanceof LMHeadError)) throw error;
      const known = scope.find(name);
      others.push(`${name.slice(0, 80)} (of ${stepName(known, name)})`);
    }
  }
  if (heads.length === 1) return heads[0];
  if (heads.length > 1) {
    throw new LMHeadError(
      'TENSOR',
      `tensor: ${reader.file} has several outputs that a head gives; want the option tensor with the name of one: ${listed(heads.map(({ output }) => output.slice(0, 80)))}`,
    );
  }
  const has = others.length > 0 ? listed(others) : listed(outputs.map(output => output.slice(0, 80)));
  throw new LMHeadError(
    'TENSOR',
    `tensor: ${reader.file} has no output of logits, but ${has || 'none at all'}; want a decoder with its head`,
  );
}

function listed(names: readonly string[]): string {
  const more = names.length > SHOWN ? `, and ${names.length - SHOWN} more` : '';
  return names.slice(0, SHOWN).join(', ') + more;
}

function* headOf(reader: TensorReader, model: OnnxModel, scope: Scope, output: string): Plan<OnnxHead> {
  const walked = yield* walkTail(reader, scope, output);
  const { end, value } = walked;
  const at = model.graph.outputs.findIndex(({ name }) => name === output);
  if (end?.kind === 'node' && isOnnx(end.node) && end.node.op === 'If') {
    return yield* mergedHead(reader, model, output, walked, end.node, end.scope);
  }
  const head = yield* headNode(reader, model, end, value);
  yield* reader.requireHeld(head.matrix.tensor);
  const tail = tailOf(reader, walked, head.matrix.rows, head.steps);
  const found = { head, tail, walked };
  const cut = cutOf(reader, found, model.graph, at);
  return yield* finished(reader, model, output, found, [cut]);
}

/** Both branches have the same head, or it is not one that can be cut. */
function* mergedHead(
  reader: TensorReader,
  model: OnnxModel,
  output: string,
  outer: Walked,
  node: OnnxNode,
  scope: Scope,
): Plan<OnnxHead> {
  const index = node.outputs.indexOf(outer.value);
  const found: Found[] = [];
  const cuts: Cut[] = [];
  for (const branch of ['then_branch', 'else_branch']) {
    const graph = node.attributes.get(branch)?.graph;
    const name = graph?.outputs[index]?.name;
    if (!graph || name === undefined) {
      throw new LMHeadError(
        'FORMAT',
        `${reader.file}: its If has no ${branch} with as many outputs; want a whole model`,
      );
    }
    const inner = yield* walkTail(reader, new Scope(graph, scope), name);
    const walked = {
      ...inner,
      steps: [...outer.steps, ...inner.steps],
      reshaped: outer.reshaped || inner.reshaped,
      casts: [...outer.casts, ...inner.casts],
    };
    const head = yield* headNode(reader, model, inner.end, inner.value);
    yield* reader.requireHeld(head.matrix.tensor);
    const one = { head, tail: tailOf(reader, walked, head.matrix.rows, head.steps), walked };
    found.push(one);
    cuts.push(cutOf(reader, one, graph, index));
  }
  const [a, b] = found;
  const same = (one: Tail, other: Tail) =>
    one.scale === other.scale &&
    one.softCap === other.softCap &&
    (one.bias === other.bias || (one.bias !== undefined && other.bias?.every((x, i) => x === one.bias![i])));
  if (!sameMatrix(a.head.matrix, b.head.matrix) || !same(a.tail, b.tail)) {
    throw new LMHeadError(
      'TENSOR',
      `tensor: the branches of the If in ${reader.file} have different heads; want a decoder whose branches share it`,
    );
  }
  const whole = yield* finished(reader, model, output, a, cuts);
  const notes = new Set([...a.head.notes, ...b.head.notes]);
  return {
    ...whole,
    pattern: `If of ${whole.pattern}`,
    notes: [...whole.notes.filter(note => !notes.has(note)), ...notes],
    branches: { node, output: index },
  };
}

/** What is taken for the hidden state: where the product is of rows alone, what these are made of. */
function cutOf(reader: TensorReader, { head, walked }: Found, graph: OnnxGraph, output: number): Cut {
  const { scope, matrix } = head;
  let { hidden } = head;
  if (!hidden) {
    throw new LMHeadError(
      'FORMAT',
      `${reader.file}: its ${head.node.op} takes no hidden states; want a whole model`,
    );
  }
  if (walked.reshaped) {
    const before = scope.find(hidden);
    const [from = ''] = before?.kind === 'node' && before.node.op === 'Reshape' ? before.node.inputs : [];
    // The Reshape may be of something else, so its shape has to be known.
    if (before?.scope === scope && scope.value(from)?.shape?.at(-1) === matrix.columns) hidden = from;
  }
  return { graph, output, hidden, type: scope.value(hidden)?.type || stateType(matrix) };
}

/** Hidden states have the type of what they are multiplied with. */
function stateType({ type }: StoredMatrix): number {
  return type;
}

function* finished(
  reader: TensorReader,
  model: OnnxModel,
  output: string,
  { head, tail, walked }: Found,
  cuts: Cut[],
): Plan<OnnxHead> {
  const { matrix, node, pattern } = head;
  const notes = [...head.notes];
  const casts = new Set(walked.casts.filter(type => type !== matrix.type));
  if (casts.size > 0) {
    notes.push(
      `the graph casts its logits from ${typeName(matrix.type)} to ${[...casts].map(typeName).join(', ')}; lmhead computes them in F32`,
    );
  }
  if (tail.parts.includes('mask'))
    notes.push('tokens that the graph masks have the logits that their bias gives');
  const embedding = yield* findEmbedding(reader, model, matrix);
  if (embedding.tied && embedding.matrix) {
    notes.push(`the head has a copy of ${quoted(embedding.matrix.tensor.name)}, which is used in its place`);
  }
  return {
    ...{ output, notes, cuts, tail, embedding, quantizesActivations: head.quantizesActivations },
    matrix: embedding.tied ? (embedding.matrix ?? matrix) : matrix,
    pattern: [node.domain === '' ? pattern : `${node.domain}.${pattern}`, ...tail.parts].join(' + '),
  };
}
