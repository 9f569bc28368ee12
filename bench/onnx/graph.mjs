/** An ONNX graph whose weights go to a file of their own, a few megabytes at a time. */
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { basename, join } from 'node:path';
import { bytes, int, message } from '../../examples/onnxruntime/protobuf.mjs';

/** TensorProto.DataType, and how many bytes a number has. */
const TYPES = { float: [1, 4], uint8: [2, 1], int32: [6, 4], int64: [7, 8] };
/** Where weights begin: a page, so that they can be mapped. */
const PAGE = 4096;
/** Weights repeat after so many numbers, a prime, so that no two rows are the same. */
const PERIOD = 1000003;

export class Graph {
  #fields = [];
  #names = 0;
  #path;
  #data;
  #file;
  #end = 0;
  #seed = 1;

  /** @param {string} path of the .onnx file; its weights lie beside it */
  constructor(path) {
    this.#path = path;
    this.#data = `${basename(path)}_data`;
    this.#file = openSync(join(path, '..', this.#data), 'w');
  }

  input(name, type, shape) {
    this.#fields.push(bytes(11, valueInfo(name, type, shape)));
    return name;
  }

  output(name, type, shape) {
    this.#fields.push(bytes(12, valueInfo(name, type, shape)));
  }

  /** A tensor in the graph itself. @param {Float32Array | BigInt64Array | Uint8Array} values */
  tensor(type, shape, values) {
    const raw = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    return this.#initializer(type, shape, [bytes(9, raw)]);
  }

  float = value => this.tensor('float', [], Float32Array.of(value));
  ints = (values, shape = [values.length]) => this.tensor('int64', shape, BigInt64Array.from(values, BigInt));

  /** A tensor of random numbers in the file of weights. @param {(integer: number) => number} of of 32 bits, with their sign */
  random(type, shape, of) {
    const numbers = new (type === 'float' ? Float32Array : Uint8Array)(PERIOD);
    for (let i = 0; i < PERIOD; i++) {
      this.#seed = (Math.imul(this.#seed, 1664525) + 1013904223) | 0;
      numbers[i] = of(this.#seed);
    }
    const pool = new Uint8Array(numbers.buffer);
    const length = shape.reduce((product, size) => product * size, TYPES[type][1]);
    this.#end = Math.ceil(this.#end / PAGE) * PAGE;
    const place = { location: this.#data, offset: this.#end, length };
    for (let written = 0; written < length; ) {
      written += writeSync(
        this.#file,
        pool,
        0,
        Math.min(pool.length, length - written),
        place.offset + written,
      );
      if (written < length && written % pool.length !== 0) throw new Error('the disk is full');
    }
    this.#end += length;
    const entries = Object.entries(place);
    return this.#initializer(type, shape, [
      ...entries.map(([key, value]) => bytes(13, message(bytes(1, key), bytes(2, String(value))))),
      int(14, 1),
    ]);
  }

  /**
   * @param {string} operator one that is not ONNX's own has its domain before a slash
   * @param {Record<string, number | { float: number } | number[]>} [attributes]
   * @param {string[]} [outputs]
   * @returns the name of the first output
   */
  node(operator, inputs, attributes = {}, outputs = [this.#name()]) {
    const [domain, op] = operator.includes('/') ? operator.split('/') : ['', operator];
    this.#fields.push(
      bytes(
        1,
        message(
          ...inputs.map(name => bytes(1, name)),
          ...outputs.map(name => bytes(2, name)),
          bytes(4, op),
          ...Object.entries(attributes).map(([name, value]) => bytes(5, attribute(name, value))),
          bytes(7, domain),
        ),
      ),
    );
    return outputs[0];
  }

  /** Writes the .onnx file. */
  close() {
    closeSync(this.#file);
    const opset = (domain, version) => bytes(8, message(bytes(1, domain), int(2, version)));
    const graph = message(bytes(2, 'graph'), ...this.#fields);
    writeFileSync(this.#path, message(int(1, 10), bytes(7, graph), opset('', 21), opset('com.microsoft', 1)));
  }

  #name() {
    return `t${this.#names++}`;
  }

  #initializer(type, shape, fields) {
    const name = this.#name();
    const dims = shape.map(size => int(1, size));
    this.#fields.push(bytes(5, message(...dims, int(2, TYPES[type][0]), bytes(8, name), ...fields)));
    return name;
  }
}

function attribute(name, value) {
  const [FLOAT, INT, INTS] = [1, 2, 7];
  if (typeof value === 'number') return message(bytes(1, name), int(3, value), int(20, INT));
  if (Array.isArray(value)) return message(bytes(1, name), ...value.map(n => int(8, n)), int(20, INTS));
  const float = Buffer.alloc(5);
  float[0] = (2 << 3) | 5; // field 2, of 32 bits
  float.writeFloatLE(value.float, 1);
  return message(bytes(1, name), float, int(20, FLOAT));
}

function valueInfo(name, type, shape) {
  const dims = shape.map(size => bytes(1, typeof size === 'string' ? bytes(2, size) : int(1, size)));
  const tensor = message(int(1, TYPES[type][0]), bytes(2, message(...dims)));
  return message(bytes(1, name), bytes(2, bytes(1, tensor)));
}
