/** Makes a quantized copy of a head's weights, and measures what that changes. */
import { setImmediate } from 'node:timers/promises';
import { newFloats, newWords, outOfMemory } from '../arguments/arrays';
import type { HeadBackend, HeadSpec, MatrixSource } from '../backend/backend';
import { createHead } from '../backend/choose';
import type { QuantizeTarget } from '../dtypes/quantize';
import { requireRoundable } from '../dtypes/quantized-activations';
import { type Groups, isFloat, matrixBytes, requireWholeBlocks, rowBytes } from '../dtypes/row-format';
import { LogitDifferences } from '../reference/logit-difference';
import type { Dtype, LogitDifference, QuantizationError } from '../types';

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
 * What the new head's logits differ by, and what of it rounded hidden states do.
 * @param spec of the new head
 * @param hidden [n,d]
 * @param signal a real one; rejects with its reason between two blocks
 */
export async function differences(
  before: HeadBackend,
  after: HeadBackend,
  spec: HeadSpec,
  hidden: Float32Array,
  signal?: AbortSignal,
): Promise<Pick<QuantizationError, 'logits' | 'rounded'>> {
  const logits = await compareLogits(before, after, spec, hidden, signal);
  if (spec.activations === 'f32') return { logits };
  const { vocabSize, hiddenSize, output, epilogue, threads } = spec;
  const facts = { vocabSize, hiddenSize, output, epilogue, threads, untied: true };
  const asTheyAre = createHead(after.kind, { ...facts, activations: 'f32' });
  try {
    return { logits, rounded: await compareLogits(asTheyAre, after, spec, hidden, signal) };
  } finally {
    asTheyAre.close();
  }
}

/** Runs both on the same hidden states. */
async function compareLogits(
  before: HeadBackend,
  after: HeadBackend,
  { vocabSize, hiddenSize: d, epilogue }: HeadSpec,
  hidden: Float32Array,
  signal?: AbortSignal,
): Promise<LogitDifference> {
  const found = new LogitDifferences();
  const valid = epilogue.validVocabSize;
  for (let first = 0; first < hidden.length / d; first += POSITIONS) {
    const n = Math.min(POSITIONS, hidden.length / d - first);
    const part = hidden.subarray(first * d, (first + n) * d);
    const [a, b] = [jobOf(part, n, vocabSize), jobOf(part, n, vocabSize)];
    await before.runAsync(a, signal);
    await after.runAsync(b, signal);
    for (let at = 0; at < n * vocabSize; at += vocabSize)
      found.add(a.logits.subarray(at, at + valid), b.logits.subarray(at, at + valid));
    await setImmediate();
    signal?.throwIfAborted();
  }
  return found.result();
}

function jobOf(hidden: Float32Array, n: number, vocabSize: number) {
  const logits = newFloats(n * vocabSize, 'logits');
  // The best ids are asked for as NaN is then refused.
  return { n, hidden, hiddenDtype: 'f32' as const, logits, argmax: newWords(n, 'argmax') };
}
