/** What every reader of a file of tensors returns. */

/** One tensor; its bytes are [begin, end) of the file. */
export interface TensorEntry {
  /** As safetensors and GGUF name it: 'F32', 'BF16', 'Q6_K'… */
  dtype: string;
  /** The last dimension's numbers lie beside each other. */
  shape: number[];
  begin: number;
  end: number;
}

/** By name. */
export type TensorTable = Map<string, TensorEntry>;
