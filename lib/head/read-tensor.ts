/** Bytes and values of the tensors of a file. */
import { floats } from '../dtypes/half';
import { isFloat } from '../dtypes/row-format';
import { LMHeadError } from '../errors';
import { look, type Plan, type ReadRequest, readBytes } from '../formats/read-plan';
import { storedAs, toFloats } from '../formats/stored-values';
import type { VectorTensor } from '../formats/tensor-names';
import type { Weights } from '../formats/weights';
import { bytesBegin, LOCAL_BYTES } from '../formats/zip';

/** Bytes of a tensor's file. */
export function readTensor(weights: Weights, name: string, read: ReadRequest): Plan<Uint8Array<ArrayBuffer>> {
  const unpacked = weights.unpacked?.get(name);
  return unpacked ? copyOf(unpacked, read) : readBytes(weights.pathOf(name), read);
}

// biome-ignore lint/correctness/useYield: a plan that needs nothing.
function* copyOf(bytes: Uint8Array, { offset, length, into }: ReadRequest): Plan<Uint8Array<ArrayBuffer>> {
  const copy = (into ?? new Uint8Array(length)) as Uint8Array<ArrayBuffer>;
  copy.set(bytes.subarray(offset, offset + length));
  return copy;
}

/** A header alone can be a well-formed file; but there is no head in it. Where a tensor of an archive lies is known from here on. */
export function* requireInFile(weights: Weights, { name, entry }: VectorTensor): Plan<void> {
  if (weights.unpacked?.has(name)) return;
  if (entry.zipHeader !== undefined) {
    const header = yield* readTensor(weights, name, { offset: entry.zipHeader, length: LOCAL_BYTES });
    const begin = bytesBegin(header, entry.zipHeader);
    if (begin === undefined) {
      throw new LMHeadError(
        'FORMAT',
        `${weights.name}: ${name} is not where it should be; want a whole file`,
      );
    }
    entry.zipHeader = undefined;
    entry.begin += begin;
    entry.end += begin;
  }
  const found = yield* look(weights.pathOf(name));
  if (found.kind === 'file' && found.size >= entry.end) return;
  throw new LMHeadError(
    'FORMAT',
    `${weights.name}: ${name} ends at byte ${entry.end}, which the file doesn't have; want a whole file`,
  );
}

export function* vector(weights: Weights, tensor: VectorTensor, argument: string): Plan<Float32Array> {
  const { name, entry } = tensor;
  const what = `${argument}: ${name} in ${weights.name}`;
  const { dtype, converted } = storedAs(entry, what);
  if (!isFloat(dtype))
    throw new LMHeadError('DTYPE', `${what} is ${entry.dtype}; want F32, F16, BF16 or F64`);
  yield* requireInFile(weights, tensor);
  const bytes = yield* readTensor(weights, name, {
    offset: entry.begin,
    length: entry.end - entry.begin,
  });
  if (converted) return toFloats(bytes, entry, what);
  const values = dtype === 'f32' ? new Float32Array(bytes.buffer) : new Uint16Array(bytes.buffer);
  return floats(values, dtype);
}
