/** The results of `verifyDraft`. */
import type { DraftJob } from '../backend/backend';
import type { DraftResult } from '../types';
import { asJson } from './as-json';

/** @param n hidden states of the call */
export function draftResultOf(
  { accepted: [accepted], outIds, outLogProbs }: DraftJob,
  n: number,
): DraftResult {
  const count = Math.min(accepted + 1, n);
  return asJson({ accepted, ids: outIds.slice(0, count), logProbs: outLogProbs.slice(0, count) });
}
