/** What an ONNX decoder takes. */
import type { LMHead } from '../lm-head';
import type { AsyncOptions, Ids, NextOptions, SamplerOptions, ScoreOptions } from '../types';
import type { OnnxDecoder } from './decoder';

/** Options of `OnnxDecoder.open`. */
export interface OnnxDecoderOptions {
  /**
   * What chooses tokens from the model's hidden states; it stays the caller's, and is closed by the caller. Without one, the head is taken
   * from the model itself, or tokens are chosen from the logits that it computes where that cannot be.
   */
  head?: LMHead | undefined;
  /**
   * Options of onnxruntime's session, which go before the library's own: `{ extra: { session: { intra_op: { allow_spinning: '0' } } } }`, without
   * which its workers would keep the head's cores busy between runs.
   */
  session?: object | undefined;
  /** The module onnxruntime-node, where this library cannot find it by that name. */
  runtime?: object | undefined;
  /** The output with the hidden states. By default it is found by the names that exporters use. */
  output?: string | undefined;
  /** false: a whole model is run whole, and tokens are chosen from its logits. Default true. */
  cut?: boolean | undefined;
  /** How many tokens of a prompt, or of a text to score, are read in one run. Default 512. */
  chunk?: number | undefined;
  /** Of a model that takes `inputs_embeds`: rows [ids.length, d]. By default the head's `embed`. */
  embed?: ((ids: Uint32Array) => Float32Array | Promise<Float32Array>) | undefined;
}

/** Options of `generate`: a sampler's, for which the prompt is the history, and these. */
export interface GenerateOptions extends Omit<SamplerOptions, 'promptLength'>, AsyncOptions {
  /** At most so many tokens. Default: as many as the caller asks for. */
  maxTokens?: number | undefined;
  /** The first of these that is drawn is the last token. */
  stopIds?: Ids | undefined;
  /**
   * What holds for the next token alone, a grammar's mask say: called before each with the ids that were drawn so far. Not beside
   * `draft`.
   */
  nextOptions?:
    | ((drawn: readonly number[]) => NextOptions | undefined | Promise<NextOptions | undefined>)
    | undefined;
  /**
   * Speculative decoding: tokens are drafted from what followed the same tokens earlier in the text, or by a smaller decoder with the same
   * vocabulary, and verified by one run and one pass for all of them. Same distribution; greedy, the same tokens.
   */
  draft?: 'prompt-lookup' | OnnxDecoder | undefined;
  /** At most so many tokens are drafted at once. Default 8. */
  draftTokens?: number | undefined;
}

/** Options of `OnnxDecoder.score`. */
export interface OnnxScoreOptions
  extends Omit<ScoreOptions, 'guidance' | 'rows' | 'over' | 'hiddenDtype'>,
    AsyncOptions {}
