/** Makes a quantized copy of a head's weights, and measures what that changes. */
import { setImmediate } from 'node:timers/promises';
import { newFloats, newWords, outOfMemory } from '../arguments/arrays';
import type { HeadBackend, HeadSpec, HiddenJob, MatrixSource } from '../backend/backend';
import type { QuantizeTarget } from '../dtypes/quantize';
import { requireRoundable } from '../dtypes/quantized-activations';
import { type Groups, isFloat, matrixBytes, requireWholeBlocks, rowBytes } from '../dtypes/row-format';
import type { Dtype, QuantizationError } from '../types';

/** Rows of E that are quantized at a time, and hidden states compared; between them other calls' jobs run. */
const ROWS = 1024;
const POSITIONS = 8;

function sharedBytes(size: number): Uint8Array {
  try {
    return new Uint8Array(new SharedArrayBuffer(size));
  } catch (cause) {
    throw outOfMemory(size, 'weight', cause);
  }
}

function held(
  data: Float32Array | Uint16Array | Uint8Array,
  dtype: Dtype,
): MatrixSource & { kind: 'memory' } {
  return { kind: 'memory', data, dtype, copy: false, layout: 'vd' };
}

/** The head to be quantized. */
export interface Quantizable {
  backend: HeadBackend;
  spec: Omit<HeadSpec, 'output' | 'input'>;
  /** Of an input embedding of its own, which the new head gets a copy of. */
  inputDtype?: Dtype;
  inputGroups?: Groups;
  requireOpen(): void;
}

/**
 * @param signal a real one; rejects with its reason between two blocks
 * @throws LMHeadError SHAPE, RANGE (a row with NaN or an infinity, or activations that cannot be rounded), CLOSED, MEMORY
 */
export async function quantizedSpec(
  head: Quantizable,
  dtype: QuantizeTarget,
  signal?: AbortSignal,
): Promise<{ spec: HeadSpec; weights: QuantizationError['weights'] }> {
  const { vocabSize, hiddenSize: d } = head.spec;
  requireWholeBlocks(dtype, d, 'weight');
  requireRoundable(head.spec.activations, dtype, d);
  const stride = rowBytes(dtype, d);
  const bytes = sharedBytes(vocabSize * stride);
  let max = 0;
  let squares = 0;
  let total = 0;
  for (let first = 0; first < vocabSize; first += ROWS) {
    const count = Math.min(ROWS, vocabSize - first);
    const errors = new Float64Array(count * 3);
    const part = bytes.subarray(first * stride, (first + count) * stride);
    await head.backend.quantizeRows(dtype, first, part, errors, signal);
    signal?.throwIfAborted();
    head.requireOpen(); // a job that runs is not stopped
    for (let i = 0; i < errors.length; i += 3) {
      max = Math.max(max, errors[i]);
      squares += errors[i + 1];
      total += errors[i + 2];
    }
  }
  const spec = { ...head.spec, output: held(bytes, dtype), input: copyOfInput(head) };
  const rms = Math.sqrt(squares / (vocabSize * d));
  const relative = total === 0 ? 0 : Math.sqrt(squares / total);
  return { spec, weights: { max, rms, relative } };
}

function copyOfInput({ backend, spec, inputDtype, inputGroups }: Quantizable): MatrixSource | undefined {
  if (inputDtype === undefined) return undefined;
  const { inputRows = spec.vocabSize } = spec;
  const bytes = sharedBytes(matrixBytes(inputDtype, inputRows, spec.hiddenSize, inputGroups));
  backend.readBytes('input', 0, bytes);
  if (!isFloat(inputDtype)) return { ...held(bytes, inputDtype), groups: inputGroups };
  const { buffer } = bytes;
  return held(inputDtype === 'f32' ? new Float32Array(buffer) : new Uint16Array(buffer), inputDtype);
}

/**
 * Runs both on the same hidden states.
 * @param hidden [n,d]
 * @param signal a real one; rejects with its reason between two blocks
 */
export async function compareLogits(
  before: HeadBackend,
  after: HeadBackend,
  { vocabSize, hiddenSize: d, epilogue }: Omit<HeadSpec, 'output' | 'input'>,
  hidden: Float32Array,
  signal?: AbortSignal,
): Promise<NonNullable<QuantizationError['logits']>> {
  const positions = hidden.length / d;
  let max = 0;
  let squares = 0;
  let divergence = 0;
  let agreeing = 0;
  for (let first = 0; first < positions; first += POSITIONS) {
    const n = Math.min(POSITIONS, positions - first);
    const part = hidden.subarray(first * d, (first + n) * d);
    const [a, b] = [jobOf(part, n, vocabSize), jobOf(part, n, vocabSize)];
    await before.runAsync(a, signal);
    await after.runAsync(b, signal);
    for (let row = 0; row < n; row++) {
      for (let id = 0; id < epilogue.validVocabSize; id++) {
        const i = row * vocabSize + id;
        const difference = Math.abs(a.logits![i] - b.logits![i]);
        max = Math.max(max, difference);
        squares += difference * difference;
        const logP = a.logProbs![i];
        if (logP > Number.NEGATIVE_INFINITY) divergence += Math.exp(logP) * (logP - b.logProbs![i]);
      }
      if (a.argmax![row] === b.argmax![row]) agreeing++;
    }
    await setImmediate();
    signal?.throwIfAborted();
  }
  return {
    positions,
    max,
    rms: Math.sqrt(squares / (positions * epilogue.validVocabSize)),
    klDivergence: divergence / positions,
    argmaxAgreement: agreeing / positions,
  };
}

function jobOf(hidden: Float32Array, n: number, vocabSize: number): HiddenJob {
  return {
    n,
    hidden,
    hiddenDtype: 'f32',
    logits: newFloats(n * vocabSize, 'logits'),
    logProbs: newFloats(n * vocabSize, 'logProbs'),
    argmax: newWords(n, 'argmax'),
  };
}
