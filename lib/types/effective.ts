/** In types, what calls refuse: options that they do not take, and options without those that give them an effect. */
import type { CallOptions } from './call';
import type { Ids } from './data';
import type { PenaltyOptions, SampleOptions } from './sampling';

/** K where O surely says something there. What is optional may say nothing; undefined and false do. */
type Said<O, K> = K extends keyof O
  ? Partial<Pick<O, K>> extends Pick<O, K>
    ? never
    : [Extract<O[K], false | undefined>] extends [never]
      ? K
      : never
  : never;

/** Where O says something by one of these names, and surely nothing by the other one, that is asked for. */
type Need<O, Names, Other extends string, Type> = [Said<O, Names>] extends [never]
  ? unknown
  : Other extends keyof O
    ? [O[Other]] extends [false | undefined]
      ? { readonly [K in Other]: Type }
      : unknown
    : { readonly [K in Other]: Type };

/** At most one of two. */
type OneOf<O, A, B extends string> = [Said<O, A>] extends [never]
  ? unknown
  : [Said<O, B>] extends [never]
    ? unknown
    : { readonly [K in B]?: undefined };

/** Without log-probabilities, nothing that tells some. */
type Untold<O, Names> = 'withLogProbs' extends keyof O
  ? [O['withLogProbs']] extends [false]
    ? { readonly [K in Said<O, Names>]?: false | undefined }
    : unknown
  : unknown;

/** Names that are no option of a call; of an index all may be. */
type Unknown<O, All> = string extends keyof O
  ? unknown
  : { readonly [K in Said<O, Exclude<keyof O, keyof All>>]: 'an option that this call does not take' };

/** What is about drawing a token, and nothing else. */
type Drawing = Exclude<keyof SampleOptions, keyof CallOptions>;
type OfHistory = Exclude<
  keyof PenaltyOptions,
  'history' | 'minLength' | 'eosIds' | 'beginSuppressIds' | 'length'
>;

/**
 * Options of type O as a call with the options All takes them. Of a variable whose type leaves it open what is there, nothing is
 * asked; the call looks again.
 */
export type Effective<O, All> = Unknown<O, All> &
  Untold<O, 'topLogProbs'> &
  Need<O, 'over', 'rows', Ids> &
  Need<O, OfHistory, 'history', Ids | readonly Ids[]> &
  Need<O, 'minLength', 'eosIds', Ids> &
  OneOf<O, 'allowedIds', 'allowedMask'>;

/** The same of a sampler, which has a history, and may get rows with each token. */
export type EffectiveOfSampler<O, All> = Unknown<O, All> &
  Untold<O, 'topLogProbs'> &
  Need<O, 'minLength', 'eosIds', Ids> &
  OneOf<O, 'allowedIds', 'allowedMask'>;

/** The same of a request, which has to ask for what its options are about. */
export type EffectiveRequest<R, All> = Effective<R, All> &
  Untold<R, 'logProbs' | 'targets'> &
  Need<R, Drawing, 'sample', true> &
  Need<R, 'ignoreIndex' | 'entropy', 'targets', Ids>;
