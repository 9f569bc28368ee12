/** The reference as a backend: plain loops in float64, written to be read. Slow, and the definition of what is right. */

import { randomUUID } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { setImmediate } from 'node:timers/promises';
import { outOfMemory } from '../arguments/arrays';
import { arrayType } from '../arguments/describe';
import {
  APART,
  type HeadBackend,
  type HeadSpec,
  type HiddenJob,
  type ListedJob,
  type LogitsBackend,
  type LogitsJob,
  type MatrixSource,
} from '../backend/backend';
import { untilAbort } from '../backend/on-abort';
import { dequantizeGrouped, unpackedRows } from '../dtypes/dequantize';
import { floats, narrow } from '../dtypes/half';
import { notFinite, type QuantizeTarget, quantizeRow } from '../dtypes/quantize';
import { roundedActivations } from '../dtypes/quantized-activations';
import { type GroupedDtype, isFloat, rowBytes } from '../dtypes/row-format';
import { LMHeadError } from '../errors';
import { verifyRow } from './draft';
import { logitOf } from './logits';
import { writeResults } from './results';
import { similarityOf } from './similarity';

/** A matrix [rows, columns] in float32, row by row, in memory that threads can share. */
function load(source: MatrixSource, rows: number, columns: number): Float32Array {
  if (source.kind !== 'memory') throw new Error('the reference computes from values in memory');
  // Another head's, shared by its handle, is unpacked already.
  const unpacked = arrayType(source.data) === 'Float32Array';
  const data = unpacked ? (source.data as Float32Array) : elementsOf(source, rows, columns);
  if (source.layout === 'vd') {
    if (!source.copy && data === source.data) return data;
    const copy = sharedFloats(data.length);
    copy.set(data);
    return copy;
  }
  const turned = sharedFloats(data.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++)
      turned[row * columns + column] = data[column * rows + row];
  }
  return turned;
}

function elementsOf(source: MatrixSource & { kind: 'memory' }, rows: number, columns: number): Float32Array {
  const { data, dtype, groups } = source;
  if (!groups) return unpackedRows(data, dtype, columns);
  return dequantizeGrouped(data as Uint8Array, dtype as GroupedDtype, rows, columns, groups);
}

function sharedFloats(count: number): Float32Array {
  try {
    return new Float32Array(new SharedArrayBuffer(count * 4));
  } catch (cause) {
    throw outOfMemory(count, 'weight', cause);
  }
}

/** A quantized matrix as it came, in memory that threads can share. */
function quantizedBytes(source: MatrixSource): Uint8Array | undefined {
  if (source.kind !== 'memory' || isFloat(source.dtype)) return undefined;
  if (!source.copy) return source.data as Uint8Array;
  try {
    const bytes = new Uint8Array(new SharedArrayBuffer(source.data.byteLength));
    bytes.set(source.data);
    return bytes;
  } catch (cause) {
    throw outOfMemory(source.data.length, 'weight', cause);
  }
}

/** Rows that are quantized at a time; between them the event loop runs. */
const PAUSE_ROWS = 64;

/** One that waits or runs. */
interface ReferenceCall {
  /** Until it is stopped: its jobs, whose heads they are, and copies of their hidden states. */
  parts: { head: ReferenceHead; job: HiddenJob; hidden: Float32Array }[];
  stopped?: LMHeadError;
  told?: Float64Array;
}

