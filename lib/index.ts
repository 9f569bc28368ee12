export { capabilities } from './choose-backend';
export { type ErrorKind, LMHeadError } from './errors';
export { LMHead } from './lm-head';
export {
  candidatesOf,
  type DistributionOptions,
  logSoftmax,
  sampleFrom,
  softmax,
  topKOf,
} from './logits-functions';
export { candidatesOf, logSoftmax, sampleFrom, softmax, topKOf } from './logits-functions';
export { Sampler } from './sampler';
export type { Stage } from './sampling-stages';
export type {
  AsyncOptions,
  CallOptions,
  Candidates,
  Capabilities,
  CapOrder,
  DraftVerdict,
  Dtype,
  Float16ArrayLike,
  HeadOptions,
  Hidden,
  Ids,
  LensOptions,
  LogitBias,
  NearestOptions,
  Neighbours,
  NextOptions,
  NormOptions,
  OpenOptions,
  OutOption,
  PassTiming,
  PenaltyOptions,
  PerRow,
  RunRequest,
  RunResult,
  Sample,
  SampledToken,
  SampleOptions,
  SamplerOptions,
  SamplerState,
  Score,
  ScoreOptions,
  TensorLike,
  TokenLogProb,
  TopK,
  Verification,
  VerifyDraftOptions,
  Weight,
} from './types';
