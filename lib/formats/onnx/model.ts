/** An ONNX file's graph: nodes by what they take and give, and where in the file each thing lies. Weights are not read. */
import { LMHeadError } from '../../errors';
import type { FilePlan } from '../read-plan';
import { Cursor, type Field, WIRE } from './wire';

/** [begin, end) of the file. */
export interface Span {
  begin: number;
  end: number;
}

/** TensorProto; its bytes are [begin, end) of the file, or of another one's. */
export interface OnnxTensor extends Span {
  name: string;
  dims: number[];
  /** TensorProto.DataType */
  type: number;
  /**
   * 'bytes': little-endian, as they lie. 'varints': an integer of up to 64 bits each. 'unread': elements one by one, strings,
   * or nothing.
   */
  encoding: 'bytes' | 'varints' | 'unread';
  /** Another file's, beside the model; a hole is what it has nothing to say of. */
  external?: { location?: string; offset?: string; length?: string };
}

export interface OnnxAttribute {
  integer?: number;
  float?: number;
  integers?: number[];
  tensor?: OnnxTensor;
  graph?: OnnxGraph;
  /** The whole field, and its contents. */
  span: Span;
  contents: Span;
  /** Of a graph, the field within. */
  graphSpan?: Span;
}

export interface OnnxNode {
  op: string;
  /** '' is ONNX's own. */
  domain: string;
  name: string;
  /** '' is one that is left out. */
  inputs: string[];
  outputs: string[];
  attributes: ReadonlyMap<string, OnnxAttribute>;
  /** The whole field, and its contents. */
  span: Span;
  contents: Span;
  /** Of the fields that name outputs. */
  outputSpans: Span[];
}

export interface OnnxValue {
  name: string;
  /** A tensor's TensorProto.DataType; 0 where that isn't said. */
  type: number;
  /** undefined: a size that is known only when the model runs. */
  shape?: (number | undefined)[];
  span: Span;
}

export interface OnnxGraph {
  nodes: OnnxNode[];
  initializers: Map<string, OnnxTensor & { span: Span }>;
  inputs: OnnxValue[];
  outputs: OnnxValue[];
  values: OnnxValue[];
  contents: Span;
}

export interface OnnxModel {
  graph: OnnxGraph;
  /** The graph's field. */
  span: Span;
  /** The model's own functions: '<domain> <name>'. */
  functions: Set<string>;
}

/** More nodes, attributes, tensors and values than any model has, each of which takes some hundred bytes of memory. */
const MOST_THINGS = 500_000;
/** A node is as large as so many others. */
const NODE = 4;
const NONE: OnnxNode['attributes'] = new Map();
/** Graphs within graphs. */
const DEEPEST = 16;
/** An attribute's list; of a longer one nothing here has use. */
const MOST_INTEGERS = 64;
/** Names of values are paths of modules. */
const LONGEST_TEXT = 10_000;
/** TensorProto's fields of elements: float_data, int32_data, string_data, int64_data, raw_data, double_data, uint64_data. */
const DATA_FIELDS: Record<number, OnnxTensor['encoding']> = {
  ...{ 4: 'bytes', 5: 'varints', 6: 'unread', 7: 'varints', 9: 'bytes', 10: 'bytes', 11: 'varints' },
};

/** @throws LMHeadError FORMAT */
export function* readModel(file: string, size: number): FilePlan<OnnxModel> {
  try {
    return yield* new Reader(size).model(size);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new LMHeadError(
      'FORMAT',
      `${file}: it is no whole ONNX model: ${error.message}; want one as exporters write`,
      {
        cause: error,
      },
    );
  }
}

class Reader {
  readonly #cursor: Cursor;
  #things = 0;

  constructor(size: number) {
    this.#cursor = new Cursor(size);
  }

  // Of a hostile file a message is two bytes, so each costs as little as it can: what is in memory is read without a generator.

  *model(size: number): FilePlan<OnnxModel> {
    let graph: OnnxGraph | undefined;
    let span: Span | undefined;
    const functions = new Set<string>();
    for (let field = yield* this.#next(size); field; field = yield* this.#next(size)) {
      if (field.number === 7) {
        if (graph) throw new SyntaxError('it has two graphs');
        span = spanOf(field);
        graph = yield* this.#graph(field, 0);
      } else if (field.number === 25) functions.add(yield* this.#function(field));
      this.#cursor.skip(field);
    }
    if (!graph || !span) throw new SyntaxError('it has no graph');
    return { graph, span, functions };
  }

  /** The next field of a message, if there is one. */
  *#next(end: number): FilePlan<Field | undefined> {
    const cursor = this.#cursor;
    if (cursor.at >= end) return undefined;
    if (!cursor.isReady(end)) yield* cursor.ready(end);
    return cursor.field(end);
  }

