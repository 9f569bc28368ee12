/** A head of a shard of the vocabulary: ids of the whole outside, local indices of the rows that it holds inside. */
import { newFloats, newWords } from '../arguments/arrays';
import {
  CHUNK_ROWS,
  ChunkSum,
  type HeadBackend,
  type HeadSpec,
  type HiddenJob,
  IGNORED,
  type ListedJob,
  type MatrixSource,
  type PartialResults,
} from '../backend/backend';
import { type BackendKind, createHead } from '../backend/choose';
import type { QuantizeTarget } from '../dtypes/quantize';
import { LMHeadError } from '../errors';
import { follow, followSync } from '../formats/read-plan';
import { asJson } from '../pass/as-json';
import { inverseOf } from '../reference/distribution';
import { samplingOf } from '../reference/results';
import type { Screening, ShardPart } from '../types';
import { localAdjustments } from './adjustments';
import { drawingOf, plainParameters } from './drawing';
import { inputRange, type ShardRange, specOfShard } from './range';
import { type RowOrigin, RowReader } from './rows';
import { putLogits, type TargetPass, targetPasses } from './targets';

/** No token. */
const NO_ID = 0xffffffff;

/** What makes a shard of a head. */
export interface Shard {
  range: ShardRange;
  origin: RowOrigin;
}

export class ShardBackend implements HeadBackend {
  readonly kind: BackendKind;
  readonly threads: number;
  readonly range: ShardRange;
  readonly origin: RowOrigin;
  /** Over the rows that are held, by local index. */
  readonly inner: HeadBackend;
  readonly #spec: HeadSpec;
  readonly #reader: RowReader;
  readonly #input: { first: number; count: number };
  #pending = 0;
  #idle: (() => void)[] = [];

  /** @param spec of the whole, but with the sources of what the shard holds */
  constructor(kind: BackendKind, spec: HeadSpec, { range, origin }: Shard) {
    this.range = range;
    this.origin = origin;
    this.#spec = { ...spec, output: { ...spec.output }, input: undefined };
    this.#reader = new RowReader(origin);
    this.#input = inputRange(range, spec.inputRows ?? spec.vocabSize);
    this.inner = createHead(kind, specOfShard(spec, range));
    this.kind = kind;
    this.threads = this.inner.threads;
  }

  run(job: HiddenJob): void {
    const begun = this.#begin(job);
    if (job.n > 0) {
      const { ids } = begun.foreign;
      const others = ids.length > 0 ? this.#others(ids, followSync(this.#reader.rows(ids))) : undefined;
      try {
        for (const pass of this.#targetPasses(job, begun.foreign, others)) {
          pass.backend.run(pass.job);
          putLogits(pass, begun.partial.targetLogits!);
        }
      } finally {
        others?.close();
      }
      this.inner.run(begun.local);
    }
    this.#end(job, begun);
  }

  async runAsync(given: HiddenJob, signal?: AbortSignal, told?: Float64Array): Promise<void> {
    const begun = this.#begin(given);
    if (given.n === 0) return this.#end(given, begun);
    if (!given.score) {
      await this.inner.runAsync(begun.local, signal, told);
      return this.#end(given, begun);
    }
    // What is read first takes a while, in which the caller may do what it likes with its own.
    const job = { ...given, hidden: given.hidden.slice() };
    begun.local.hidden = job.hidden;
    this.#pending++;
    try {
      await this.#scoreAsync(job, begun, signal, told);
    } finally {
      if (--this.#pending === 0) for (const resolve of this.#idle.splice(0)) resolve();
    }
    this.#end(given, begun);
  }

  async #scoreAsync(job: HiddenJob, begun: Begun, signal?: AbortSignal, told?: Float64Array): Promise<void> {
    const { ids } = begun.foreign;
    const others = ids.length > 0 ? this.#others(ids, await follow(this.#reader.rows(ids))) : undefined;
    try {
      for (const pass of this.#targetPasses(job, begun.foreign, others)) {
        await pass.backend.runAsync(pass.job, signal);
        putLogits(pass, begun.partial.targetLogits!);
      }
    } finally {
      others?.close();
    }
    await this.inner.runAsync(begun.local, signal, told);
  }

  runAll(list: readonly ListedJob[]): void {
    for (const { backend, job } of list) backend.run(job);
  }

