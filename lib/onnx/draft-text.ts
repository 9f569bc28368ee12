/** Drafts by a smaller decoder. */
import type { OnnxDecoder } from './decoder';
import type { DecoderState } from './state';

/** The same text in a smaller decoder, which goes on by its likeliest tokens. */
export class DraftText {
  readonly #decoder: OnnxDecoder;
  readonly #signal: AbortSignal | undefined;
  /** By length, of the text as far as it was drafted. */
  #states: DecoderState[] = [];

  constructor(decoder: OnnxDecoder, signal: AbortSignal | undefined) {
    this.#decoder = decoder;
    this.#signal = signal;
  }

  async ids(text: Uint32Array, most: number): Promise<Uint32Array> {
    if (most === 0) return new Uint32Array(0);
    const options = { signal: this.#signal };
    // The longest that it has read of what has become the text.
    this.#states = this.#states.filter(
      ({ ids }) => ids.length < text.length && ids.every((id, i) => id === text[i]),
    );
    const known = this.#states.at(-1);
    const state = known
      ? await this.#decoder.step(known, text.subarray(known.length), options)
      : await this.#decoder.prefill(text, options);
    this.#states.push(state);
    const drafted: number[] = [];
    for await (const { id } of this.#decoder.generate(state, {
      temperature: 0,
      maxTokens: most,
      ...options,
    })) {
      drafted.push(id);
    }
    return Uint32Array.from(drafted);
  }
}
