/** Where a pass puts a sample, and what is told beside its tokens. */
import { newFloats, newWords } from '../arguments/arrays';
import { integerBetween } from '../arguments/values';
import type { DrawnSample } from '../backend/backend';
import type { Sample, SampleOptions, TopLogProbs } from '../types';
import { asJson } from './as-json';

/** OpenAI's API has 20; a pass keeps so many in its heaps (kMaxHeap in native/core/sinks/top_k.h). */
const MOST_TOP = 1000;

/** The option topLogProbs; undefined where it is not given. */
export function topCount({ topLogProbs }: SampleOptions): number | undefined {
  return topLogProbs === undefined ? undefined : integerBetween(topLogProbs, 'topLogProbs', 0, MOST_TOP);
}

/** Of ids alone. */
export function newDrawnIds(n: number): DrawnSample {
  return asJson({ ids: newWords(n, 'ids') });
}

/** @param idCount how many ids there are that may be listed */
export function newSample(options: SampleOptions | undefined, n: number, idCount: number): Sample {
  const sample: Sample = asJson({ ids: newWords(n, 'ids'), logProbs: newFloats(n, 'logProbs') });
  const top = options && topCount(options);
  if (top === undefined) return sample;
  const k = Math.min(top, idCount);
  sample.modelLogProbs = newFloats(n, 'modelLogProbs');
  sample.topLogProbs = newList(n, k);
  sample.modelTopLogProbs = newList(n, k);
  return sample;
}

function newList(n: number, k: number): TopLogProbs {
  return asJson({
    k,
    counts: newWords(n, 'topLogProbs'),
    ids: newWords(n * k, 'topLogProbs'),
    logProbs: newFloats(n * k, 'topLogProbs'),
  });
}
