/** The native addon as a backend. */

import { notFinite, type QuantizeTarget } from '../dtypes/quantize';
import { ACTIVATIONS } from '../dtypes/quantized-activations';
import type { Groups } from '../dtypes/row-format';
import { LMHeadError } from '../errors';
import type { Capabilities, Screening } from '../types';
import { VERSION } from '../version';
import {
  type Addon,
  chosenKernels,
  loadAddon,
  type NativeFailure,
  type NativeHead,
  type NativeResult,
} from './addon';
import type {
  HeadBackend,
  HeadSpec,
  HiddenJob,
  ListedJob,
  LogitsBackend,
  LogitsJob,
  MatrixSource,
  PassJob,
} from './backend';
import { keepMapsGuarded } from './map-signal';
import { untilAbort } from './on-abort';
import { DTYPE_CODE, requestArguments } from './pass-arguments';
import { idOf, nameOf, nanError, nothingLeftError, unnormalizedError } from './row-errors';
import { type CopyBytes, type CopySource, notTheCopy } from './saved-copy';
import { screeningOf } from './screening';
import { isSmall, runSmall } from './small-passes';
import { defaultThreads } from './threads';

/** Statuses of native/core/pass/request.h and native/addon/jobs.h, in their order from 1. */
function errorOf([status, row, id]: NativeFailure, job?: PassJob): LMHeadError {
  const rowName = nameOf(job, row);
  switch (status) {
    case 1:
      return nanError(rowName, idOf(job, id));
    case 2:
      return unnormalizedError(rowName, id < 0 ? undefined : idOf(job, id));
    case 3:
      return new LMHeadError('ABORTED', 'the call was aborted');
    case 4:
      return nothingLeftError(rowName);
    case 5:
      return new LMHeadError('CLOSED', 'the head was closed before the call started');
    case 7:
      return new LMHeadError(
        'IO',
        'the file of the weights has changed since it was opened; want one that stays as it is, or mmap: false',
      );
    default:
      return new LMHeadError('MEMORY', 'not enough memory for the pass');
  }
}

/** Throws what a result says, or puts candidates where the job wants them. */
function settle(result: NativeResult, job?: PassJob): void {
  if (result === undefined) return;
  if (Array.isArray(result)) throw errorOf(result, job);
  Object.assign(job!.candidates!, result);
}

/** The same, of a list. */
function settleAll(result: NativeResult, list: readonly ListedJob[]): void {
  if (Array.isArray(result)) throw errorOf(result, list[result[3]].job);
}

/** The native side's matrix; it never sees a layout, only whether to transpose. */
function nativeMatrix(source: MatrixSource): object {
  const { groups } = source;
  const common = {
    dtype: DTYPE_CODE[source.dtype],
    transposed: source.layout === 'dv',
    groupSize: groups?.size,
    groupDtype: groups && DTYPE_CODE[groups.dtype],
  };
  switch (source.kind) {
    case 'file':
      return {
        ...common,
        path: source.path,
        offset: source.offset,
        length: source.length,
        mmap: source.mmap,
        scalesOffset: source.groups?.scalesOffset,
        biasesOffset: source.groups?.biasesOffset,
      };
    case 'memory':
      return { ...common, data: source.data, copy: source.copy };
    case 'shared':
      return { ...common, token: source.token };
  }
}

/** Jobs that may be aborted are numbered, across the heads of this thread. */
let lastTicket = 0;

/** What a matrix is of. */
type HeldAs = Pick<MatrixSource, 'dtype'> & { groups?: Groups };
function heldAs({ dtype, groups }: MatrixSource): HeldAs {
  return { dtype, groups: groups && { size: groups.size, dtype: groups.dtype } };
}

function isBorrowed(source: MatrixSource): boolean {
  return source.kind === 'memory' && !source.copy;
}

/** The addon's own object for a head. */
function nativeHead(addon: Addon, spec: HeadSpec, threads: number): NativeHead {
  const { vocabSize, hiddenSize, output, input, epilogue, activations, coalesce } = spec;
  return new addon.Head({
    vocabSize,
    hiddenSize,
    validVocabSize: epilogue.validVocabSize,
    activations: ACTIVATIONS.indexOf(activations),
    threads,
    output: nativeMatrix(output),
    input: input && nativeMatrix(input),
    inputRows: spec.inputRows ?? vocabSize,
    bias: epilogue.bias,
    logitScale: epilogue.logitScale,
    softCap: epilogue.softCap,
    capFirst: epilogue.capOrder === 'cap-then-scale',
    coalesce: coalesce !== false,
  });
}

/** The addon's object. */
let headOf: (backend: HeadBackend) => NativeHead;

export class NativeBackend implements HeadBackend {
  readonly kind = 'native';
  readonly threads: number;
  readonly #head: NativeHead;
  /** Output and input: borrowed ones, kept from the collector for as long as the head is; of all others only what they are of. */
  readonly #matrices: (MatrixSource | HeldAs)[];
  #pending = 0;
  #idle: (() => void)[] = [];

  static {
    headOf = backend => (backend as NativeBackend).#head;
  }

  constructor(addon: Addon, spec: HeadSpec) {
    this.threads = spec.threads ?? defaultThreads();
    const sources = spec.input ? [spec.output, spec.input] : [spec.output];
    this.#matrices = sources.map(source => (isBorrowed(source) ? source : heldAs(source)));
    this.#head = nativeHead(addon, spec, this.threads);
    if (sources.some(source => source.kind === 'file' && source.mmap)) keepMapsGuarded(addon);
  }

