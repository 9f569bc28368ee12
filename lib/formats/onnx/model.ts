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
   * 'bytes': little-endian, as they lie. 'varints': an integer of up to 64 bits each. 'unread': numbers one by one, strings,
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
  text?: string;
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
  attributes: Map<string, OnnxAttribute>;
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
  /** Of sparse initializers. */
  sparse: Set<string>;
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
/** Graphs within graphs. */
const DEEPEST = 16;
/** An attribute's list; of a longer one nothing here has use. */
const MOST_INTEGERS = 64;

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

/** What a field's number stands for in a message. */
type Fields = Record<number, (field: Field) => FilePlan<void>>;

class Reader {
  readonly #cursor: Cursor;
  #things = 0;

  constructor(size: number) {
    this.#cursor = new Cursor(size);
  }

  *model(size: number): FilePlan<OnnxModel> {
    let graph: OnnxGraph | undefined;
    let span: Span | undefined;
    const functions = new Set<string>();
    const reader = this;
    yield* this.#message(size, {
      *7(field) {
        if (graph) throw new SyntaxError('it has two graphs');
        span = spanOf(field);
        graph = yield* reader.#graph(field, 0);
      },
      *25(field) {
        let name = '';
        let domain = '';
        yield* reader.#message(field.to, {
          *1(text) {
            name = yield* reader.#text(text);
          },
          *10(text) {
            domain = yield* reader.#text(text);
          },
        });
        reader.#count();
        functions.add(`${domain} ${name}`);
      },
    });
    if (!graph || !span) throw new SyntaxError('it has no graph');
    return { graph, span, functions };
  }

  /** Reads the fields that are asked for, and passes over all others. */
  *#message(end: number, fields: Fields): FilePlan<void> {
    for (;;) {
      const field = yield* this.#cursor.field(end);
      if (!field) return;
      const read = fields[field.number];
      if (read) yield* read(field);
      this.#cursor.skip(field);
    }
  }

  #count(): void {
    if (++this.#things > MOST_THINGS)
      throw new SyntaxError(`it has more than ${MOST_THINGS} nodes and tensors`);
  }

  /** A field that has to be bytes. */
  #bytes(field: Field): void {
    if (field.wire !== WIRE.bytes)
      throw new SyntaxError(`the field at byte ${field.begin} is of another type`);
  }

  *#text(field: Field): FilePlan<string> {
    this.#bytes(field);
    return yield* this.#cursor.text(field);
  }

  *#graph(field: Field, depth: number): FilePlan<OnnxGraph> {
    this.#bytes(field);
    if (depth > DEEPEST) throw new SyntaxError(`it has graphs within graphs, more than ${DEEPEST} deep`);
    const graph: OnnxGraph = {
      ...{ nodes: [], initializers: new Map(), inputs: [], outputs: [], values: [], sparse: new Set() },
      contents: { begin: field.from, end: field.to },
    };
    const reader = this;
    const value = (list: OnnxValue[]) =>
      function* (each: Field): FilePlan<void> {
        list.push(yield* reader.#value(each));
      };
    yield* this.#message(field.to, {
      *1(each) {
        graph.nodes.push(yield* reader.#node(each, depth));
      },
      *5(each) {
        const tensor = yield* reader.#tensor(each);
        if (graph.initializers.has(tensor.name)) throw new SyntaxError('it has two initializers of one name');
        graph.initializers.set(tensor.name, { ...tensor, span: spanOf(each) });
      },
      11: value(graph.inputs),
      12: value(graph.outputs),
      13: value(graph.values),
      *15(each) {
        reader.#bytes(each);
        yield* reader.#message(each.to, {
          *1(values) {
            graph.sparse.add((yield* reader.#tensor(values)).name);
          },
        });
      },
    });
    return graph;
  }

  *#node(field: Field, depth: number): FilePlan<OnnxNode> {
    this.#bytes(field);
    this.#count();
    const node: OnnxNode = {
      ...{ op: '', domain: '', name: '', inputs: [], outputs: [], outputSpans: [], attributes: new Map() },
      span: spanOf(field),
      contents: { begin: field.from, end: field.to },
    };
    const reader = this;
    yield* this.#message(field.to, {
      *1(each) {
        reader.#count();
        node.inputs.push(yield* reader.#text(each));
      },
      *2(each) {
        reader.#count();
        node.outputs.push(yield* reader.#text(each));
        node.outputSpans.push(spanOf(each));
      },
      *3(each) {
        node.name = yield* reader.#text(each);
      },
      *4(each) {
        node.op = yield* reader.#text(each);
      },
      *5(each) {
        const { name, ...attribute } = yield* reader.#attribute(each, depth);
        node.attributes.set(name, attribute);
      },
      *7(each) {
        const domain = yield* reader.#text(each);
        node.domain = domain === 'ai.onnx' ? '' : domain;
      },
    });
    return node;
  }

  *#attribute(field: Field, depth: number): FilePlan<OnnxAttribute & { name: string }> {
    this.#bytes(field);
    this.#count();
    const attribute: OnnxAttribute & { name: string } = {
      ...{ name: '', span: spanOf(field) },
      contents: { begin: field.from, end: field.to },
    };
    let list: number[] | undefined = [];
    const reader = this;
    yield* this.#message(field.to, {
      *1(each) {
        attribute.name = yield* reader.#text(each);
      },
      *2(each) {
        if (each.wire === WIRE.bits32) attribute.float = yield* reader.#cursor.float(each);
      },
      // biome-ignore lint/correctness/useYield: nothing has to be read.
      *3(each) {
        attribute.integer = each.value;
      },
      *4(each) {
        reader.#bytes(each);
        if (each.to - each.from <= MOST_INTEGERS) attribute.text = yield* reader.#text(each);
      },
      *5(each) {
        attribute.tensor = yield* reader.#tensor(each);
      },
      *6(each) {
        attribute.graph = yield* reader.#graph(each, depth + 1);
        attribute.graphSpan = spanOf(each);
      },
      *8(each) {
        const more = yield* reader.#cursor.integers(each, MOST_INTEGERS);
        list = more && list && list.length + more.length <= MOST_INTEGERS ? [...list, ...more] : undefined;
      },
    });
    if (list && list.length > 0) attribute.integers = list;
    return attribute;
  }

  *#tensor(field: Field): FilePlan<OnnxTensor> {
    this.#bytes(field);
    this.#count();
    const tensor: OnnxTensor = { name: '', dims: [], type: 0, encoding: 'unread', begin: 0, end: 0 };
    let fields = 0;
    const numbers = (encoding: OnnxTensor['encoding']) =>
      // biome-ignore lint/correctness/useYield: nothing has to be read.
      function* (each: Field): FilePlan<void> {
        fields++;
        tensor.encoding = each.wire === WIRE.bytes && fields === 1 ? encoding : 'unread';
        tensor.begin = each.from;
        tensor.end = each.to;
      };
    const reader = this;
    let located = 0;
    const external: Record<string, string> = {};
    yield* this.#message(field.to, {
      *1(each) {
        const more = yield* reader.#cursor.integers(each, MOST_INTEGERS);
        if (!more || tensor.dims.length + more.length > MOST_INTEGERS || more.some(size => !(size >= 0))) {
          throw new SyntaxError(`the tensor at byte ${field.begin} has no shape`);
        }
        tensor.dims.push(...more);
      },
      // biome-ignore lint/correctness/useYield: nothing has to be read.
      *2(each) {
        tensor.type = each.value;
      },
      4: numbers('bytes'),
      5: numbers('varints'),
      6: numbers('unread'),
      7: numbers('varints'),
      *8(each) {
        tensor.name = yield* reader.#text(each);
      },
      9: numbers('bytes'),
      10: numbers('bytes'),
      11: numbers('varints'),
      *13(each) {
        reader.#count();
        let key = '';
        let text = '';
        yield* reader.#message(each.to, {
          *1(of) {
            key = yield* reader.#text(of);
          },
          *2(of) {
            text = yield* reader.#text(of);
          },
        });
        if (['location', 'offset', 'length'].includes(key)) external[key] = text;
      },
      // biome-ignore lint/correctness/useYield: nothing has to be read.
      *14(each) {
        located = each.value;
      },
    });
    if (located === 1) {
      tensor.external = external;
      tensor.encoding = 'bytes';
    }
    return tensor;
  }

  *#value(field: Field): FilePlan<OnnxValue> {
    this.#bytes(field);
    this.#count();
    const value: OnnxValue = { name: '', type: 0, span: spanOf(field) };
    const reader = this;
    const dimension = function* (each: Field): FilePlan<void> {
      let size: number | undefined;
      yield* reader.#message(each.to, {
        // biome-ignore lint/correctness/useYield: nothing has to be read.
        *1(of) {
          size = of.value;
        },
      });
      reader.#count();
      value.shape!.push(size);
    };
    yield* this.#message(field.to, {
      *1(each) {
        value.name = yield* reader.#text(each);
      },
      *2(type) {
        reader.#bytes(type);
        yield* reader.#message(type.to, {
          *1(tensor) {
            reader.#bytes(tensor);
            yield* reader.#message(tensor.to, {
              // biome-ignore lint/correctness/useYield: nothing has to be read.
              *1(each) {
                value.type = each.value;
              },
              *2(shape) {
                reader.#bytes(shape);
                value.shape = [];
                yield* reader.#message(shape.to, { 1: dimension });
              },
            });
          },
        });
      },
    });
    return value;
  }
}

function spanOf({ begin, to }: Field): Span {
  return { begin, end: to };
}
