/** Writes the head of a file of weights alone, as it is or with another type of number. */
import type { HeadBackend, HeadSpec } from '../backend/backend';
import { createHead } from '../backend/choose';
import { narrow } from '../dtypes/half';
import type { QuantizeTarget } from '../dtypes/quantize';
import { matrixBytes } from '../dtypes/row-format';
import { LMHeadError } from '../errors';
import type { Dtype, FloatDtype, OpenOptions, QuantizationError } from '../types';
import { filePath, type HeadParts, type HeadReport, openHead } from './open';
import { quantizedSpec } from './quantize';
import { type SavedHead, saveHead } from './save';

export type ConvertTarget = FloatDtype | QuantizeTarget;

/** What has been written. */
export interface Converted {
  vocabSize: number;
  hiddenSize: number;
  dtype: Dtype;
  /** Of the matrices. */
  bytes: number;
  /** What quantizing has changed, where it was asked for. */
  error?: QuantizationError['weights'];
  report: HeadReport;
}

/**
 * @param from as `LMHead.open` takes it
 * @param to a .safetensors file
 * @param dtype for both matrices; i8 and q8_0 for the output, as `quantize` has it. Absent: as they are held
 * @throws LMHeadError as `open` and `save` do; RANGE for a number too large for the dtype
 */
export async function convertHead(
  from: string,
  to: string,
  dtype: ConvertTarget | undefined,
  options: OpenOptions,
): Promise<Converted> {
  const opened = await openHead(from, options);
  try {
    const { report } = opened;
    if (dtype !== 'i8' && dtype !== 'q8_0') {
      const saved = savedAs(opened, dtype);
      await saveHead(filePath(to), saved);
      return { ...factsOf(saved), report };
    }
    const { spec, settings, backend } = opened;
    const input = { inputDtype: spec.input?.dtype, inputGroups: spec.input?.groups };
    const { spec: made, weights } = await quantizedSpec(
      { backend, spec, ...input, requireOpen: () => undefined },
      dtype,
    );
    const quantized = { spec: made, settings, backend: createHead(backend.kind, made) };
    try {
      const saved = savedAs(quantized);
      await saveHead(filePath(to), saved);
      return { ...factsOf(saved), error: weights, report };
    } finally {
      quantized.backend.close();
    }
  } finally {
    opened.backend.close();
  }
}

function savedAs({ spec, settings, backend }: HeadParts, dtype?: FloatDtype): SavedHead {
  const { vocabSize, hiddenSize, inputRows = vocabSize, output, input, untied } = spec;
  const shape = { vocabSize, hiddenSize, inputRows, tied: !input && !untied, settings };
  if (dtype === undefined) {
    const groups = { output: output.groups, input: input?.groups };
    return { ...shape, output: output.dtype, input: input?.dtype, groups, backend };
  }
  const converted = { output: dtype, input: input && dtype, groups: {} };
  return { ...shape, ...converted, backend: new ConvertedRows(backend, spec, dtype) };
}

function factsOf({ vocabSize, hiddenSize, inputRows, output, input, groups }: SavedHead) {
  const bytes =
    matrixBytes(output, vocabSize, hiddenSize, groups.output) +
    (input ? matrixBytes(input, inputRows, hiddenSize, groups.input) : 0);
  return { vocabSize, hiddenSize, dtype: output, bytes };
}

/** A head's rows in another type of number, made as they are read. */
class ConvertedRows implements Pick<HeadBackend, 'readBytes'> {
  readonly #backend: HeadBackend;
  readonly #hiddenSize: number;
  readonly #dtype: FloatDtype;

  constructor(backend: HeadBackend, { hiddenSize }: HeadSpec, dtype: FloatDtype) {
    this.#backend = backend;
    this.#hiddenSize = hiddenSize;
    this.#dtype = dtype;
  }

  readBytes(which: 'output' | 'input', offset: number, out: Uint8Array): void {
    const d = this.#hiddenSize;
    const size = d * (this.#dtype === 'f32' ? 4 : 2);
    const first = Math.floor(offset / size);
    const count = Math.ceil((offset + out.length) / size) - first;
    const values = new Float32Array(count * d);
    this.#backend.readRows(
      which,
      Uint32Array.from({ length: count }, (_, i) => first + i),
      values,
    );
    const narrowed = narrow(values, this.#dtype);
    requireHeld(values, narrowed, this.#dtype);
    const start = offset - first * size;
    const bytes = new Uint8Array(narrowed.buffer, narrowed.byteOffset, narrowed.byteLength);
    out.set(bytes.subarray(start, start + out.length));
  }
}

/** Rounding must not make infinities. */
function requireHeld(from: Float32Array, to: Float32Array | Uint16Array, dtype: FloatDtype): void {
  if (dtype === 'f32') return;
  const infinity = dtype === 'f16' ? 0x7c00 : 0x7f80;
  for (let i = 0; i < to.length; i++) {
    if ((to[i] & 0x7fff) === infinity && Number.isFinite(from[i])) {
      throw new LMHeadError('RANGE', `dtype: got ${dtype} for a weight of ${from[i]}; want f32 or bf16`);
    }
  }
}
