import type { Hidden } from '../types';
import type { Memory, Rows } from './body';
import type { OnnxDecoder } from './decoder';

/**
 * A text as far as a decoder has read it. It never changes, so that several continuations may begin at one: `step` gives another one.
 */
export class DecoderState {
  /** How many tokens were read. */
  readonly length: number;
  /** The last token's hidden state, [1,d], in a form that heads take; its logits, where the decoder chooses from logits. */
  readonly hidden: Hidden;
  /** @internal */
  readonly decoder: OnnxDecoder;
  /** @internal */
  readonly memory: Memory;
  /** The tokens. @internal */
  readonly ids: Uint32Array;

  /** @hidden */
  constructor(decoder: OnnxDecoder, ids: Uint32Array, rows: Rows, memory: Memory) {
    this.decoder = decoder;
    this.ids = ids;
    this.length = ids.length;
    this.hidden = rows as Hidden;
    this.memory = memory;
  }
}