  run(job: HiddenJob): void {
    const result = isSmall(job)
      ? runSmall(this.#head, job)
      : this.#head.run(job.n, job.hidden, DTYPE_CODE[job.hiddenDtype], ...requestArguments(job));
    if (result !== undefined) settle(result, job);
  }

  runAsync(job: HiddenJob, signal?: AbortSignal, told?: Float64Array): Promise<void> {
    return this.#abortable(signal, ticket =>
      this.#until(
        this.#head.runAsync(
          job.n,
          job.hidden,
          DTYPE_CODE[job.hiddenDtype],
          ...requestArguments(job),
          ticket,
          told,
        ),
        result => settle(result, job),
      ),
    );
  }

  runAll(list: readonly ListedJob[]): void {
    settleAll(this.#head.runAll(list.map(listedArguments)), list);
  }

  runAllAsync(list: readonly ListedJob[], signal?: AbortSignal, told?: Float64Array): Promise<void> {
    return this.#abortable(signal, ticket =>
      this.#until(this.#head.runAllAsync(list.map(listedArguments), ticket, told), result =>
        settleAll(result, list),
      ),
    );
  }

  hasWeightsOf(other: HeadBackend): boolean {
    if (other === this) return true;
    return other instanceof NativeBackend && other.#head.token(0) === this.#head.token(0);
  }

  /** The caller is told at once; a job that waits is gone then, and one that runs stops at its next chunk. */
  #abortable(signal: AbortSignal | undefined, start: (ticket?: number) => Promise<void>): Promise<void> {
    if (!signal) return start();
    const ticket = ++lastTicket;
    return untilAbort(
      signal,
      () => start(ticket),
      () => this.#head.abort(ticket),
    );
  }

  /** Takes what a job gives when it has ended. */
  async #until(running: Promise<NativeResult>, onResult: (result: NativeResult) => void): Promise<void> {
    this.#pending++;
    try {
      onResult(await running);
    } finally {
      this.#ended();
    }
  }

  /** A job has. */
  #ended(): void {
    if (--this.#pending > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  quantizeRows(
    dtype: QuantizeTarget,
    first: number,
    bytes: Uint8Array,
    errors: Float64Array,
    signal?: AbortSignal,
  ): Promise<void> {
    return this.#abortable(signal, ticket =>
      this.#until(
        this.#head.quantize(first, errors.length / 3, DTYPE_CODE[dtype], bytes, errors, ticket),
        result => {
          if (Array.isArray(result) && result[0] === 1) throw notFinite(result[1]);
          settle(result);
        },
      ),
    );
  }

  makeCopy(signal?: AbortSignal): Promise<void> {
    return this.#abortable(signal, ticket =>
      this.#until(this.#head.makeCopy(ticket), result => settle(result)),
    );
  }

  loadCopy({ path, offset, length, mmap }: CopySource): void {
    if (this.#head.loadCopy(path, offset, length, mmap) === 0) throw notTheCopy(path);
    if (mmap) keepMapsGuarded(loadAddon());
  }

  useCopy(): void {
    settle(this.#head.useCopy());
  }

  screening(): Screening | undefined {
    return screeningOf(this.#head.screening());
  }

  copiedRows(): number {
    return this.#head.copiedRows();
  }

  copyToSave(): CopyBytes | undefined {
    const size = this.#head.screening()?.saved;
    return size === undefined ? undefined : { size, read: (offset, out) => this.readCopy(offset, out) };
  }

  /** Bytes of the copy from `offset` on; behind its tiles, the mean [d] that is subtracted from rows. */
  readCopy(offset: number, out: Uint8Array): void {
    settle(this.#head.readCopy(offset, out));
  }

  readRows(matrix: 'output' | 'input', ids: Uint32Array, out: Float32Array): void {
    settle(this.#head.readRows(matrix === 'output' ? 0 : 1, ids, out));
  }

  readBytes(matrix: 'output' | 'input', offset: number, out: Uint8Array): void {
    settle(this.#head.readBytes(matrix === 'output' ? 0 : 1, offset, out));
  }

  share(): { output: MatrixSource; input?: MatrixSource } {
    const [output, input] = this.#matrices.map((matrix, i): MatrixSource => {
      if ('kind' in matrix) return matrix;
      return { kind: 'shared', token: this.#head.token(i as 0 | 1), ...matrix, layout: 'vd' };
    });
    return { output, input };
  }

  /** Seconds to read the output matrix once. */
  timeRead(): number {
    return this.#head.timeRead();
  }

  close(): void {
    this.#head.close();
    this.#matrices.length = 0;
  }

  idle(): Promise<void> {
    if (this.#pending === 0) return Promise.resolve();
    return new Promise(resolve => this.#idle.push(resolve));
  }
}

function listedArguments({ backend, job }: ListedJob): unknown[] {
  return [headOf(backend), job.n, job.hidden, DTYPE_CODE[job.hiddenDtype], ...requestArguments(job)];
}

/** Throws LOAD or ISA where there is no binary, IO, MEMORY. */
export function createNativeHead(spec: HeadSpec): HeadBackend {
  const backend = new NativeBackend(loadAddon(), spec);
  if (spec.savedCopy) backend.loadCopy(spec.savedCopy);
  if (spec.screen || spec.savedCopy) backend.useCopy();
  return backend;
}

/** Passes over logits that the caller holds. Throws LOAD or ISA where there is no binary. */
export function nativeLogits(): LogitsBackend {
  const addon = loadAddon();
  return {
    kind: 'native',
    runLogits(job: LogitsJob): void {
      settle(
        addon.runLogits(job.givenLogits, job.n, job.vocabSize, ...requestArguments(job), defaultThreads()),
        job,
      );
    },
  };
}

/** Throws LOAD or ISA where there is no binary. */
export function nativeCapabilities(): Capabilities {
  const { isa, available, napi } = chosenKernels();
  return { isa, available, threads: defaultThreads(), version: VERSION, napi };
}
