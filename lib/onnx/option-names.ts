/** The names of the options of ONNX decoders. */
import { type NamesOf, only, SAMPLER, without } from '../arguments/option-names';
import type { AsyncOptions } from '../types';
import type { GenerateOptions, OnnxDecoderOptions, OnnxScoreOptions } from './types';

const OPEN: NamesOf<OnnxDecoderOptions> = {
  head: true,
  session: true,
  runtime: true,
  output: true,
  cut: true,
  chunk: true,
  embed: true,
};
const ASYNC: NamesOf<AsyncOptions> = { signal: true };
const GENERATE: NamesOf<GenerateOptions> = {
  ...without(SAMPLER, 'promptLength'),
  ...ASYNC,
  maxTokens: true,
  stopIds: true,
  nextOptions: true,
  draft: true,
  draftTokens: true,
};
const SCORE: NamesOf<OnnxScoreOptions> = {
  ...ASYNC,
  norm: true,
  temperature: true,
  ignoreIndex: true,
  entropy: true,
};

export const ONNX_DECODER_OPTIONS = only('OnnxDecoder.open', OPEN);
/** The prompt is the history where there is none. */
export const GENERATE_OPTIONS = only('generate', GENERATE, ['history', 'rows', 'sample']);
export const ONNX_SCORE_OPTIONS = only('score', SCORE, ['targets']);
export const READ_OPTIONS = { prefill: only('prefill', ASYNC), step: only('step', ASYNC) };
