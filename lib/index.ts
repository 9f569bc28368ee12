export { capabilities } from './backend/choose';
export type { Effective, EffectiveOfSampler, EffectiveRequest } from './effective';
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
  Dtype,
  Float16ArrayLike,
  FloatDtype,
  Guidance,
  HeadOptions,
  Hidden,
  Ids,
  LensOptions,
  LogitBias,
  NearestOptions,
  Neighbors,
  Neighbours,
  NextAllOptions,
  NextOptions,
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
  SampleOptions,
  SamplerOptions,
  SamplerState,
  Score,
  ScoreOptions,
  ShardDraw,
  ShardOptions,
  ShardPart,
  TensorLike,
  TokenLogProb,
  TopK,
  TopLogProbs,
  Translator,
  Verification,
  VerifyDraftOptions,
  Weight,
} from './types';
