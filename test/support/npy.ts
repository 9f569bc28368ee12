/** Makes .npy files, right ones and wrong ones. */

/** A file of whatever header; it is padded as NumPy pads it. */
export function npyWithHeader(header: string, data: Uint8Array = new Uint8Array(0), major = 1): Buffer {
  const lengthBytes = major === 1 ? 2 : 4;
  const unpadded = 8 + lengthBytes + Buffer.byteLength(header) + 1;
  const text = Buffer.from(`${header + ' '.repeat(-unpadded & 63)}\n`);
  const start = Buffer.alloc(8 + lengthBytes);
  start.write('\x93NUMPY', 'latin1');
  start[6] = major;
  start.writeUIntLE(text.length, 8, lengthBytes);
  return Buffer.concat([start, text, data]);
}

/** A well-formed file. */
export function npy(
  descr: string,
  shape: number[],
  data: Uint8Array,
  { fortran = false, major = 1 } = {},
): Buffer {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const order = fortran ? 'True' : 'False';
  return npyWithHeader(`{'descr': '${descr}', 'fortran_order': ${order}, 'shape': ${tuple}, }`, data, major);
}
