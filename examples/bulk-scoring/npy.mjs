/** Reads .npy files, rows at a time. */
import { open } from 'node:fs/promises';

/** How NumPy calls what is taken; a Uint16Array of hidden states is f16. */
const HIDDEN = { '<f4': Float32Array, '<f2': Uint16Array };
const IDS = { '<i4': Int32Array, '<u4': Uint32Array, '<i8': BigInt64Array, '<u8': BigUint64Array };

async function opened(path, types, dimensions) {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const start = Buffer.alloc(12);
    await file.read(start, 0, 12, 0);
    if (start.toString('latin1', 0, 6) !== '\x93NUMPY') throw new Error(`${path} is no .npy file`);
    const [at, length] = start[6] === 1 ? [10, start.readUInt16LE(8)] : [12, start.readUInt32LE(8)];
    const text = Buffer.alloc(Math.min(length, 10_000));
    await file.read(text, 0, text.length, at);
    const header = text.toString('latin1');
    const type = header.match(/'descr': '([^']+)'/)?.[1];
    const shape = header
      .match(/'shape': \(([\d, ]*)\)/)?.[1]
      .match(/\d+/g)
      ?.map(Number);
    if (!types[type] || shape?.length !== dimensions || /'fortran_order': True/.test(header)) {
      throw new Error(
        `${path} is ${type} [${shape}]; want ${dimensions} dimensions of ${Object.keys(types)}`,
      );
    }
    const array = types[type];
    const bytes = shape.reduce((product, each) => product * each, array.BYTES_PER_ELEMENT);
    if (size < at + length + bytes) throw new Error(`${path} has ${size} bytes; want ${at + length + bytes}`);
    return { file, array, shape, begin: at + length };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function read({ file, array, begin }, first, count) {
  const numbers = new array(count);
  const bytes = new Uint8Array(numbers.buffer);
  const offset = begin + first * array.BYTES_PER_ELEMENT;
  for (let done = 0; done < bytes.length; ) {
    const { bytesRead } = await file.read(bytes, done, bytes.length - done, offset + done);
    if (bytesRead === 0) throw new Error('a file became shorter while it was read');
    done += bytesRead;
  }
  return numbers;
}

/** Hidden states [n, d]. */
export async function openHidden(path) {
  const npy = await opened(path, HIDDEN, 2);
  const [n, d] = npy.shape;
  return {
    n,
    d,
    hiddenDtype: npy.array === Uint16Array ? 'f16' : undefined,
    rows: (first, count) => read(npy, first * d, count * d),
    close: () => npy.file.close(),
  };
}

/** All ids of [n]. */
export async function readIds(path) {
  const npy = await opened(path, IDS, 1);
  try {
    return Array.from(await read(npy, 0, npy.shape[0]), Number);
  } finally {
    await npy.file.close();
  }
}
