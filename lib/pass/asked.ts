/** What passes are asked for. */
import { flag } from '../arguments/values';
import type { RunRequest } from '../types';

/** As a set of bits. */
export const LOGITS = 1;
export const LOG_PROBS = 2;
export const ARGMAX = 4;
export const TOP = 8;
export const SAMPLE = 16;
export const SCORE = 32;
export const LOG_SUM_EXP = 64;
export const CANDIDATES = 128;
export const DRAFT = 256;
/** The results that filters and adjustments are for. */
export const DRAWN = SAMPLE | CANDIDATES | DRAFT;
/** The results that temperature 0 has no meaning for. */
export const NOT_GREEDY = LOG_PROBS | TOP | SCORE;

/** What a request asks for. */
export function requested(request: RunRequest): number {
  let asked = LOG_SUM_EXP;
  if (flag(request.logits, 'logits')) asked |= LOGITS;
  if (flag(request.logProbs, 'logProbs')) asked |= LOG_PROBS;
  if (flag(request.argmax, 'argmax')) asked |= ARGMAX;
  if (flag(request.sample, 'sample')) asked |= SAMPLE;
  if (request.top !== undefined) asked |= TOP;
  if (request.targets !== undefined) asked |= SCORE;
  return asked;
}