  async runAllAsync(list: readonly ListedJob[], signal?: AbortSignal): Promise<void> {
    for (const { backend, job } of list) await backend.runAsync(job, signal);
  }

  hasWeightsOf(other: HeadBackend): boolean {
    return other instanceof ShardBackend && this.inner.hasWeightsOf(other.inner);
  }

  /** Rows of E that are held, by local index. */
  quantizeRows(
    dtype: QuantizeTarget,
    first: number,
    bytes: Uint8Array,
    errors: Float64Array,
    signal?: AbortSignal,
  ): Promise<void> {
    return this.inner.quantizeRows(dtype, first, bytes, errors, signal);
  }

  readRows(matrix: 'output' | 'input', ids: Uint32Array, out: Float32Array): void {
    const { begin, end, base } = this.range;
    const [first, last, from] =
      matrix === 'output' ? [begin, end, base] : [begin, begin + this.#input.count, begin];
    const stray = ids.findIndex(id => id < first || id >= last);
    if (stray >= 0) {
      throw new LMHeadError(
        'RANGE',
        `ids[${stray}]: got ${ids[stray]}; want one of the shard's, from ${first} to ${last - 1}`,
      );
    }
    this.inner.readRows(
      matrix,
      ids.map(id => id - from),
      out,
    );
  }

  /** By local index. */
  readBytes(matrix: 'output' | 'input', offset: number, out: Uint8Array): void {
    this.inner.readBytes(matrix, offset, out);
  }

  share(): { output: MatrixSource; input?: MatrixSource } {
    return this.inner.share();
  }

  makeCopy(signal?: AbortSignal): Promise<void> {
    return this.inner.makeCopy(signal);
  }

  copiedRows(): number {
    return this.inner.copiedRows();
  }

  useCopy(): void {
    this.inner.useCopy();
  }

  screening(): Screening | undefined {
    return this.inner.screening();
  }

  copyToSave(): undefined {
    return undefined;
  }

  close(): void {
    this.inner.close();
  }

  async idle(): Promise<void> {
    if (this.#pending > 0) await new Promise<void>(resolve => this.#idle.push(resolve));
    await this.inner.idle();
  }

  /** Rows that the shard does not hold, as a head. */
  #others(ids: Uint32Array, output: MatrixSource): HeadBackend {
    const { epilogue } = this.#spec;
    const { bias } = epilogue;
    return createHead(this.kind, {
      ...this.#spec,
      vocabSize: ids.length,
      output,
      untied: undefined,
      inputRows: undefined,
      epilogue: {
        ...epilogue,
        bias: bias && Float32Array.from(ids, id => bias[id]),
        validVocabSize: ids.length,
      },
    });
  }

  #targetPasses(job: HiddenJob, foreign: Foreign, others: HeadBackend | undefined): TargetPass[] {
    if (!job.score) return [];
    const { base, valid } = this.range;
    const held = (id: number) => id >= base && id < base + valid;
    const d = this.#spec.hiddenSize;
    const own = targetPasses(job, d, this.inner, id => (held(id) ? id - base : undefined));
    if (!others) return own;
    return [...own, ...targetPasses(job, d, others, id => foreign.indices.get(id))];
  }

