/**
 * ONNX decoders: the head that is cut off, and a body that runs with it.
 * @module lmhead/onnx
 */
export { type CutHeadOptions, type CutReport, cutHead } from './cut-head';
export { OnnxDecoder } from './decoder';
export { DecoderState } from './state';
export type { GenerateOptions, OnnxDecoderOptions, OnnxScoreOptions } from './types';
