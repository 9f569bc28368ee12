/** The sampler's option `logits`: code of the caller's between the logits and the token. */
import { wordsFor } from '../arguments/allowed';
import { requireStill } from '../arguments/hidden';
import { LMHeadError } from '../errors';
import type { CallOptions, LogProbsOption, Sample, SampleOptions, SamplerOptions } from '../types';
import { drawnFrom } from './given-logits';

export type LogitsHook = NonNullable<SamplerOptions['logits']>;

/**
 * Draws from a row of logits after the hook has seen them. What is told of the model's distribution is of the logits before that.
 * @param logits [V]
 * @param valid ids from here on are padding, which the hook does not see
 * @param request what the draw is to be like; what made the logits has no effect
 */
export function drawThroughHook(
  hook: LogitsHook,
  logits: Float32Array,
  valid: number,
  request: SampleOptions & LogProbsOption,
  kind: 'native' | 'reference',
): Sample {
  const own = logits.subarray(0, valid);
  const raw = request.topLogProbs === undefined ? undefined : own.slice();
  const result: unknown = hook(own);
  if (result !== undefined) {
    throw new LMHeadError(
      'ARGUMENT',
      'logits: got a function that returns something; want one that changes the logits in place, and returns nothing',
    );
  }
  requireStill(own, valid, 'logits');
  const { hiddenDtype, norm, guidance, rows, over, withLogProbs, allowedMask, ...drawing } = request;
  // Of V bits, and not of the valid ones.
  const mask = (allowedMask as Uint32Array | undefined)?.subarray(0, wordsFor(valid));
  return drawnFrom(own, raw, { ...drawing, allowedMask: mask }, kind);
}

/** Of the options of a draw, those that are about the logits. */
export function statesOf({ hiddenDtype, norm, guidance }: SampleOptions): CallOptions {
  return { hiddenDtype, norm, guidance };
}
