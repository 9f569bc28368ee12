export { capabilities } from './choose-backend';
export { type ErrorKind, LMHeadError } from './errors';
export { LMHead } from './lm-head';
export { candidatesOf, logSoftmax, sampleFrom, softmax, topKOf } from './logits-functions';
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
  NormOptions,
  OpenOptions,
  OutOption,
  PassTiming,
  PenaltyOptions,
  PerRow,
  RunRequest,
  RunResult,
  Sample,
  SampleOptions,
  Score,
  ScoreOptions,
  TensorLike,
  TopK,
  Verification,
  VerifyDraftOptions,
  Weight,
} from './types';
