/** An ONNX graph without its head: what of the file stays, and what takes the place of the rest. */
import { LMHeadError } from '../../errors';
import { quoted } from '../tensor-table';
import type { Cut, OnnxHead } from './head';
import type { OnnxGraph, OnnxModel, OnnxNode, Span } from './model';
import { Scope } from './scope';
import { bytesField, integerField, type Piece } from './wire';

/** The name of the output that takes the logits' place. */
export const HIDDEN_OUTPUT = 'last_hidden_state';

/** What becomes of a graph. */
interface Edit {
  removed: Set<unknown>;
  /** Names of values that are nowhere any more. */
  gone: Set<string>;
  /** The output, and what it becomes. */
  output: { index: number; name: string; type: number };
  added: Piece[];
  /** The node of a merged decoder's branches. */
  changed?: { node: OnnxNode; pieces: Piece[] };
  /** Of graphs within: which of their outputs has become another value. */
  outputs: Map<OnnxGraph, { index: number; name: string }>;
}

/**
 * @param file its name, for messages
 * @returns the body, in pieces of the file and between them
 * @throws LMHeadError TENSOR where something else has the output's name, or needs the logits
 */
export function bodyPieces(file: string, size: number, model: OnnxModel, head: OnnxHead): Piece[] {
  const { graph } = model;
  const scope = new Scope(graph);
  const { branches, cuts } = head;
  const index = graph.outputs.findIndex(({ name }) => name === head.output);
  const [{ hidden, type }] = cuts;
  const isNamed = hidden === HIDDEN_OUTPUT && !branches;
  if (!isNamed && scope.has(HIDDEN_OUTPUT)) {
    throw new LMHeadError(
      'TENSOR',
      `tensor: ${file} has a value ${quoted(HIDDEN_OUTPUT)} that is not what its head takes; want a graph without, as the body's output gets that name`,
    );
  }
  const edit: Edit = {
    ...{ removed: new Set(), gone: new Set(), added: [], outputs: new Map() },
    output: { index, name: HIDDEN_OUTPUT, type },
  };
  const names = namesOf(graph, index);
  if (branches) {
    const { node, output } = branches;
    edit.changed = { node, pieces: branchPieces(file, branches, cuts, edit) };
    remove(graph, edit, names.add(node.outputs[output]));
    const left = graph.nodes.find(
      other => !edit.removed.has(other) && namesIn(other, edit).has(node.outputs[output]),
    );
    if (left) {
      throw new LMHeadError(
        'TENSOR',
        `tensor: ${file} has logits that ${left.op} needs too; want a decoder that gives them and nothing made of them`,
      );
    }
  } else {
    if (!isNamed) edit.added = bytesField(1, identity(hidden, HIDDEN_OUTPUT));
    remove(graph, edit, names.add(hidden));
  }
  return replaced({ begin: 0, end: size }, [
    { ...model.span, pieces: bytesField(7, graphPieces(graph, edit)) },
  ]);
}

/** @param outer gets what the branches lose */
function branchPieces(
  file: string,
  { node, output }: NonNullable<OnnxHead['branches']>,
  cuts: Cut[],
  outer: Edit,
): Piece[] {
  const changes: Change[] = [{ ...node.outputSpans[output], pieces: bytesField(2, HIDDEN_OUTPUT) }];
  for (const attribute of node.attributes.values()) {
    const cut = cuts.find(({ graph }) => graph === attribute.graph);
    if (!cut || !attribute.graphSpan) continue;
    const { graph, hidden, type } = cut;
    const own = graph.nodes.some(({ outputs }) => outputs.includes(hidden));
    const name = own ? hidden : `${HIDDEN_OUTPUT}_of_branch`;
    if (!own && new Scope(graph).has(name)) {
      throw new LMHeadError('TENSOR', `tensor: ${file} has a value ${quoted(name)}; want a graph without`);
    }
    const edit: Edit = {
      ...{ removed: outer.removed, gone: new Set(), outputs: new Map() },
      output: { index: output, name, type },
      added: own ? [] : bytesField(1, identity(hidden, name)),
    };
    outer.outputs.set(graph, { index: output, name: hidden });
    remove(graph, edit, namesOf(graph, output).add(hidden));
    const inner = { ...attribute.graphSpan, pieces: bytesField(6, graphPieces(graph, edit)) };
    changes.push({ ...attribute.span, pieces: bytesField(5, replaced(attribute.contents, [inner])) });
  }
  return bytesField(1, replaced(node.contents, changes));
}

