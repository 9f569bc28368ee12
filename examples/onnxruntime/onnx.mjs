/**
 * Writes ONNX models: a graph of nodes, which take tensors by name and give new ones.
 * Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, operators those of opset 17.
 */
import { bytes, int, message } from './protobuf.mjs';

const IR_VERSION = 8;
const OPSET = 17;
/** TensorProto.DataType */
const FLOAT = 1;
const INT64 = 7;

export class Graph {
  #nodes = [];
  #initializers = [];
  #inputs = [];
  #outputs = [];
  #names = 0;

  /** An input of integers. @param {string | (string | number)[]} shape as of an output; or the name of a list's length */
  input(name, shape) {
    this.#inputs.push(bytes(11, valueInfo(name, INT64, [shape].flat())));
    return name;
  }

  /** An input of numbers. @param {(string | number)[]} shape as of an output */
  floatInput(name, shape) {
    this.#inputs.push(bytes(11, valueInfo(name, FLOAT, shape)));
    return name;
  }

  /** @param {(string | number)[]} shape a string names a size that is known only when the model runs */
  output(name, shape) {
    this.#outputs.push(bytes(12, valueInfo(name, FLOAT, shape)));
  }

  /** @param {Float32Array} values */
  floats(values, shape) {
    return this.#initializer(
      FLOAT,
      new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
      shape,
    );
  }

  /** @param {number[]} values @param {number[]} [shape] a list by default; [] for one number */
  ints(values, shape = [values.length]) {
    return this.#initializer(INT64, new Uint8Array(BigInt64Array.from(values, BigInt).buffer), shape);
  }

  /**
   * @param {string} operator
   * @param {string[]} inputs names
   * @param {Record<string, number | number[]>} [attributes] integers, or lists of them
   * @param {string} [output] its name, where it is an output of the graph
   * @returns the name of its output
   */
  node(operator, inputs, attributes = {}, output = this.#name()) {
    const fields = [
      ...inputs.map(name => bytes(1, name)),
      bytes(2, output),
      bytes(4, operator),
      ...Object.entries(attributes).map(([name, value]) => bytes(5, attribute(name, value))),
    ];
    this.#nodes.push(bytes(1, message(...fields)));
    return output;
  }

  /** @returns {Buffer} the .onnx file */
  model() {
    const graph = message(
      ...this.#nodes,
      bytes(2, 'graph'),
      ...this.#initializers,
      ...this.#inputs,
      ...this.#outputs,
    );
    return message(int(1, IR_VERSION), bytes(7, graph), bytes(8, message(bytes(1, ''), int(2, OPSET))));
  }

  #name() {
    return `t${this.#names++}`;
  }

  #initializer(type, raw, shape) {
    const name = this.#name();
    const dims = shape.map(size => int(1, size));
    this.#initializers.push(bytes(5, message(...dims, int(2, type), bytes(8, name), bytes(9, raw))));
    return name;
  }
}

function attribute(name, value) {
  const INT = 2;
  const INTS = 7;
  if (typeof value === 'number') return message(bytes(1, name), int(3, value), int(20, INT));
  return message(bytes(1, name), ...value.map(n => int(8, n)), int(20, INTS));
}

function valueInfo(name, type, shape) {
  const dims = shape.map(size => bytes(1, typeof size === 'string' ? bytes(2, size) : int(1, size)));
  const tensor = message(int(1, type), bytes(2, message(...dims)));
  return message(bytes(1, name), bytes(2, bytes(1, tensor)));
}
