/** The results of `verifyDraft`. */
import type { DraftJob } from '../backend/backend';
import type { DraftResult } from '../types';

/** @param n hidden states of the call */
export function verdictOf({ accepted: [accepted], outIds, outLogProbs }: DraftJob, n: number): DraftResult {
  const count = Math.min(accepted + 1, n);
  return { accepted, ids: outIds.slice(0, count), logProbs: outLogProbs.slice(0, count) };
}