/** Node of the operator Identity. */
function identity(from: string, to: string): Piece[] {
  return [
    ...bytesField(1, from),
    ...bytesField(2, to),
    ...bytesField(3, '/lmhead/Identity'),
    ...bytesField(4, 'Identity'),
  ];
}

/** A value's description without a shape. */
function valueInfo(name: string, type: number): Piece[] {
  return [...bytesField(1, name), ...bytesField(2, bytesField(1, [integerField(1, type)]))];
}

/** Names of a graph's outputs but for one. */
function namesOf(graph: OnnxGraph, index: number): Set<string> {
  return new Set(graph.outputs.filter((_, i) => i !== index).map(({ name }) => name));
}

/** Finds what nothing needs any more: nodes, and initializers that those had. @param names of the outputs' values; get all that is taken */
function remove(graph: OnnxGraph, edit: Edit, names: Set<string>): void {
  const producers = new Map<string, OnnxNode>();
  for (const node of graph.nodes) for (const name of node.outputs) producers.set(name, node);
  const nodes = new Set<OnnxNode>();
  const open = [...names];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const node = producers.get(name);
    if (!node || nodes.has(node)) continue;
    nodes.add(node);
    for (const taken of namesIn(node, edit)) {
      if (names.has(taken)) continue;
      names.add(taken);
      open.push(taken);
    }
  }
  const before = new Set<string>();
  for (const node of graph.nodes) {
    for (const name of namesIn(node)) before.add(name);
    if (nodes.has(node)) continue;
    edit.removed.add(node);
    for (const name of node.outputs) edit.gone.add(name);
  }
  for (const tensor of graph.initializers.values()) {
    if (before.has(tensor.name) && !names.has(tensor.name)) edit.removed.add(tensor);
  }
  // Files of old have every initializer among the inputs as well.
  for (const input of graph.inputs) {
    const tensor = graph.initializers.get(input.name);
    if (tensor && edit.removed.has(tensor)) edit.removed.add(input);
  }
}

/** What a node takes, and what is taken in the graphs within it, of what they keep. */
function namesIn(node: OnnxNode, edit?: Edit): Set<string> {
  const names = new Set(node.inputs.filter(name => name !== ''));
  for (const { graph } of node.attributes.values()) {
    if (!graph) continue;
    const other = edit?.outputs.get(graph);
    for (const [i, { name }] of graph.outputs.entries()) names.add(i === other?.index ? other.name : name);
    for (const inner of graph.nodes) {
      if (edit?.removed.has(inner)) continue;
      for (const name of namesIn(inner, edit)) names.add(name);
    }
  }
  return names;
}

type Change = Span & { pieces: Piece[] };

function graphPieces(graph: OnnxGraph, edit: Edit): Piece[] {
  const { output, changed, removed, gone, added } = edit;
  const changes: Change[] = [];
  const drop = ({ begin, end }: Span) => changes.push({ begin, end, pieces: [] });
  for (const node of graph.nodes) {
    if (removed.has(node)) drop(node.span);
    else if (changed?.node === node) changes.push({ ...node.span, pieces: changed.pieces });
  }
  for (const tensor of graph.initializers.values()) if (removed.has(tensor)) drop(tensor.span);
  for (const input of graph.inputs) if (removed.has(input)) drop(input.span);
  const old = graph.outputs[output.index];
  for (const value of graph.values) {
    if (gone.has(value.name) || value.name === old.name || value.name === output.name) drop(value.span);
  }
  // Graphs that give their hidden states too have that output already.
  const isThere = graph.outputs.some(({ name }, i) => i !== output.index && name === output.name);
  changes.push({
    ...old.span,
    pieces: isThere ? [] : bytesField(12, valueInfo(output.name, output.type)),
  });
  return [...replaced(graph.contents, changes), ...added];
}

/** A span with parts of it replaced, which don't overlap. */
function replaced({ begin, end }: Span, changes: Change[]): Piece[] {
  const pieces: Piece[] = [];
  let at = begin;
  for (const change of changes.toSorted((a, b) => a.begin - b.begin)) {
    if (change.begin > at) pieces.push({ begin: at, end: change.begin });
    pieces.push(...change.pieces);
    at = change.end;
  }
  if (at < end) pieces.push({ begin: at, end });
  return pieces;
}
