import { adjustmentsOf } from '../../lib/arguments/adjustments';
import { rowParameters } from '../../lib/arguments/row-parameters';
import { type LogitsBackend, type LogitsJob, noCandidates } from '../../lib/backend/backend';
import { newSample } from '../../lib/pass/sample-result';
import type { SampleOptions } from '../../lib/types';

/**
 * What one backend draws from logits [n,V].
 * @param listed false: tokens alone, as the reference takes long to list what they are drawn from
 */
export function drawFrom(
  backend: LogitsBackend,
  logits: Float32Array,
  V: number,
  options: SampleOptions,
  listed = true,
) {
  const n = logits.length / V;
  const job = {
    n,
    givenLogits: logits,
    vocabSize: V,
    rowParameters: rowParameters(options, n, V, 'sample', true),
    adjustments: adjustmentsOf(options, n, V, V),
    sample: newSample(options, n, V),
    candidates: listed ? noCandidates() : undefined,
  } satisfies LogitsJob;
  backend.runLogits(job);
  return job;
}
