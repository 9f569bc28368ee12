/** Makes .gguf files, right ones and wrong ones. */
export type GgufValueSpec =
  | { u16: number }
  | { u32: number }
  | { i32: number }
  | { f32: number }
  | { u64: bigint }
  | { bool: boolean }
  | { string: string }
  | { strings: string[] }
  | { i32s: number[] };

export interface GgufTensorSpec {
  name: string;
  /** ggml's number. */
  type: number;
  /** Row by row, as everywhere but in the file. */
  shape: number[];
  bytes: Uint8Array;
}

export const F32 = 0;
export const F16 = 1;
export const BF16 = 30;
/** ggml's numbers of the quantized types that are read. */
export const QUANTIZED_TYPES = {
  ...{ q4_0: 2, q4_1: 3, q5_0: 6, q5_1: 7, q8_0: 8, q2_k: 10, q3_k: 11, q4_k: 12, q5_k: 13, q6_k: 14 },
  ...{ iq4_nl: 20, iq4_xs: 23, mxfp4: 39 },
};

const u32 = (x: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(x);
  return bytes;
};
const u64 = (x: number | bigint) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(x));
  return bytes;
};
const text = (s: string) => Buffer.concat([u64(Buffer.byteLength(s)), Buffer.from(s)]);

function typed(value: GgufValueSpec): Buffer {
  if ('u16' in value) return Buffer.concat([u32(2), Buffer.from(Uint16Array.of(value.u16).buffer)]);
  if ('u32' in value) return Buffer.concat([u32(4), u32(value.u32)]);
  if ('i32' in value) return Buffer.concat([u32(5), u32(value.i32 >>> 0)]);
  if ('f32' in value) return Buffer.concat([u32(6), Buffer.from(Float32Array.of(value.f32).buffer)]);
  if ('bool' in value) return Buffer.concat([u32(7), Buffer.of(value.bool ? 1 : 0)]);
  if ('string' in value) return Buffer.concat([u32(8), text(value.string)]);
  if ('u64' in value) return Buffer.concat([u32(10), u64(value.u64)]);
  const [type, elements] =
    'strings' in value ? [8, value.strings.map(text)] : [5, value.i32s.map(x => u32(x >>> 0))];
  return Buffer.concat([u32(9), u32(type), u64(elements.length), ...elements]);
}

/** A well-formed file of these tensors, in this order. */
export function gguf(
  tensors: GgufTensorSpec[],
  metadata: Record<string, GgufValueSpec> = {},
  { version = 3, alignment = 32 } = {},
): Buffer {
  const keys = Object.entries(metadata).map(([key, value]) => Buffer.concat([text(key), typed(value)]));
  const padded = (bytes: Uint8Array) => Buffer.concat([bytes, Buffer.alloc(-bytes.length & (alignment - 1))]);
  let at = 0;
  const infos = tensors.map(({ name, type, shape, bytes }) => {
    const info = Buffer.concat([
      text(name),
      u32(shape.length),
      ...shape.toReversed().map(u64),
      u32(type),
      u64(at),
    ]);
    at += padded(bytes).length;
    return info;
  });
  const header = [
    Buffer.from('GGUF'),
    u32(version),
    u64(tensors.length),
    u64(keys.length),
    ...keys,
    ...infos,
  ];
  return Buffer.concat([padded(Buffer.concat(header)), ...tensors.map(({ bytes }) => padded(bytes))]);
}
