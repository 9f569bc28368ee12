/** What a head says of itself, and its end: the base of LMHead. */
import { type InspectOptions, inspect } from 'node:util';
import type { HeadSettings } from '../arguments/head-options';
import type { HeadSpec } from '../backend/backend';
import { LMHeadError } from '../errors';
import type { Shard } from '../shard/backend';
import { specOfShard } from '../shard/range';
import type { Activations, Dtype, Screening } from '../types';
import type { HeadParts } from './open';
import { HeadPasses } from './passes';

/** The constructor is for `from` and `open` alone. @internal */
export const constructorKey = Symbol('LMHead');

/** The passes of a head, for the modules of this package. @internal */
export let passesOf: (head: HeadProperties) => HeadPasses;

/** The same of a head that must not be closed: each method begins with it. @internal */
export function openPasses(head: HeadProperties): HeadPasses {
  const passes = passesOf(head);
  passes.requireOpen();
  return passes;
}

export abstract class HeadProperties {
  readonly #passes: HeadPasses;
  readonly #dtype: Dtype;
  readonly #inputRows: number;
  readonly #tied: boolean;
  readonly #parameterCount: number;
  readonly #shard: Shard | undefined;

  static {
    passesOf = head => head.#passes;
  }

  /** @internal */
  constructor(parts: HeadParts, key: symbol) {
    if (key !== constructorKey) {
      throw new LMHeadError(
        'ARGUMENT',
        'new LMHead: heads are not made by new; want LMHead.from or LMHead.open',
      );
    }
    const { spec, settings, shard } = parts;
    this.#passes = new HeadPasses(parts);
    this.#dtype = spec.output.dtype;
    this.#inputRows = spec.inputRows ?? spec.vocabSize;
    this.#tied = spec.input === undefined && !spec.untied;
    this.#parameterCount = countParameters(shard ? specOfShard(spec, shard.range) : spec, settings);
    this.#shard = shard;
  }

  /** V: rows of E, padding included; of a shard, too, whose ids are those of the whole. */
  get vocabSize(): number {
    return this.#passes.vocabSize;
  }

  /** Which part of the vocabulary it has, where it was opened with the option `shard`: ids from `firstId` to before `endId`. */
  get shard(): { index: number; count: number; firstId: number; endId: number } | undefined {
    if (!this.#shard) return undefined;
    const { index, count, begin, end } = this.#shard.range;
    return { index, count, firstId: begin, endId: end };
  }

  /** d: columns of E, the length of a hidden state. */
  get hiddenSize(): number {
    return this.#passes.hiddenSize;
  }

  /** What the output matrix holds: 'f32', 'f16', 'bf16', or a quantized dtype. */
  get dtype(): Dtype {
    return this.#dtype;
  }

  /** What console.log shows. @hidden */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    const { vocabSize, hiddenSize, dtype, backend, tied, threads } = this;
    return `LMHead ${inspect({ vocabSize, hiddenSize, dtype, backend, tied, threads }, options)}`;
  }

  /** What JSON.stringify writes. */
  toJSON(): { vocabSize: number; hiddenSize: number; dtype: Dtype; backend: 'native' | 'reference' } {
    const { vocabSize, hiddenSize, dtype, backend } = this;
    return { vocabSize, hiddenSize, dtype, backend };
  }

  /** What hidden states are rounded to; see the option. */
  get activations(): Activations {
    return this.#passes.settings.activations;
  }

  /** Does the output matrix serve as the input embedding too? */
  get tied(): boolean {
    return this.#tied;
  }

  /** Rows of the input embedding: V, but where it is another matrix, of as many rows as that has. */
  get inputVocabSize(): number {
    return this.#inputRows;
  }

  /** Parameters: V·d, counted once where tied and twice where not, with the bias and the norm's vectors if there are any. */
  get parameterCount(): number {
    return this.#parameterCount;
  }

  /** The backend: 'native', or 'reference' (plain TypeScript). */
  get backend(): 'native' | 'reference' {
    return this.#passes.backend.kind;
  }

  /**
   * What the option `screen` did so far; undefined for a head without it.
   * @throws LMHeadError CLOSED
   */
  get screening(): Screening | undefined {
    return openPasses(this).backend.screening();
  }

  /** Threads that a pass may use. */
  get threads(): number {
    return this.#passes.backend.threads;
  }

  /** New calls throw CLOSED; running jobs finish; queued ones reject with CLOSED; the memory goes last. Idempotent. */
  close(): void {
    this.#passes.close();
  }

  /** As `close()`: for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** As `close()`, and resolves when the last job has ended: for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.#passes.backend.idle();
  }
}

function countParameters(spec: HeadSpec, { epilogue, norm }: HeadSettings): number {
  const { vocabSize, hiddenSize, input, inputRows = vocabSize } = spec;
  const matrices = (input ? vocabSize + inputRows : vocabSize) * hiddenSize;
  const vectors = (epilogue.bias?.length ?? 0) + (norm?.weight.length ?? 0) + (norm?.bias?.length ?? 0);
  return matrices + vectors;
}
