/** A pass, as native/addon/request.cc reads it. */
import { ROW_FORMATS } from '../dtypes/row-format';
import type { Dtype } from '../types';
import type { Metric, PassJob } from './backend';

const METRIC_CODE: Record<Metric, number> = { dot: 1, cosine: 2 };
/** The codes of native/core/matrix.h. */
export const DTYPE_CODE = Object.fromEntries(
  Object.keys(ROW_FORMATS).map((dtype, i) => [dtype, i]),
) as Record<Dtype, number>;

/** What few passes ask for; undefined where nothing of it is. */
export function rareArguments({ view, metric, draft, sample, partial }: PassJob): object | undefined {
  // Only its own: a getter on Object.prototype would be handed the arrays that threads write to.
  const listed = sample && Object.hasOwn(sample, 'topLogProbs') ? sample : undefined;
  if (!view && metric === undefined && !draft && !listed && !partial) return undefined;
  return {
    rows: view?.rows,
    overVocabulary: view?.overVocabulary,
    metric: METRIC_CODE[metric!] ?? 0,
    draft,
    listed,
    partial,
  };
}

/** In the order that native/addon/request.cc reads. */
export function requestArguments(job: PassJob): unknown[] {
  const { top, sample, score } = job;
  return [
    job.argmax,
    job.logits,
    job.logProbs,
    job.probs,
    job.rowParameters,
    top?.k,
    top?.ids,
    top?.logits,
    top?.logProbs,
    sample?.ids,
    sample?.logProbs,
    score?.targets,
    score?.logProbs,
    score?.ranks,
    score?.entropy,
    job.logSumExp,
    job.adjustments,
    job.candidates && true,
    rareArguments(job),
  ];
}
