/** The matrix of a head as GGUF's tensors, with hidden states for it. */
import { bytesOf } from './bytes';
import { F32, type GgufTensorSpec } from './gguf';
import { someNumbers } from './numbers';

export const V = 11;
export const D = 32;
export const weight = someNumbers(V * D, 2);
/** [2, d] */
export const hidden = someNumbers(2 * D, 3);

export const output: GgufTensorSpec = {
  name: 'output.weight',
  type: F32,
  shape: [V, D],
  bytes: bytesOf(weight),
};
export const embedding: GgufTensorSpec = { ...output, name: 'token_embd.weight' };
