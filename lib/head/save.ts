/** Writes a head as a .safetensors file. */
import type { HeadSettings } from '../arguments/head-options';
import type { HeadBackend } from '../backend/backend';
import type { CopyBytes } from '../backend/saved-copy';
import { type Groups, isFloat, ROW_FORMATS, rowBytes, sideBytes } from '../dtypes/row-format';
import { COPY_FORM, COPY_TENSOR, type SavedFacts, savedMetadata } from '../formats/saved-head';
import { savedAs } from '../formats/saved-quantized';
import type { Dtype } from '../types';
import { replaceFile, replaceFileSync } from './replace-file';

/** What is written. */
export interface SavedHead {
  vocabSize: number;
  hiddenSize: number;
  /** Of `input`. */
  inputRows: number;
  output: Dtype;
  /** Absent: tied. */
  input?: Dtype;
  /** Of matrices of a grouped dtype. */
  groups: { output?: Groups; input?: Groups };
  tied: boolean;
  settings: HeadSettings;
  /** A bounded copy is written where it has one. */
  backend: Pick<HeadBackend, 'readBytes'> & Partial<Pick<HeadBackend, 'copyToSave'>>;
}

export function saveHead(path: string, head: SavedHead): Promise<void> {
  return replaceFile(path, pieces(head));
}

/** As `saveHead`, at once. */
export function saveHeadSync(path: string, head: SavedHead): void {
  replaceFileSync(path, pieces(head));
}

/** A tensor of the file, and how to get its bytes. */
interface SavedTensor {
  name: string;
  dtype: Dtype;
  shape: number[];
  read(offset: number, out: Uint8Array): void;
}

const PIECE = 2 ** 22;
/** The data begin on a cache line. */
const ALIGNMENT = 64;

/** Blocks need no alignment. */
function numberBytes(dtype: Dtype): number {
  return isFloat(dtype) ? ROW_FORMATS[dtype].bytes : 1;
}

/** Of a vector or a matrix. */
function byteCount(dtype: Dtype, shape: number[]): number {
  const [columns, rows = 1] = [...shape].reverse();
  return rows * rowBytes(dtype, columns);
}

/** The file's bytes, piece by piece. A piece is good until the next is asked for. */
function* pieces(head: SavedHead): Generator<Uint8Array> {
  // The larger values first, as the format's own writer does: so all of them are aligned.
  const tensors = tensorsOf(head).sort((a, b) => numberBytes(b.dtype) - numberBytes(a.dtype));
  const copy = head.backend.copyToSave?.();
  const metadata = savedMetadata(factsOf(head, copy && COPY_FORM));
  const header: Record<string, unknown> = { __metadata__: metadata };
  let end = 0;
  if (copy) {
    // First, where it begins on a cache line; filled up, so that what follows does too.
    end = Math.ceil(copy.size / ALIGNMENT) * ALIGNMENT;
    header[COPY_TENSOR] = { dtype: 'U8', shape: [end], data_offsets: [0, end] };
  }
  for (const { name, dtype, shape } of tensors) {
    const begin = end;
    end += byteCount(dtype, shape);
    const { metadata: its, ...entry } = savedAs(name, dtype, shape);
    Object.assign(metadata, its);
    header[name] = { ...entry, data_offsets: [begin, end] };
  }
  const text = Buffer.from(JSON.stringify(header));
  const start = Buffer.alloc(Math.ceil((8 + text.length) / ALIGNMENT) * ALIGNMENT, ' ');
  start.writeBigUInt64LE(BigInt(start.length - 8));
  text.copy(start, 8);
  yield start;
  const piece = new Uint8Array(Math.min(PIECE, end));
  if (copy) yield* copyPieces(copy, piece);
  for (const { dtype, shape, read } of tensors) {
    const size = byteCount(dtype, shape);
    for (let at = 0; at < size; at += piece.length) {
      const part = piece.subarray(0, Math.min(piece.length, size - at));
      read(at, part);
      yield part;
    }
  }
}

function* copyPieces({ size, read }: CopyBytes, piece: Uint8Array): Generator<Uint8Array> {
  const end = Math.ceil(size / ALIGNMENT) * ALIGNMENT;
  for (let at = 0; at < end; at += piece.length) {
    const part = piece.subarray(0, Math.min(piece.length, end - at)).fill(0);
    read(at, part.subarray(0, size - at));
    yield part;
  }
}

function tensorsOf({
  vocabSize,
  hiddenSize,
  inputRows,
  output,
  input,
  groups,
  tied,
  settings,
  backend,
}: SavedHead): SavedTensor[] {
  const matrix = (name: string, dtype: Dtype, which: 'output' | 'input'): SavedTensor[] => {
    const rows = which === 'input' ? inputRows : vocabSize;
    const whole: SavedTensor = {
      name,
      dtype,
      shape: [rows, hiddenSize],
      read: (offset, out) => backend.readBytes(which, offset, out),
    };
    const its = groups[which];
    if (!its) return [whole];
    // Scales and biases follow the rows.
    const first = rows * rowBytes(dtype, hiddenSize);
    const sides = ['scales', 'biases'].map((leaf, i): SavedTensor => {
      const start = first + i * sideBytes(rows, hiddenSize, its);
      return {
        name: name.replace(/weight$/, leaf),
        dtype: its.dtype,
        shape: [rows, hiddenSize / its.size],
        read: (offset, out) => backend.readBytes(which, start + offset, out),
      };
    });
    return [whole, ...sides];
  };
  const vector = (name: string, values: Float32Array): SavedTensor => ({
    name,
    dtype: 'f32',
    shape: [values.length],
    read: (offset, out) => out.set(new Uint8Array(values.buffer, values.byteOffset + offset, out.length)),
  });
  const embedding = 'model.embed_tokens.weight';
  const tensors = input
    ? [...matrix('lm_head.weight', output, 'output'), ...matrix(embedding, input, 'input')]
    : matrix(tied ? embedding : 'lm_head.weight', output, 'output');
  const { epilogue, norm } = settings;
  if (epilogue.bias) tensors.push(vector('lm_head.bias', epilogue.bias));
  if (norm) tensors.push(vector('model.norm.weight', norm.weight));
  if (norm?.bias) tensors.push(vector('model.norm.bias', norm.bias));
  return tensors;
}

function factsOf({ tied, hiddenSize, groups, settings }: SavedHead, screen?: number): SavedFacts {
  const { epilogue, embeddingScale, norm } = settings;
  const { logitScale, softCap, capOrder, validVocabSize } = epilogue;
  return {
    tied,
    vocabSize: validVocabSize,
    // By their shapes alone, words in groups may be of several sizes.
    hiddenSize: groups.output || groups.input ? hiddenSize : undefined,
    logitScale,
    softCap: softCap || undefined,
    capOrder,
    embeddingScale,
    screen,
    norm: norm && { type: norm.type, eps: norm.eps, offset: norm.offset ?? 0 },
  };
}
