/** Where a command's results and messages go, and what ends it early. */
import { writeSync } from 'node:fs';
import { type Readable, Writable } from 'node:stream';
import { LMHeadError } from '../errors';

export interface Streams {
  /** Results, and nothing else. */
  stdout: Writable;
  /** Errors and, where it is a terminal, progress. */
  stderr: Writable & { isTTY?: boolean; columns?: number };
  /** What `--hidden -` reads. */
  stdin?: Readable & { isTTY?: boolean };
}

/** What a command works with. */
export interface Terminal {
  out: Output;
  stderr: Streams['stderr'];
  stdin: Streams['stdin'];
  /** Aborted by a signal of the system, whose name is its reason. */
  signal: AbortSignal;
}

/** Nobody reads on: the end of the command, and no fault of its. */
export class ReaderGone extends Error {}

/** A signal of the system has ended the command. */
export class Interrupted extends Error {}

/** So much text is written at once. */
const CHUNK = 2 ** 16;
/** So long is waited for a reader to take the last words of a command that was stopped, milliseconds. */
const PATIENCE = 1000;

/** Results on their way. No more of them is held than a stream takes up at a time. */
export class Output {
  readonly #stream: Writable;
  readonly #signal: AbortSignal;
  #text = '';
  #error: Error | undefined;
  /** Lets go on what waits for the stream. */
  #wake = () => {};

  constructor(stream: Writable, signal: AbortSignal) {
    this.#stream = stream;
    this.#signal = signal;
    const wake = () => this.#wake();
    stream.on('error', (error: Error) => {
      this.#error ??= error;
      wake();
    });
    for (const event of ['drain', 'close']) stream.on(event, wake);
    signal.addEventListener('abort', wake);
  }

  /**
   * Writes it, with what is to come where that is little.
   * @returns when there is room for more
   * @throws LMHeadError IO where it cannot be written, ReaderGone, Interrupted
   */
  async write(text: string): Promise<void> {
    this.#text += text;
    if (this.#text.length >= CHUNK) await this.flush();
  }

  /** Writes what is kept. Throws as `write` */
  async flush(): Promise<void> {
    this.#requireOpen();
    const text = this.#text;
    this.#text = '';
    if (text !== '') this.#stream.write(text);
    await this.#until(() => !this.#stream.writableNeedDrain);
  }

  /** Writes all of it, and is told of it. Throws as `write` */
  async end(): Promise<void> {
    await this.flush();
    let written = false;
    this.#stream.write('', error => {
      written = true;
      if (error) this.#error ??= this.#stream.errored ?? error;
      this.#wake();
    });
    await this.#until(() => written);
  }

  /** Of a command that a signal has stopped: what is kept, and its last words, as far as somebody takes them. */
  async last(text: string): Promise<void> {
    const all = this.#text + text;
    this.#text = '';
    if (this.#error) return;
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, PATIENCE);
      this.#stream.write(all, () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  async #until(done: () => boolean): Promise<void> {
    while (!done() && !this.#error && !this.#signal.aborted) {
      await new Promise<void>(resolve => {
        this.#wake = resolve;
      });
    }
    this.#requireOpen();
  }

  #requireOpen(): void {
    if (this.#signal.aborted) throw new Interrupted();
    if (!this.#error) return;
    if ((this.#error as NodeJS.ErrnoException).code === 'EPIPE') throw new ReaderGone();
    throw new LMHeadError(
      'IO',
      `standard output: ${this.#error.message}; want a place that can be written to, with room for all of it`,
      { cause: this.#error },
    );
  }
}

/** A file as a stream: Node's own for the standard output takes what was written in part for the whole. */
export function fileStream(file: number): Writable {
  return new Writable({
    decodeStrings: true,
    write(chunk: Buffer, _encoding, done) {
      try {
        for (let at = 0; at < chunk.length; ) at += writeSync(file, chunk, at);
        done();
      } catch (error) {
        done(error as Error);
      }
    },
  });
}
