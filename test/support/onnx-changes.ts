/** Changes of an ONNX model's structure: of its nodes, names, sizes and attributes, in a file that stays well formed. */
import { int, message, start } from './onnx';
import type { Random } from './random';

interface Field {
  number: number;
  wire: number;
  value: bigint;
  /** Of a field of bytes that is no message, and of numbers of 32 or 64 bits. */
  bytes: Uint8Array;
  /** Of a message. */
  fields?: Field[];
}

/** Which fields are messages, and of which kind, by the message's kind. */
const MESSAGES: Record<string, Record<number, string>> = {
  model: { 7: 'graph', 8: 'opset' },
  graph: { 1: 'node', 5: 'tensor', 11: 'value', 12: 'value', 13: 'value' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph' },
  tensor: { 13: 'entry' },
  value: { 2: 'type' },
  type: { 1: 'tensorType' },
  tensorType: { 2: 'shape' },
  shape: { 1: 'dimension' },
};
/** Names and short lists; longer ones are weights. */
const SHORT = 60;

function parsed(bytes: Uint8Array, kind: string): Field[] {
  const fields: Field[] = [];
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = Number(varint());
    const field: Field = { number: key >> 3, wire: key & 7, value: 0n, bytes: new Uint8Array() };
    fields.push(field);
    if (field.wire === 0) {
      field.value = varint();
      continue;
    }
    const length = field.wire === 2 ? Number(varint()) : field.wire === 5 ? 4 : 8;
    field.bytes = bytes.subarray(at, at + length);
    at += length;
    const inner = MESSAGES[kind]?.[field.number];
    if (inner) field.fields = parsed(field.bytes, inner);
  }
  return fields;
}

function written(fields: readonly Field[]): Buffer {
  return message(
    ...fields.map(({ number, wire, value, bytes, fields: inner }) => {
      if (wire === 0) return int(number, value);
      if (wire !== 2) return message(Uint8Array.of((number << 3) | wire), bytes);
      const contents = inner ? written(inner) : bytes;
      return message(start(number, contents.length), contents);
    }),
  );
}

/** A model with one or two things of it changed, left out, doubled, or put in another's place. */
export function changedStructure(model: Uint8Array, random: Random): Buffer {
  const root = parsed(model, 'model');
  const places: { list: Field[]; field: Field }[] = [];
  const visit = (list: Field[]) => {
    for (const field of list) {
      places.push({ list, field });
      if (field.fields) visit(field.fields);
    }
  };
  visit(root);
  const names = places.map(({ field }) => field).filter(isName);
  for (let count = 1 + random.below(2); count > 0; count--) {
    const { list, field } = random.pick(places);
    const at = list.indexOf(field);
    if (at < 0) continue; // it went with the first change
    const way = random.below(4);
    if (way === 0) list.splice(at, 1);
    else if (field.wire === 0) field.value = random.pick(numbersNear(field.value));
    else if (isName(field) && way < 3) field.bytes = random.pick(names).bytes;
    else if (field.fields && way === 1) list.splice(at, 0, field);
    else if (field.fields && way === 2) field.fields = [];
    else if (field.fields) swap(list, at, random.below(list.length));
    else field.bytes = field.bytes.map(byte => byte ^ (1 << random.below(8)));
  }
  return written(root);
}

function isName({ wire, fields, bytes }: Field): boolean {
  return wire === 2 && !fields && bytes.length < SHORT;
}

function numbersNear(value: bigint): bigint[] {
  return [
    0n,
    1n,
    2n,
    3n,
    4n,
    8n,
    16n,
    96n,
    128n,
    -1n,
    value + 1n,
    value - 1n,
    value * 2n,
    2n ** 40n,
    2n ** 63n,
  ];
}

function swap(list: Field[], a: number, b: number): void {
  if (list[a].number === list[b].number) [list[a], list[b]] = [list[b], list[a]];
}