  #count(some = 1): void {
    this.#things += some;
    if (this.#things > MOST_THINGS) throw new SyntaxError('it has too many nodes and tensors');
  }

  /** A field that has to be bytes. */
  #bytes(field: Field): void {
    if (field.wire !== WIRE.bytes)
      throw new SyntaxError(`the field at byte ${field.begin} is of another type`);
  }

  *#text(field: Field): FilePlan<string> {
    this.#bytes(field);
    if (field.to - field.from > LONGEST_TEXT) {
      throw new SyntaxError(`the name at byte ${field.from} has more than ${LONGEST_TEXT} bytes`);
    }
    if (!this.#cursor.isReadyAll(field)) yield* this.#cursor.readyAll(field);
    return this.#cursor.text(field);
  }

  /** Two texts of a message, by their fields' numbers. */
  *#texts(end: number, one: number, other: number): FilePlan<[string, string]> {
    const texts: [string, string] = ['', ''];
    for (let field = yield* this.#next(end); field; field = yield* this.#next(end)) {
      if (field.number === one) texts[0] = yield* this.#text(field);
      else if (field.number === other) texts[1] = yield* this.#text(field);
      this.#cursor.skip(field);
    }
    return texts;
  }

  *#function(field: Field): FilePlan<string> {
    this.#bytes(field);
    this.#count();
    const [name, domain] = yield* this.#texts(field.to, 1, 10);
    return `${domain} ${name}`;
  }

  /** @returns undefined where they are more than a list here has use for */
  *#integers(field: Field): FilePlan<number[] | undefined> {
    // Of each there are ten bytes at most.
    if (field.to - field.from > 10 * MOST_INTEGERS) return undefined;
    if (!this.#cursor.isReadyAll(field)) yield* this.#cursor.readyAll(field);
    return this.#cursor.integers(field);
  }

  *#graph(field: Field, depth: number): FilePlan<OnnxGraph> {
    this.#bytes(field);
    if (depth > DEEPEST) throw new SyntaxError(`it has graphs within graphs, more than ${DEEPEST} deep`);
    const graph: OnnxGraph = {
      ...{ nodes: [], initializers: new Map(), inputs: [], outputs: [], values: [] },
      contents: { begin: field.from, end: field.to },
    };
    for (let each = yield* this.#next(field.to); each; each = yield* this.#next(field.to)) {
      switch (each.number) {
        case 1:
          graph.nodes.push(yield* this.#node(each, depth));
          break;
        case 5: {
          const tensor = yield* this.#tensor(each);
          if (graph.initializers.has(tensor.name))
            throw new SyntaxError('it has two initializers of one name');
          graph.initializers.set(tensor.name, { ...tensor, span: spanOf(each) });
          break;
        }
        case 11:
          graph.inputs.push(yield* this.#value(each));
          break;
        case 12:
          graph.outputs.push(yield* this.#value(each));
          break;
        case 13:
          graph.values.push(yield* this.#value(each));
          break;
      }
      this.#cursor.skip(each);
    }
    return graph;
  }

  *#node(field: Field, depth: number): FilePlan<OnnxNode> {
    this.#bytes(field);
    this.#count(NODE);
    const node: OnnxNode = {
      op: '',
      domain: '',
      name: '',
      inputs: [],
      outputs: [],
      outputSpans: [],
      attributes: NONE,
      span: spanOf(field),
      contents: { begin: field.from, end: field.to },
    };
    for (let each = yield* this.#next(field.to); each; each = yield* this.#next(field.to)) {
      switch (each.number) {
        case 1:
          this.#count();
          node.inputs.push(yield* this.#text(each));
          break;
        case 2:
          this.#count();
          node.outputs.push(yield* this.#text(each));
          node.outputSpans.push(spanOf(each));
          break;
        case 3:
          node.name = yield* this.#text(each);
          break;
        case 4:
          node.op = yield* this.#text(each);
          break;
        case 5: {
          const [name, attribute] = yield* this.#attribute(each, depth);
          if (node.attributes === NONE) node.attributes = new Map();
          (node.attributes as Map<string, OnnxAttribute>).set(name, attribute);
          break;
        }
        case 7: {
          const domain = yield* this.#text(each);
          node.domain = domain === 'ai.onnx' ? '' : domain;
          break;
        }
      }
      this.#cursor.skip(each);
    }
    return node;
  }

  *#attribute(field: Field, depth: number): FilePlan<[name: string, OnnxAttribute]> {
    this.#bytes(field);
    this.#count();
    const attribute: OnnxAttribute = {
      span: spanOf(field),
      contents: { begin: field.from, end: field.to },
    };
    let name = '';
    let list: number[] | undefined = [];
    for (let each = yield* this.#next(field.to); each; each = yield* this.#next(field.to)) {
      switch (each.number) {
        case 1:
          name = yield* this.#text(each);
          break;
        case 2:
          if (each.wire !== WIRE.bits32) break;
          if (!this.#cursor.isReadyAll(each)) yield* this.#cursor.readyAll(each);
          attribute.float = this.#cursor.float(each);
          break;
        case 3:
          attribute.integer = each.value;
          break;
        case 5:
          attribute.tensor = yield* this.#tensor(each);
          break;
        case 6:
          attribute.graph = yield* this.#graph(each, depth + 1);
          attribute.graphSpan = spanOf(each);
          break;
        case 8: {
          const more = yield* this.#integers(each);
          list = more && list && list.length + more.length <= MOST_INTEGERS ? [...list, ...more] : undefined;
          break;
        }
      }
      this.#cursor.skip(each);
    }
    if (list && list.length > 0) attribute.integers = list;
    return [name, attribute];
  }

  *#tensor(field: Field): FilePlan<OnnxTensor> {
    this.#bytes(field);
    this.#count();
    const tensor: OnnxTensor = { name: '', dims: [], type: 0, encoding: 'unread', begin: 0, end: 0 };
    let fields = 0;
    let isExternal = false;
    const external: OnnxTensor['external'] = {};
    for (let each = yield* this.#next(field.to); each; each = yield* this.#next(field.to)) {
      switch (each.number) {
        case 1: {
          const more = yield* this.#integers(each);
          if (!more || tensor.dims.length + more.length > MOST_INTEGERS || more.some(size => !(size >= 0))) {
            throw new SyntaxError(`the tensor at byte ${field.begin} has no shape`);
          }
          tensor.dims.push(...more);
          break;
        }
        case 2:
          tensor.type = each.value;
          break;
        case 8:
          tensor.name = yield* this.#text(each);
          break;
        case 13: {
          this.#bytes(each);
          this.#count();
          const [key, text] = yield* this.#texts(each.to, 1, 2);
          if (key === 'location' || key === 'offset' || key === 'length') external[key] = text;
          break;
        }
        case 14:
          isExternal = each.value === 1;
          break;
        default: {
          const encoding = DATA_FIELDS[each.number];
          if (encoding === undefined) break;
          fields++;
          tensor.encoding = each.wire === WIRE.bytes && fields === 1 ? encoding : 'unread';
          tensor.begin = each.from;
          tensor.end = each.to;
        }
      }
      this.#cursor.skip(each);
    }
    if (isExternal) {
      tensor.external = external;
      tensor.encoding = 'bytes';
    }
    return tensor;
  }

  *#value(field: Field): FilePlan<OnnxValue> {
    this.#bytes(field);
    this.#count();
    const value: OnnxValue = { name: '', type: 0, span: spanOf(field) };
    for (let each = yield* this.#next(field.to); each; each = yield* this.#next(field.to)) {
      if (each.number === 1) value.name = yield* this.#text(each);
      else if (each.number === 2) {
        this.#bytes(each);
        for (let tensor = yield* this.#next(each.to); tensor; tensor = yield* this.#next(each.to)) {
          if (tensor.number === 1) yield* this.#tensorType(tensor, value);
          this.#cursor.skip(tensor);
        }
      }
      this.#cursor.skip(each);
    }
    return value;
  }

  *#tensorType(field: Field, value: OnnxValue): FilePlan<void> {
    this.#bytes(field);
    for (let each = yield* this.#next(field.to); each; each = yield* this.#next(field.to)) {
      if (each.number === 1) value.type = each.value;
      else if (each.number === 2) {
        this.#bytes(each);
        value.shape = [];
        for (let size = yield* this.#next(each.to); size; size = yield* this.#next(each.to)) {
          if (size.number === 1) value.shape.push(yield* this.#dimension(size));
          this.#cursor.skip(size);
        }
      }
      this.#cursor.skip(each);
    }
  }

  *#dimension(field: Field): FilePlan<number | undefined> {
    this.#count();
    let size: number | undefined;
    for (let each = yield* this.#next(field.to); each; each = yield* this.#next(field.to)) {
      if (each.number === 1) size = each.value;
      this.#cursor.skip(each);
    }
    return size;
  }
}

function spanOf({ begin, to }: Field): Span {
  return { begin, end: to };
}
