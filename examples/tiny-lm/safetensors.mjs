/** Writes and reads small .safetensors files of f32 tensors: eight bytes of length, a JSON header, then the numbers. */
import { readFileSync, writeFileSync } from 'node:fs';

/**
 * @typedef {{ shape: number[], values: Float32Array }} Tensor
 */

/**
 * @param {string | URL} path
 * @param {Record<string, Tensor>} tensors
 * @param {Record<string, string>} metadata
 */
export function writeSafetensors(path, tensors, metadata) {
  const header = { __metadata__: metadata };
  const data = [];
  let at = 0;
  for (const [name, { shape, values }] of Object.entries(tensors)) {
    header[name] = { dtype: 'F32', shape, data_offsets: [at, at + values.byteLength] };
    data.push(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    at += values.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  // Spaces after the JSON put the numbers at a multiple of eight bytes, where they can be used as they lie in the file.
  const text = Buffer.alloc(Math.ceil(json.length / 8) * 8, ' ');
  json.copy(text);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(path, Buffer.concat([length, text, ...data]));
}

/**
 * @param {string | URL} path a file that `writeSafetensors` made
 * @returns {{ tensors: Record<string, Tensor>, metadata: Record<string, string> }}
 */
export function readSafetensors(path) {
  const bytes = readFileSync(path);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const { __metadata__: metadata, ...entries } = JSON.parse(bytes.toString('utf8', 8, start));
  const tensors = Object.fromEntries(
    Object.entries(entries).map(
      ([
        name,
        {
          shape,
          data_offsets: [begin, end],
        },
      ]) => {
        const values = new Float32Array((end - begin) / 4);
        new Uint8Array(values.buffer).set(bytes.subarray(start + begin, start + end));
        return [name, { shape, values }];
      },
    ),
  );
  return { tensors, metadata };
}
