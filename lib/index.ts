/**
 * The last layer of a language model.
 * @module lmhead
 */
export { capabilities } from './backend/choose';
export { type ErrorKind, LMHeadError } from './errors';
export { type LoadTranslatorsOptions, loadTranslators } from './lens/load-translators';
export { LMHead } from './lm-head';
export { type LensPageOptions, lensPage } from './pages/lens-page';
export {
  candidatesOf,
  type DistributionOptions,
  logSoftmax,
  sampleFrom,
  softmax,
  topKOf,
} from './pass/given-logits';
export { type RankedId, rowsOf } from './pass/rows-of';
export type { Stage } from './pass/sampling-stages';
export { Sampler } from './sampler';
export { mergeSamples, mergeScores, mergeTopK } from './shard/merge';
export type {
  Activations,
  AsyncOptions,
  BeamOptions,
  Beams,
  CallOptions,
  Candidates,
  Capabilities,
  CapOrder,
  Draft,
  DraftResult,
  DrawnToken,
  Dtype,
  Float16ArrayLike,
  FloatDtype,
  Guidance,
  HeadOptions,
  Hidden,
  Ids,
  LensOptions,
  LogitBias,
  LogitDifference,
  LogProbsOption,
  NearestOptions,
  Neighbors,
  Neighbours,
  NextAllOptions,
  NextOptions,
  NextTokens,
  NormOptions,
  NumberArray,
  OpenOptions,
  OutOption,
  PassTiming,
  PenaltyOptions,
  PerRow,
  QuantizationError,
  QuantizedDtype,
  QuantizeOptions,
  RunRequest,
  RunResult,
  Sample,
  SampledToken,
  SampledTokenOf,
  SampleOf,
  SampleOptions,
  SamplerOptions,
  SamplerState,
  Score,
  ScoreOptions,
  Screening,
  ShardDraw,
  ShardOptions,
  ShardPart,
  TensorLike,
  TokenLogProb,
  Told,
  TopK,
  TopKOf,
  TopLogProbs,
  Translator,
  Verification,
  VerifyDraftOptions,
  Weight,
} from './types';
export type { Effective, EffectiveOfSampler, EffectiveRequest } from './types/effective';
