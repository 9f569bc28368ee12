/** Writes ONNX models: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. */
import { bytesOf } from './bytes';

/** TensorProto.DataType */
export const TYPES = {
  f32: 1,
  u8: 2,
  i8: 3,
  i32: 6,
  i64: 7,
  bool: 9,
  f16: 10,
  f64: 11,
  bf16: 16,
  u4: 21,
  i4: 22,
} as const;
export type TypeName = keyof typeof TYPES;

function varint(value: number | bigint): number[] {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  bytes.push(Number(rest));
  return bytes;
}

export const int = (field: number, value: number | bigint): Buffer =>
  Buffer.from([...varint(field << 3), ...varint(value)]);

export const bytes = (field: number, contents: string | Uint8Array): Buffer => {
  const body = typeof contents === 'string' ? Buffer.from(contents) : contents;
  return Buffer.concat([start(field, body.length), body]);
};

/** What stands before so many bytes of a field. */
export const start = (field: number, length: number): Buffer =>
  Buffer.from([...varint((field << 3) | 2), ...varint(length)]);

export const message = (...fields: Uint8Array[]): Buffer => Buffer.concat(fields);

/** Where a tensor's numbers are put. */
export type Place =
  | 'raw'
  /** float_data, packed. */
  | 'floats'
  /** int32_data: of 16-bit floats the bits. */
  | 'integers'
  | { location?: string; offset?: string | number; length?: string | number };

export function tensor(
  name: string,
  type: TypeName,
  dims: readonly number[],
  data: ArrayBufferView,
  place: Place = 'raw',
): Buffer {
  const raw = bytesOf(data as Uint8Array);
  const fields = [...dims.map(size => int(1, size)), int(2, TYPES[type]), bytes(8, name)];
  if (place === 'raw') fields.push(bytes(9, raw));
  else if (place === 'floats') fields.push(bytes(4, raw));
  else if (place === 'integers') {
    fields.push(bytes(5, Buffer.from(Array.from(data as Uint8Array, value => varint(value)).flat())));
  } else {
    for (const [key, value] of Object.entries(place)) {
      fields.push(bytes(13, message(bytes(1, key), bytes(2, String(value)))));
    }
    fields.push(int(14, 1));
  }
  return message(...fields);
}

type Attribute = number | { float: number } | number[] | string | Graph | { tensor: Buffer };

function attribute(name: string, value: Attribute): Buffer {
  const key = bytes(1, name);
  if (typeof value === 'number') return message(key, int(3, value), int(20, 2));
  if (typeof value === 'string') return message(key, bytes(4, value), int(20, 3));
  if (value instanceof Graph) return message(key, bytes(6, value.bytes()), int(20, 5));
  if (Array.isArray(value)) return message(key, ...value.map(n => int(8, n)), int(20, 7));
  if ('tensor' in value) return message(key, bytes(5, value.tensor), int(20, 4));
  const float = Buffer.alloc(5);
  float[0] = (2 << 3) | 5;
  float.writeFloatLE(value.float, 1);
  return message(key, float, int(20, 1));
}

/** A size that is known, or the name of one that is not. */
type Size = number | string;

export function value(name: string, type: TypeName, shape: readonly Size[]): Buffer {
  const dims = shape.map(size => bytes(1, typeof size === 'string' ? bytes(2, size) : int(1, size)));
  const its = message(int(1, TYPES[type]), bytes(2, message(...dims)));
  return message(bytes(1, name), bytes(2, bytes(1, its)));
}

let names = 0;

export class Graph {
  readonly #fields: Buffer[] = [];

  input(name: string, type: TypeName, shape: readonly Size[]): string {
    this.#fields.push(bytes(11, value(name, type, shape)));
    return name;
  }

  output(name: string, type: TypeName, shape: readonly Size[]): void {
    this.#fields.push(bytes(12, value(name, type, shape)));
  }

  /** What is said of a value within. */
  says(name: string, type: TypeName, shape: readonly Size[]): void {
    this.#fields.push(bytes(13, value(name, type, shape)));
  }

  tensor(
    name: string,
    type: TypeName,
    dims: readonly number[],
    data: ArrayBufferView,
    place?: Place,
  ): string {
    this.#fields.push(bytes(5, tensor(name, type, dims, data, place)));
    return name;
  }

  floats(dims: readonly number[], ...numbers: number[]): string {
    return this.tensor(`f${names++}`, 'f32', dims, Float32Array.from(numbers));
  }

  ints(...numbers: number[]): string {
    return this.tensor(`i${names++}`, 'i64', [numbers.length], BigInt64Array.from(numbers, BigInt));
  }

  /** @returns the name of the first output. @param op 'com.microsoft.MatMulNBits' has its domain before it */
  node(
    op: string,
    inputs: readonly string[],
    {
      outputs = [`v${names++}`],
      ...attributes
    }: { outputs?: string[] } & Record<string, Attribute | string[]> = {},
  ): string {
    const dot = op.lastIndexOf('.');
    this.#fields.push(
      bytes(
        1,
        message(
          ...inputs.map(name => bytes(1, name)),
          ...outputs.map(name => bytes(2, name)),
          bytes(4, op.slice(dot + 1)),
          ...Object.entries(attributes).map(([name, its]) => bytes(5, attribute(name, its as Attribute))),
          ...(dot > 0 ? [bytes(7, op.slice(0, dot))] : []),
        ),
      ),
    );
    return outputs[0];
  }

  bytes(): Buffer {
    return message(bytes(2, 'graph'), ...this.#fields);
  }

  /** The file. @param functions of the model's own: [domain, name] */
  model(functions: readonly [domain: string, name: string][] = []): Buffer {
    const opset = (domain: string, version: number) => bytes(8, message(bytes(1, domain), int(2, version)));
    return message(
      int(1, 10),
      bytes(7, this.bytes()),
      opset('', 21),
      opset('com.microsoft', 1),
      ...functions.map(([domain, name]) =>
        bytes(25, message(bytes(1, name), bytes(10, domain), bytes(4, 'x'), bytes(5, 'y'))),
      ),
    );
  }
}
