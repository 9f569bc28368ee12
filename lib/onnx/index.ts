export { type CutHeadOptions, type CutReport, cutHead } from './cut-head';
export { OnnxDecoder } from './decoder';
export { DecoderState } from './state';
export type { GenerateOptions, OnnxDecoderOptions, OnnxScoreOptions } from './types';