class ReferenceHead implements HeadBackend {
  readonly kind = 'reference';
  readonly threads = 1;
  readonly #spec: HeadSpec;
  readonly #output: Float32Array;
  readonly #input: Float32Array | undefined;
  /** The same for all heads over one memory, which a handle brings as another object. */
  readonly #token: string;
  /** Quantized matrices as they came. */
  readonly #bytes: { output?: Uint8Array; input?: Uint8Array };
  #closed = false;
  /** Settles when the last job so far has ended. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(spec: HeadSpec) {
    const { vocabSize, hiddenSize, output, input } = spec;
    this.#spec = spec;
    this.#output = load(output, vocabSize, hiddenSize);
    this.#token = (output.kind === 'memory' && output.token) || randomUUID();
    this.#input = input && load(input, spec.inputRows ?? vocabSize, hiddenSize);
    this.#bytes = { output: quantizedBytes(output), input: input && quantizedBytes(input) };
  }

  run(job: HiddenJob): void {
    const hidden = floats(job.hidden, job.hiddenDtype);
    for (let row = 0; row < job.n && this.#row(job, hidden, row); row++);
  }

  async runAsync(job: HiddenJob, signal?: AbortSignal, told?: Float64Array): Promise<void> {
    return this.runAllAsync([{ backend: this, job }], signal, told);
  }

  runAll(list: readonly ListedJob[]): void {
    for (const { backend, job } of list) backend.run(job);
  }

  async runAllAsync(list: readonly ListedJob[], signal?: AbortSignal, told?: Float64Array): Promise<void> {
    const parts = list.map(({ backend, job }) => {
      return { head: backend as ReferenceHead, job, hidden: floats(job.hidden, job.hiddenDtype).slice() };
    });
    const call: ReferenceCall = { parts, told };
    if (!signal) return this.#queue(call);
    // The caller is told at once, however long the row takes that is being computed; and what waits keeps nothing.
    return untilAbort(
      signal,
      () => this.#queue(call),
      error => {
        call.stopped = error;
        call.parts = [];
      },
    );
  }

  async #queue(call: ReferenceCall): Promise<void> {
    const sent = performance.now();
    const n = call.parts.reduce((sum, { job }) => sum + job.n, 0);
    const running = this.#last.then(async () => {
      const start = performance.now();
      await this.#rowByRow(call);
      const took = (performance.now() - start) / 1000;
      call.told?.set([(start - sent) / 1000, took, 1, n, APART.indexOf('backend')]);
    });
    this.#last = running.catch(() => undefined);
    return running;
  }

  async #rowByRow(call: ReferenceCall): Promise<void> {
    if (this.#closed) throw new LMHeadError('CLOSED', 'the head was closed before the call started');
    if (call.stopped) throw call.stopped;
    for (const { head, job, hidden } of call.parts) {
      for (let row = 0; row < job.n; row++) {
        await setImmediate(); // let others run too
        if (call.stopped) throw call.stopped;
        if (!head.#row(job, hidden, row)) break;
      }
    }
  }

  hasWeightsOf(other: HeadBackend): boolean {
    return other instanceof ReferenceHead && other.#token === this.#token;
  }

  /** @returns whether the next row counts */
  #row(job: HiddenJob, hidden: Float32Array, row: number): boolean {
    const { vocabSize, hiddenSize, epilogue, activations } = this.#spec;
    const valid = epilogue.validVocabSize;
    const h = hidden.subarray(row * hiddenSize, (row + 1) * hiddenSize);
    const multiplied = activations === 'f32' ? h : roundedActivations(h, hiddenSize, activations);
    const logit = (id: number) =>
      job.metric
        ? similarityOf(h, this.#output, id, job.metric)
        : logitOf(multiplied, this.#output, id, id, epilogue);
    const all = () =>
      Float32Array.from({ length: vocabSize }, (_, id) => (id < valid ? logit(id) : -Infinity));
    const { view } = job;
    const u = view ? Float32Array.from(view.rows, logit) : all();
    const size = view ? view.rows.length : valid;
    if (job.draft) return verifyRow(job, row, u, size);
    writeResults(job, row, u, size, view?.overVocabulary ? all().subarray(0, valid) : undefined);
    return true;
  }

  async quantizeRows(
    dtype: QuantizeTarget,
    first: number,
    bytes: Uint8Array,
    errors: Float64Array,
    signal?: AbortSignal,
  ): Promise<void> {
    const d = this.#spec.hiddenSize;
    const stride = rowBytes(dtype, d);
    for (let i = 0; i < errors.length / 3; i++) {
      const row = this.#output.subarray((first + i) * d, (first + i + 1) * d);
      if (!row.every(Number.isFinite)) throw notFinite(first + i);
      const { max, squares, total } = quantizeRow(row, dtype, bytes.subarray(i * stride, (i + 1) * stride));
      errors.set([max, squares, total], i * 3);
      if (i % PAUSE_ROWS === PAUSE_ROWS - 1) {
        await setImmediate();
        if (signal?.aborted) throw new LMHeadError('ABORTED', 'the call was aborted');
      }
    }
  }

  readRows(matrix: 'output' | 'input', ids: Uint32Array, out: Float32Array): void {
    const d = this.#spec.hiddenSize;
    const from = matrix === 'output' ? this.#output : this.#input!;
    ids.forEach((id, i) => {
      out.set(from.subarray(id * d, (id + 1) * d), i * d);
    });
  }

  readBytes(matrix: 'output' | 'input', offset: number, out: Uint8Array): void {
    const { output, input } = this.#spec;
    const [values, dtype] = matrix === 'output' ? [this.#output, output.dtype] : [this.#input!, input!.dtype];
    if (!isFloat(dtype)) {
      out.set(this.#bytes[matrix]!.subarray(offset, offset + out.length));
      return;
    }
    const size = dtype === 'f32' ? 4 : 2;
    const first = Math.floor(offset / size);
    const end = Math.ceil((offset + out.length) / size);
    const held = narrow(values.subarray(first, end), dtype);
    out.set(new Uint8Array(held.buffer, held.byteOffset + offset - first * size, out.length));
  }

  share(): { output: MatrixSource; input?: MatrixSource } {
    const { output, input } = this.#spec;
    const source = (
      data: Float32Array | Uint8Array,
      { dtype, groups }: MatrixSource,
      token?: string,
    ): MatrixSource => {
      return { kind: 'memory', data, dtype, copy: false, layout: 'vd', token, groups };
    };
    return {
      output: source(this.#bytes.output ?? this.#output, output, this.#token),
      input: this.#input && source(this.#bytes.input ?? this.#input, input!),
    };
  }

  // Its answers are what a bound is held against: it has none itself.
  async makeCopy(): Promise<void> {}

  copiedRows(): number {
    return 0;
  }

  useCopy(): void {}

  screening(): undefined {
    return undefined;
  }

  copyToSave(): undefined {
    return undefined;
  }

  close(): void {
    this.#closed = true;
  }

  async idle(): Promise<void> {
    await this.#last;
  }
}

export function createReferenceHead(spec: HeadSpec): HeadBackend {
  return new ReferenceHead(spec);
}

/** Passes over logits that the caller holds. */
export const referenceLogits: LogitsBackend = {
  kind: 'reference',

  runLogits(job: LogitsJob): void {
    const { givenLogits, vocabSize, n } = job;
    for (let row = 0; row < n; row++) {
      const u = givenLogits.subarray(row * vocabSize, (row + 1) * vocabSize);
      if (!job.draft) writeResults(job, row, u, vocabSize);
      else if (!verifyRow(job, row, u, vocabSize)) return;
    }
  },
};
