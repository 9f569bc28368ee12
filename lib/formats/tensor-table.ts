/** What every reader of a file of tensors returns. */

/** One tensor; its bytes are [begin, end) of the file. */
export interface TensorEntry {
  /** As safetensors and GGUF name it: 'F32', 'BF16', 'Q6_K'… */
  dtype: string;
  /** The last dimension's elements lie beside each other, unless `columnMajor`: then the first one's do. */
  shape: number[];
  begin: number;
  end: number;
  columnMajor?: true;
  /** The bytes of a number come highest first. */
  bigEndian?: true;
  /** Of a member of a ZIP archive: where its local header is. `begin` and `end` then count from its first byte. */
  zipHeader?: number;
}

/** By name. */
export type TensorTable = Map<string, TensorEntry>;

/** Of a file's metadata: each takes some hundred bytes of memory, of a hostile header some ten bytes of text. Files have some hundred. */
export const MOST_KEYS = 100_000;
/** Bytes of a name, which messages may have whole. */
export const LONGEST_NAME = 1000;
/** NumPy's own limit. */
export const MOST_DIMENSIONS = 64;

/** A name for a message: of a hostile file it can be of any length, and of any characters. */
export function quoted(name: string): string {
  return JSON.stringify(name.slice(0, 80));
}

/** A shape for a message. */
export function shapeText(shape: readonly number[]): string {
  return `[${shape.slice(0, 8)}${shape.length > 8 ? ',…' : ''}]`;
}

/**
 * How many things a tensor of that shape has; undefined where it is more than a double counts exactly, even where a dimension
 * of 0 hides that.
 * @param most of them; default 2^53 − 1
 */
export function countOf(
  shape: readonly number[],
  most: number = Number.MAX_SAFE_INTEGER,
): number | undefined {
  let product = 1;
  let empty = false;
  for (const size of shape) {
    if (size === 0) empty = true;
    else product *= size;
    if (product > most) return undefined;
  }
  return empty ? 0 : product;
}
