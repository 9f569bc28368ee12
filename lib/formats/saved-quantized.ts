/**
 * Quantized matrices in a .safetensors file, which has no name for their types: a matrix of bytes U8 [V, bytes of a row], and in
 * the file's metadata the dtype that they are of.
 */

import { isFloat, isGrouped, QUANTIZED_DTYPES, rowBytes, rowElements } from '../dtypes/row-format';
import { LMHeadError } from '../errors';
import type { Dtype } from '../types';
import { quantizedName } from './stored-values';
import type { TensorTable } from './tensor-table';

/** A metadata key is this and the tensor's name; its value the dtype. */
const KEY = 'lmhead.dtype:';

/** How a tensor is written. */
export interface SavedAs {
  dtype: string;
  shape: number[];
  metadata: Record<string, string>;
}

export function savedAs(name: string, dtype: Dtype, shape: number[]): SavedAs {
  if (isFloat(dtype)) return { dtype: dtype.toUpperCase(), shape, metadata: {} };
  const [rows, columns] = shape;
  // As MLX has them.
  if (isGrouped(dtype)) return { dtype: 'U32', shape: [rows, rowBytes(dtype, columns) / 4], metadata: {} };
  return { dtype: 'U8', shape: [rows, rowBytes(dtype, columns)], metadata: { [KEY + name]: dtype } };
}

/**
 * Gives the tensors that `savedAs` has written as bytes their dtype and shape.
 * @param file its name, for messages
 * @throws LMHeadError FORMAT where metadata and tensor contradict each other
 */
export function nameQuantized(tensors: TensorTable, metadata: Map<string, string>, file: string): void {
  for (const [key, value] of metadata) {
    if (!key.startsWith(KEY)) continue;
    const name = key.slice(KEY.length);
    const entry = tensors.get(name);
    const dtype = QUANTIZED_DTYPES.find(each => each === value);
    const columns = entry && dtype ? rowElements(dtype, entry.shape[1]) : 0;
    if (entry?.dtype !== 'U8' || entry.shape.length !== 2 || !(columns > 0) || !Number.isInteger(columns)) {
      throw new LMHeadError(
        'FORMAT',
        `${file}: its metadata has ${JSON.stringify(key.slice(0, 80))}, which fits no tensor; want a file as save writes it`,
      );
    }
    tensors.set(name, { ...entry, dtype: quantizedName(dtype!), shape: [entry.shape[0], columns] });
  }
}