  /** The job of what is held. */
  #begin(job: HiddenJob): Begun {
    const { begin, end, base, rows, valid } = this.range;
    const { n, top, sample, score } = job;
    const partial: PartialResults = {
      firstId: base,
      begin: Math.min(begin - base, valid),
      end: Math.min(end - base, valid),
      sums: newDoubles(n * Math.ceil(valid / CHUNK_ROWS) * ChunkSum.count),
      k: 0,
    };
    const own = partial.end - partial.begin;
    const local: HiddenJob = { ...job, partial };
    const wide = (result: Float32Array | undefined) => result && newFloats(n * rows, 'logits');
    local.logits = wide(job.logits);
    local.logProbs = wide(job.logProbs);
    local.probs = wide(job.probs);
    if (own === 0) local.argmax = undefined;
    if (top) {
      const k = Math.min(top.k, own);
      const [ids, logits] = [top.ids.subarray(0, n * k), top.logits.subarray(0, n * k)];
      local.top = k === 0 ? undefined : { k, ids, logits, logProbs: top.logProbs!.subarray(0, n * k) };
    }
    local.adjustments = job.adjustments && localAdjustments(job.adjustments, n, base, rows);
    const drawing = sample && drawingOf(job, this.range);
    if (sample && drawing) {
      partial.k = Math.min(drawing.k, valid);
      partial.drawnLogits = newFloats(n, 'logits');
      partial.counts = newWords(n, 'counts');
      partial.ids = newWords(n * partial.k, 'ids');
      partial.logits = newFloats(n * partial.k, 'logits');
      if (local.adjustments) partial.drawnSums = newDoubles(partial.sums.length);
    }
    if (job.rowParameters) local.rowParameters = plainParameters(job.rowParameters, n, base);
    const foreign: Foreign = { ids: new Uint32Array(0), indices: new Map() };
    if (score) {
      partial.targetLogits = newFloats(n, 'logits');
      const { targets } = score;
      const localIndex = (id: number) => Math.min(Math.max(id - base, partial.begin), partial.end);
      local.score = { ...score, targets: targets.map(id => (id === IGNORED ? id : localIndex(id))) };
      const strange = targets.filter(id => id !== IGNORED && (id < base || id >= base + valid));
      foreign.ids = Uint32Array.from(new Set(strange)).sort();
      for (const [i, id] of foreign.ids.entries()) foreign.indices.set(id, i);
    }
    return { local, partial, drawing, foreign };
  }

  /** Puts results where they are wanted, with ids of the whole. */
  #end(job: HiddenJob, { local, partial, drawing }: Begun): void {
    const { begin, end, base, rows, index, count, vocabSize, validVocabSize } = this.range;
    const { n, sample, score } = job;
    for (const result of ['logits', 'logProbs', 'probs'] as const) {
      const [to, from] = [job[result], local[result]];
      const width = end - begin;
      for (let row = 0; to && row < n; row++) {
        const first = row * rows + begin - base;
        to.set(from!.subarray(first, first + width), row * width);
      }
    }
    const outwards = (ids: Uint32Array) => {
      for (let i = 0; i < ids.length; i++) if (ids[i] !== NO_ID) ids[i] += base;
    };
    if (local.argmax) outwards(local.argmax);
    else job.argmax?.fill(NO_ID);
    let k: number | undefined;
    if (job.top) {
      k = job.top.k;
      const none = {
        k: 0,
        ids: new Uint32Array(0),
        logits: new Float32Array(0),
        logProbs: new Float32Array(0),
      };
      job.top = local.top ?? none;
      outwards(job.top.ids);
    }
    if (sample) outwards(sample.ids);
    if (partial.ids) outwards(partial.ids);
    const part: ShardPart = {
      index,
      count,
      vocabSize,
      validVocabSize,
      n,
      firstChunk: base / CHUNK_ROWS,
      sums: partial.sums,
      inverseTemperatures: Float64Array.from({ length: n }, (_, row) =>
        inverseOf(samplingOf(job.rowParameters, row).temperature || 1),
      ),
      ...(k !== undefined && { k }),
      ...(score && { targets: score.targets, targetLogits: partial.targetLogits }),
      ...(drawing && {
        draw: {
          rowParameters: job.rowParameters!,
          ...(job.adjustments?.xtcProtected && { xtcProtected: job.adjustments.xtcProtected }),
          ways: drawing.ways,
          logits: partial.drawnLogits!,
          ...(partial.drawnSums && { sums: partial.drawnSums }),
          k: partial.k,
          counts: partial.counts!,
          ids: partial.ids!,
          listed: partial.logits!,
        },
      }),
    };
    job.shard = asJson(part);
  }
}

/** What computes by local indices, where a head is a shard's. */
export function innerOf(backend: HeadBackend): HeadBackend {
  return backend instanceof ShardBackend ? backend.inner : backend;
}

/** Targets that are not among the rows held: ascending, and their indices in that list. */
interface Foreign {
  ids: Uint32Array;
  indices: Map<number, number>;
}

interface Begun {
  local: HiddenJob;
  partial: PartialResults;
  drawing: ReturnType<typeof drawingOf> | undefined;
  foreign: Foreign;
}

function newDoubles(count: number): Float64Array {
  try {
    return new Float64Array(count);
  } catch (cause) {
    throw new LMHeadError('MEMORY', `hidden: ${count} sums do not fit into memory; want fewer rows`, {
      cause,
    });
  }
}
