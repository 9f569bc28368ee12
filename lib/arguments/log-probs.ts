/** The option withLogProbs. */
import { LMHeadError } from '../errors';
import type { LogProbsOption, RunRequest } from '../types';
import { got } from './describe';
import { flag } from './values';

/** What tells log-probabilities by itself. */
const TELLING = ['topLogProbs', 'logProbs', 'targets'] as const;

/**
 * Whether results tell log-probabilities.
 * @throws LMHeadError RANGE beside what asks for some
 */
export function tellsLogProbs(options: (RunRequest & LogProbsOption) | undefined): boolean {
  if (!options || flag(options.withLogProbs, 'withLogProbs', true)) return true;
  for (const name of TELLING) {
    const option = options[name];
    if (option === undefined || option === false) continue;
    throw new LMHeadError(
      'RANGE',
      `${name}: got ${got(option)} beside withLogProbs: false; want one of the two alone`,
    );
  }
  return false;
}
