/** Names in a graph, and in those around it. */
import { LMHeadError } from '../../errors';
import type { Plan } from '../read-plan';
import { quoted } from '../tensor-table';
import type { OnnxGraph, OnnxNode, OnnxTensor, OnnxValue } from './model';
import type { TensorReader } from './tensor-data';

/** What has a name. */
export type Known =
  | { kind: 'node'; node: OnnxNode; scope: Scope }
  | { kind: 'initializer'; tensor: OnnxTensor; scope: Scope }
  | { kind: 'input'; scope: Scope };

export class Scope {
  readonly graph: OnnxGraph;
  readonly parent: Scope | undefined;
  readonly #producers = new Map<string, OnnxNode>();
  readonly #inputs: Set<string>;
  readonly #values = new Map<string, OnnxValue>();

  constructor(graph: OnnxGraph, parent?: Scope) {
    this.graph = graph;
    this.parent = parent;
    this.#inputs = new Set(graph.inputs.map(({ name }) => name));
    for (const value of [...graph.values, ...graph.inputs, ...graph.outputs]) {
      this.#values.set(value.name, value);
    }
    for (const node of graph.nodes) for (const name of node.outputs) this.#producers.set(name, node);
  }

  find(name: string): Known | undefined {
    const node = this.#producers.get(name);
    if (node) return { kind: 'node', node, scope: this };
    const tensor = this.graph.initializers.get(name);
    if (tensor) return { kind: 'initializer', tensor, scope: this };
    if (this.#inputs.has(name)) return { kind: 'input', scope: this };
    return this.parent?.find(name);
  }

  /** Is it the name of anything here, or in graphs within? */
  has(name: string): boolean {
    return (
      this.find(name) !== undefined ||
      this.#values.has(name) ||
      nested(this.graph).some(graph => new Scope(graph).has(name))
    );
  }

  /** What is said of a value. */
  value(name: string): OnnxValue | undefined {
    return this.#values.get(name) ?? this.parent?.value(name);
  }
}

/** The graphs of a graph's nodes. */
export function nested(graph: OnnxGraph): OnnxGraph[] {
  return graph.nodes.flatMap(node =>
    [...node.attributes.values()].flatMap(({ graph }) => (graph ? [graph] : [])),
  );
}

/** Nodes that hand on what they get, but for its shape or its type of number. */
export const HANDS_ON = new Set(['Identity', 'Cast', 'Reshape', 'Squeeze', 'Unsqueeze', 'Flatten']);

/** No walk through a graph is longer than that: it would be one in a circle. */
const LONGEST_WALK = 100;

export function isOnnx({ domain }: OnnxNode): boolean {
  return domain === '';
}

/** A tensor that is known before the model runs, under whatever names; undefined where it is not. */
export function constantTensor(scope: Scope, name: string): OnnxTensor | undefined {
  let at: Known | undefined = scope.find(name);
  for (let i = 0; i < LONGEST_WALK && at; i++) {
    if (at.kind === 'initializer') return at.tensor;
    if (at.kind === 'input' || !isOnnx(at.node)) return undefined;
    const { op, attributes, inputs } = at.node;
    if (op === 'Constant') return attributes.get('value')?.tensor;
    if (!HANDS_ON.has(op)) return undefined;
    at = at.scope.find(inputs[0] ?? '');
  }
  return undefined;
}

/** The values of what is known before the model runs. @param most of them; more are an error */
export function* constantValues(
  reader: TensorReader,
  scope: Scope,
  name: string,
  most: number,
): Plan<Float32Array | Float64Array | undefined> {
  const tensor = constantTensor(scope, name);
  if (tensor) return yield* reader.values(tensor, most);
  const known = scope.find(name);
  if (known?.kind !== 'node' || known.node.op !== 'Constant') return undefined;
  const { attributes } = known.node;
  const number = attributes.get('value_float')?.float ?? attributes.get('value_int')?.integer;
  if (number !== undefined) return Float64Array.of(number);
  const list = attributes.get('value_ints')?.integers;
  return list && Float64Array.from(list);
}

/** The nodes that lead to a value, from it on: one input of each is followed. */
export function* upstream(scope: Scope, name: string): Generator<Known> {
  let at = scope.find(name);
  for (let i = 0; at; i++) {
    if (i > LONGEST_WALK) {
      throw new LMHeadError(
        'FORMAT',
        `the nodes before ${quoted(name)} are too many, or go in a circle; want a graph without`,
      );
    }
    yield at;
    if (at.kind !== 'node') return;
    at = at.scope.find(at.node.inputs[0] ?? '');
  }
}
