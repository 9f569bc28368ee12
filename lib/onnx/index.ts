export { OnnxDecoder } from './decoder';
export { DecoderState } from './state';
export type { GenerateOptions, OnnxDecoderOptions, OnnxScoreOptions } from './types';
